"""The parent's side of a test's Sesame: starts its process, asks it, ends it, and removes what it leaves.

Used by `testing.cloud`. Imports the standard library alone, so that a test run without Sesame waits for nothing.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sesame.testing.errors import CloudError

END_TIMEOUT_S = 25.0
LOG_CHARS_MAX = 8000
# Isolated from the variables and the working directory of the tests, whose files may be called as Sesame's modules are.
_BOOT = """
import json, sys
for folder in json.loads(sys.argv[1])["path"]:
    if folder not in sys.path:
        sys.path.append(folder)
from sesame.cli.importing import import_structlog
import_structlog()
from sesame.testing.server import main
main(sys.argv[1])
"""


class ServerProcess:
    """One process. It ends with `close`, with the interpreter, and when the process that started it is killed."""

    def __init__(self, sandbox: str, region: str, ahead: Sequence[str]) -> None:
        """Returns at once; the process starts meanwhile. `ahead` are runtimes, the one to make ready first."""
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._hello: dict[str, Any] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="sesame-test-"))
        self._log = self.folder / "server.log"
        self._log_read = 0
        self.pid_of_owner = os.getpid()
        start = {
            "folder": str(self.folder),
            "sandbox": sandbox,
            "region": region,
            "path": _packages(),
            "ahead": list(ahead),
        }
        try:
            with self._log.open("wb") as log:
                self._child = subprocess.Popen(
                    [sys.executable, "-I", *_bytecode(), "-c", _BOOT, json.dumps(start)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    # A Ctrl-C in the terminal is for the tests, which end this process.
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise CloudError(f"Sesame cannot be started with {sys.executable}: {error}") from error
        self._end = weakref.finalize(self, _end, self._child, self.folder, os.getpid())

    @property
    def pid(self) -> int:
        return self._child.pid

    def hello(self) -> dict[str, Any]:
        """Where it answers and with which key, once it does. Raises `CloudError` when it does not start."""
        with self._lock:
            if self._hello is None:
                self._hello = self._answer(0)
            return self._hello

    def ask(self, do: str, **values: float) -> Any:
        """Raises `CloudError` for what it refuses, and when it has ended."""
        self.hello()
        with self._lock:
            number = next(self._numbers)
            assert self._child.stdin is not None
            try:
                self._child.stdin.write(json.dumps({"id": number, "do": do, **values}).encode() + b"\n")
                self._child.stdin.flush()
            except (OSError, ValueError) as error:
                raise self._ended() from error
            return self._answer(number)

    def new_log(self) -> str:
        """What Sesame itself has logged since this was last asked."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_read)
                said = log.read()
        except OSError:
            return ""
        self._log_read += len(said)
        return said.decode("utf-8", "replace")[-LOG_CHARS_MAX:]

    def close(self) -> None:
        """On return nothing of it is left: no process and no file. Idempotent."""
        self._end()

    def close_soon(self) -> None:
        """Has it end without waiting for it; `close` is still to be called."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _answer(self, number: int) -> Any:
        """Answers to requests that were given up, as by Ctrl-C, are passed over."""
        assert self._child.stdout is not None
        while True:
            try:
                line = self._child.stdout.readline()
            except ValueError as error:
                raise self._ended() from error
            if not line:
                raise self._ended()
            answer = json.loads(line)
            if answer["id"] != number:
                continue
            if "error" in answer:
                raise CloudError(f"Sesame could not do this: {answer['error']}")
            return answer["result"]

    def _ended(self) -> CloudError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_TIMEOUT_S)
        said = ""
        with contextlib.suppress(OSError):
            said = self._log.read_text("utf-8", "replace")[-LOG_CHARS_MAX:]
        return CloudError(f"the Sesame of these tests has ended (status {self._child.returncode}). It said:\n{said}")


def _packages() -> list[str]:
    """Where this interpreter found Sesame and what it needs, and none of the folders of the tests."""
    own = Path(__file__).parents[2]
    installed = (path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
    return list(dict.fromkeys([*installed, str(own)]))


def _bytecode() -> list[str]:
    """Has it keep bytecode where this interpreter does, whose variables it does not read."""
    prefix = [f"-Xpycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    return [*prefix, *(["-B"] if sys.dont_write_bytecode else [])]


def _end(child: "subprocess.Popen[bytes]", folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        # A fork of the tests' process, which the server does not belong to.
        return
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        child.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    shutil.rmtree(folder, ignore_errors=True)
