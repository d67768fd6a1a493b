"""A Sesame that can be killed and started again many times: forked by a process that has imported everything.

Used by the kill test of the queue. Its endpoint stays at one port, so that callers find it again.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from tests.support.signer import Api

from sesame.sandbox.runtimes.interpreters import discover

REPOSITORY = Path(__file__).parents[2]
ACCOUNT_ID, REGION, KEY_ID, SECRET = "1234567890123456", "cn-shanghai", "torture-key", "torture-secret-0123456789"
READY_TIMEOUT_S = 60.0
SANDBOX = os.environ.get("SESAME_TEST_SANDBOX", "auto")


class ForkedSesame:
    """One data directory and the server on it. Zygotes and instances are those of `runtime`."""

    def __init__(self, folder: Path, runtime: str, *flags: str) -> None:
        self.data_dir, self.log = folder / "data", folder / "sesame.log"
        self.port = _free_port()
        self.pid: int | None = None
        self._arguments = ["start", "--data-dir", str(self.data_dir), "--sandbox", SANDBOX, "--oss-port", "0"]
        self._arguments += ["--port", str(self.port), "--account-id", ACCOUNT_ID, "--region", REGION]
        self._arguments += ["--access-key-id", KEY_ID, "--access-key-secret", SECRET]
        interpreter = discover()[runtime].path
        self._executable = os.path.realpath(interpreter)
        # The runtime's alone: Sesame looks for no other, and starts the sooner.
        self._arguments += ["--interpreters", f"{runtime}={interpreter}", *flags]
        with self.log.open("ab") as log:
            self._starter = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.sesame_starter"],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self) -> Api:
        return Api(self.url, KEY_ID, SECRET)

    def start(self) -> None:
        """On return it answers."""
        assert self.pid is None
        assert self._starter.stdin is not None
        assert self._starter.stdout is not None
        self._starter.stdin.write(json.dumps(self._arguments).encode() + b"\n")
        self._starter.stdin.flush()
        self.pid = int(self._starter.stdout.readline())
        ready, deadline = self.data_dir / "endpoints.json", time.monotonic() + READY_TIMEOUT_S
        while not ready.exists():
            assert self.lives(), f"Sesame ended while it started:\n{self.said()}"
            assert time.monotonic() < deadline, f"Sesame does not come up:\n{self.said()}"
            time.sleep(0.01)

    def lives(self) -> bool:
        return self.pid is not None and psutil.pid_exists(self.pid)

    def kill(self) -> None:
        """SIGKILL to the server alone; returns when it is gone, and with it its locks."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while psutil.pid_exists(self.pid):
            assert time.monotonic() < deadline, f"process {self.pid} does not die"
            time.sleep(0.005)
        (self.data_dir / "endpoints.json").unlink(missing_ok=True)
        self.pid = None

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
        assert self._starter.stdin is not None
        self._starter.stdin.close()
        self._starter.wait(timeout=30)

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
