"""`sesame invoke --keep`: the next command finds the function warm, never with old code; what keeps it ends cleanly."""

import json
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import forked

from sesame.cli import kept
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.model.errors import ConfigurationError
from sesame.settings import Settings

SOURCE = """
import json, os
calls = 0
def f(event, context):
    global calls
    calls += 1
    if event == b'die':
        os._exit(3)
    if event == b'key':
        return context.credentials.access_key_id
    print('heard')
    return json.dumps([calls, 'WORD', event.decode()])
"""
PATIENCE_S = 30.0


class Kept:
    """The commands of one user, whose sockets are in `folder`."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.folder = folder
        self.code = code

    def invoke(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
        environ["XDG_RUNTIME_DIR"] = str(self.folder)
        named = (f"--code={self.code}", "--runtime=python3.9", "--keep")
        return forked.run("invoke", "main.f", *named, *arguments, environ=environ)

    def answer(self, *arguments: str) -> list[object]:
        done = self.invoke(*arguments)
        assert done.returncode == 0, done.stderr.decode()
        answered: list[object] = json.loads(done.stdout)
        return answered

    def sockets(self) -> list[Path]:
        return list(self.folder.glob("sesame-kept/*.sock"))

    def processes(self) -> list[psutil.Process]:
        """Those that keep the functions of this code; told by their environment."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if "sesame.cli.kept_process" in (process.info["cmdline"] or []):
                try:
                    mine = process.environ().get("XDG_RUNTIME_DIR") == str(self.folder)
                except psutil.Error:
                    continue
                found += [process] if mine else []
        return found

    def wait_for_the_end(self) -> None:
        _gone, alive = psutil.wait_procs(self.processes(), PATIENCE_S)
        assert alive == []
        assert self.sockets() == []


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Kept]:
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text(SOURCE)
    # Sockets have short paths.
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        kept = Kept(Path(folder), code)
        yield kept
        for process in kept.processes():
            process.terminate()
        kept.wait_for_the_end()


def test_the_next_command_finds_it_warm_and_its_log_comes_too(keeping: Kept) -> None:
    assert keeping.answer("-e", "one") == [1, "WORD", "one"]
    second = keeping.invoke("-e", "two")
    assert json.loads(second.stdout) == [2, "WORD", "two"]
    assert b"heard" in second.stderr
    assert b"Cold start" not in second.stderr
    [socket] = keeping.sockets()
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    # Another environment is another function.
    assert keeping.answer("-e", "x", "--env", "A=b", "--keep-s", "0") == [1, "WORD", "x"]
    assert keeping.answer("-e", "last", "--keep-s", "0") == [3, "WORD", "last"]
    keeping.wait_for_the_end()


def test_changed_code_is_never_called_in_its_old_form(keeping: Kept) -> None:
    assert keeping.answer("-e", "one") == [1, "WORD", "one"]
    (keeping.code / "main.py").write_text(SOURCE.replace("WORD", "NEW"))
    assert keeping.answer("-e", "two") == [1, "NEW", "two"]
    (keeping.code / "beside.py").write_text("")
    assert keeping.answer("-e", "three") == [1, "NEW", "three"]
    deadline = time.monotonic() + PATIENCE_S
    while len(keeping.processes()) > 1 and time.monotonic() < deadline:
        psutil.wait_procs(keeping.processes(), 0.05)
    assert len(keeping.processes()) == len(keeping.sockets()) == 1


def test_a_function_that_ends_its_process_is_started_again(keeping: Kept) -> None:
    died = keeping.invoke("-e", "die")
    assert died.returncode == 1
    assert b"Process exited unexpectedly" in died.stdout
    assert keeping.answer("-e", "again", "--keep-s", "0") == [1, "WORD", "again"]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.thorough), signal.SIGKILL])
def test_a_command_after_its_end_starts_it_anew(keeping: Kept, number: signal.Signals) -> None:
    assert keeping.answer("-e", "one") == [1, "WORD", "one"]
    processes = keeping.processes()
    for process in processes:
        process.send_signal(number)
    psutil.wait_procs(processes, PATIENCE_S)
    assert keeping.answer("-e", "two", "--keep-s", "0") == [1, "WORD", "two"]


def test_why_it_cannot_be_kept_is_said(keeping: Kept) -> None:
    done = keeping.invoke("-e", "x", "--sandbox=plain", "--interpreters=python3.9=/nowhere")
    assert done.returncode == 1
    assert b"python3.9 is set to /nowhere, which does not exist" in done.stderr
    assert keeping.sockets() == []


def test_a_directory_that_others_may_enter_is_refused(keeping: Kept) -> None:
    (keeping.folder / "sesame-kept").mkdir()
    (keeping.folder / "sesame-kept").chmod(0o755)
    done = keeping.invoke("-e", "x")
    assert done.returncode == 1
    assert b"is not a directory of yours that nobody else may enter" in done.stderr


def test_a_place_with_a_long_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    function = LocalFunction(
        code=tmp_path, handler="main.f", runtime="", initializer="", timeout_s=3, memory_mb=128, environment={}
    )
    with pytest.raises(ConfigurationError, match="too long for a socket: set XDG_RUNTIME_DIR"):
        kept.call_kept(function, LocalCall(event=b""), Settings(), 1.0, lambda data: None)
