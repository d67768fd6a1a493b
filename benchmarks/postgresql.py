"""A PostgreSQL of the benchmark's own: a new cluster in a temporary folder, on a unix socket and a free port.

Used by `bench_async`; needs Debian's package `postgresql` or its programs on the PATH. It commits to the disk, as
PostgreSQL does by default; nothing else is set but what a cluster of its own needs.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.servers import free_port

READY_TIMEOUT_S = 30.0
# PostgreSQL refuses to run as root: then as the first of these that there is.
ORDINARY_USERS = ("postgres", "nobody")


@contextlib.contextmanager
def postgresql(name: str = "bench") -> Iterator[str]:
    """The URL of an empty database in a new cluster, which is gone afterwards."""
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="sesame-bench-postgresql-"))
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"
    try:
        _run(user, programs / "initdb", "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C")
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        command += ["-k", folder, "-c", "logging_collector=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
        try:
            _wait(server, programs, port, folder / "log")
            _run(user, programs / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "bench", name)
            yield f"postgresql://bench@127.0.0.1:{port}/{name}"
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Debian keeps them out of the PATH, in a folder for each version."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise SystemExit("PostgreSQL is not installed. Debian: apt install postgresql")
    return found[-1] if found else Path(on_path or "").resolve().parent


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ORDINARY_USERS if name in known)


def _run(user: str | None, *command: str | Path) -> None:
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")


def _wait(server: "subprocess.Popen[bytes]", programs: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    ready: list[str | Path] = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not come up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
