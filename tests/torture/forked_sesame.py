"""A Sesame that can be killed and started again many times, forked as `tests.support.forked` does.

Used by the kill test of the queue. Its endpoint stays at one port, so that callers find it again.
"""

import contextlib
import os
import socket
import time
from pathlib import Path

import psutil
from tests.support import few_runtimes, forked
from tests.support.signer import Api

from sesame.sandbox.runtimes.interpreters import discover

ACCOUNT_ID, REGION, KEY_ID, SECRET = "1234567890123456", "cn-shanghai", "torture-key", "torture-secret-0123456789"
READY_TIMEOUT_S, END_TIMEOUT_S = 60.0, 30.0
SANDBOX = os.environ.get("SESAME_TEST_SANDBOX", "auto")


class ForkedSesame:
    """One data directory and the server on it. Zygotes and instances are those of `runtime`."""

    def __init__(self, folder: Path, runtime: str, *flags: str) -> None:
        self.data_dir, self.log = folder / "data", folder / "sesame.log"
        self.port = _free_port()
        self._process: forked.Forked | None = None
        self._arguments = ["start", "--data-dir", str(self.data_dir), "--sandbox", SANDBOX, "--oss-port", "0"]
        self._arguments += ["--port", str(self.port), "--account-id", ACCOUNT_ID, "--region", REGION]
        self._arguments += ["--access-key-id", KEY_ID, "--access-key-secret", SECRET]
        self._executable = os.path.realpath(discover(wanted=[runtime])[runtime].path)
        self._arguments += [*few_runtimes.flags(runtime), *flags]
        self._environ = few_runtimes.environ(runtime)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self) -> Api:
        return Api(self.url, KEY_ID, SECRET)

    def start(self) -> None:
        """On return it answers."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = forked.start(*self._arguments, log=log.fileno(), environ=self._environ)
        ready, deadline = self.data_dir / "endpoints.json", time.monotonic() + READY_TIMEOUT_S
        while not ready.exists():
            assert self.lives(), f"Sesame ended while it started:\n{self.said()}"
            assert time.monotonic() < deadline, f"Sesame does not come up:\n{self.said()}"
            time.sleep(0.01)

    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the server alone; returns when it is gone, and with it its locks."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        (self.data_dir / "endpoints.json").unlink(missing_ok=True)
        self._process = None

    def zygotes(self) -> list[int]:
        return [process.pid for process in self._below() if _is_zygote(process) and not _is_forked(process)]

    def instances(self) -> list[int]:
        """The processes that run functions, or are about to."""
        return [process.pid for process in self._below() if _is_forked(process) or _has_code(process)]

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """Ends everything that was started."""
        if self.lives():
            assert self.pid is not None
            left = psutil.Process(self.pid).children(recursive=True)
            self.kill()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def _below(self) -> list[psutil.Process]:
        if self.pid is None:
            return []
        try:
            below = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in below if self._is_of_runtime(process)]

    def _is_of_runtime(self, process: psutil.Process) -> bool:
        try:
            return os.path.realpath(process.exe()) == self._executable
        except psutil.Error:
            return False


def _is_zygote(process: psutil.Process) -> bool:
    try:
        return any(word.endswith("/zygote.py") for word in process.cmdline())
    except psutil.Error:
        return False


def _is_forked(process: psutil.Process) -> bool:
    """By a zygote: an instance in a jail."""
    try:
        parent = process.parent()
    except psutil.Error:
        return False
    return parent is not None and _is_zygote(process) and _is_zygote(parent)


def _has_code(process: psutil.Process) -> bool:
    """An instance that is a process of its own."""
    try:
        return "FC_FUNC_CODE_PATH" in process.environ()
    except psutil.Error:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
