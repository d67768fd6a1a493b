"""The parent's side of a test's Sesame: starts its process, sends requests, ends it, and cleans up.

Used by `testing.cloud`. Imports only the standard library, so that a test run without Sesame loads nothing else.
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
# Isolated from the tests' environment and working directory, whose files may shadow Sesame's modules.
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
    """One process. It ends on `close`, with the interpreter, or when the process that started it is killed."""

    def __init__(self, sandbox: str, region: str, ahead: Sequence[str]) -> None:
        """Returns at once, while the process starts.

        `ahead` lists runtimes; the first available one is prepared in advance.
        """
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
                    # Ctrl-C in the terminal is meant for the tests, which end this process.
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
        """The server's addresses and key, once it serves requests. Raises `CloudError` if it does not start."""
        with self._lock:
            if self._hello is None:
                self._hello = self._answer(0)
            return self._hello

    def ask(self, do: str, **values: float) -> Any:
        """Sends a request. Raises `CloudError` if the server refuses it or has ended."""
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
        """What Sesame itself has logged since the last call."""
        try:
            with self._log.open("rb") as log:
                log.seek(self._log_read)
                output = log.read()
        except OSError:
            return ""
        self._log_read += len(output)
        return output.decode("utf-8", "replace")[-LOG_CHARS_MAX:]

    def close(self) -> None:
        """Ends the process and returns when it and its files are gone. Idempotent."""
        self._end()

    def close_soon(self) -> None:
        """Begins to end the process without waiting; `close` must still be called."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def _answer(self, number: int) -> Any:
        """Skips answers to requests that were abandoned, for example on Ctrl-C."""
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
                raise CloudError(f"Sesame could not do that: {answer['error']}")
            return answer["result"]

    def _ended(self) -> CloudError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_TIMEOUT_S)
        output = ""
        with contextlib.suppress(OSError):
            output = self._log.read_text("utf-8", "replace")[-LOG_CHARS_MAX:]
        return CloudError(f"the Sesame of these tests has ended (status {self._child.returncode}). It said:\n{output}")


def _packages() -> list[str]:
    """The import paths of Sesame and its dependencies, without the tests' own folders."""
    own = Path(__file__).parents[2]
    installed = (path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
    return list(dict.fromkeys([*installed, str(own)]))


def _bytecode() -> list[str]:
    """Options that place bytecode where this interpreter does; the child ignores its environment variables."""
    prefix = [f"-Xpycache_prefix={sys.pycache_prefix}"] if sys.pycache_prefix else []
    return [*prefix, *(["-B"] if sys.dont_write_bytecode else [])]


def _end(child: "subprocess.Popen[bytes]", folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        # A fork of the tests' process, which does not own the server.
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
