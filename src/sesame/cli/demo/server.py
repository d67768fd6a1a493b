"""The demo's server: a real `sesame start` on free ports, in a separate process, stopped at the end.

Used by `cli.demo.command`. Stops only the process that it started.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.model.errors import ConfigurationError

READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
POLL_S = 0.02
LOG_LINES_SHOWN = 20


class DemoServer(msgspec.Struct, frozen=True):
    endpoints: Endpoints
    credentials: Credentials


@contextmanager
def demo_server(folder: Path, options: Sequence[str]) -> Iterator[DemoServer]:
    """Runs a server during the block. Raises `ConfigurationError` with the end of its log if it does not start."""
    data_dir = DataDir(folder / "data")
    log = folder / "sesame.log"
    # Drops the caller's settings for another Sesame: ports, keys, data directory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
    ports = ["--port=0", "--oss-port=0"]
    with log.open("wb") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sesame", "start", f"--data-dir={data_dir.path}", *ports, *options],
            stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
    # SIGTERM raises SystemExit, so that the `finally` below stops the server.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        endpoints = _wait_until_ready(data_dir, process, log)
        yield DemoServer(endpoints, data_dir.credentials())
    finally:
        signal.signal(signal.SIGTERM, before)
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(data_dir: DataDir, process: "subprocess.Popen[bytes]", log: Path) -> Endpoints:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if endpoints := data_dir.running():
            return endpoints
        if process.poll() is not None:
            break
        time.sleep(POLL_S)
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    raise ConfigurationError("Sesame did not start. It said:\n  " + "\n  ".join(said))
