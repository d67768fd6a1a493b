"""What works without Linux's walls: local calls and the driver `plain`, in a process that takes it for a Mac."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.runtime.conftest import setup
from tests.support.forked import REPOSITORY
from tests.support.interpreters import INTERPRETERS

RUNTIMES = sorted({"python2.7", "python3.12"} & set(INTERPRETERS))
PATIENCE_S = 120.0
SOURCE = """
import json, os, subprocess, sys, time
def calls(event, context):
    print('written')
    subprocess.check_call([sys.executable, '-c', 'print("by a child")'])
    return json.dumps([event.decode(), context.function.memory, os.path.basename(os.environ['TMPDIR'])])
def sleeps(event, context):
    time.sleep(600)
def fills(event, context):
    held = bytearray(600 * 1024 * 1024)
    for place in range(0, len(held), 4096):
        held[place] = 1
    time.sleep(600)
def ends(event, context):
    os._exit(3)
"""

SETUP = setup(handler="main.calls")


def there(system: str, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs code in a process that was made one of `system` first."""
    first = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests.support.elsewhere import become; "
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
    return subprocess.run(
        [sys.executable, "-c", f"{first}become({system!r}); {code}", *arguments],
        capture_output=True, text=True, env=environ, check=False, timeout=120,
    )  # fmt: skip


def invoke(folder: Path, handler: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ("invoke", f"main.{handler}", f"--code={folder}", *arguments)
    return there("darwin", "from sesame.__main__ import main; main()", *command)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_function_is_called_with_its_log_and_context(folder: Path, runtime: str) -> None:
    done = invoke(folder, "calls", "-e", "hello", f"--runtime={runtime}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["hello", 128, "tmp"]
    assert "written" in done.stderr
    assert "by a child" in done.stderr
    assert "Max Memory Used: " in done.stderr
    assert "no jail, because a jail needs Linux, and this is Darwin" in done.stderr


def test_its_limits_hold(folder: Path) -> None:
    done = invoke(folder, "sleeps", "--timeout=1")
    assert "Function timed out after 1 seconds" in done.stdout, done.stderr
    done = invoke(folder, "fills", "--timeout=60", "--memory=128")
    assert "killed because it was out of memory" in done.stderr, done.stderr
    done = invoke(folder, "ends")
    assert "Process exited unexpectedly" in done.stdout, done.stderr


def test_a_jail_that_is_asked_for_is_not_made_in_silence(folder: Path) -> None:
    """Here its package is missing; on a Mac it says that it needs Linux."""
    done = invoke(folder, "calls", "--sandbox=jail")
    assert done.returncode == 1
    assert "hello" not in done.stdout


def test_an_instance_is_frozen_and_thawed(folder: Path) -> None:
    code = f"""
import asyncio, psutil
from pathlib import Path
from sesame.sandbox.interface import Call, KillReason, SandboxSpec
from sesame.sandbox.launch import Launch
from sesame.sandbox.process.driver import PlainDriver
from sesame.sandbox.runtimes.interpreters import discover
SETUP = {SETUP!r}
async def main():
    found = discover(wanted=["python3.12"])["python3.12"]
    driver = PlainDriver(lambda runtime: Launch(found.path), Path({str(folder / "state")!r}))
    await driver.open()
    spec = SandboxSpec(
        instance_id="c-1", runtime="python3.12", code_dir=Path({str(folder)!r}), layer_dirs=(), environment={{}},
        memory_mb=128, disk_mb=16, setup=SETUP, compiled=(),
    )
    sandbox = await driver.create(spec, lambda data: None, lambda death: None)
    process = psutil.Process(sandbox.pid)
    sandbox.freeze()
    while process.status() != psutil.STATUS_STOPPED:
        await asyncio.sleep(0.01)
    sandbox.thaw()
    while process.status() == psutil.STATUS_STOPPED:
        await asyncio.sleep(0.01)
    await sandbox.kill(KillReason.STOPPING)
    assert not psutil.pid_exists(process.pid) or process.status() == psutil.STATUS_ZOMBIE
    assert driver.instance_ids() == set()
    held = {{each.what: each.enforced for each in driver.enforcement()}}
    assert held["time limit"] and held["memory"] and not held["processes ended with their instance"], held
    await driver.close()
    print("done")
asyncio.run(main())
"""
    done = there("darwin", f"exec({code!r})")
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif("python3.12" not in RUNTIMES, reason="no interpreter for python3.12")
def test_a_server_for_tests_serves(folder: Path) -> None:
    code = f"""
from sesame.testing import Cloud
with Cloud(runtime="python3.12") as cloud:
    called = cloud.deploy({str(folder)!r}, "main.calls").invoke(b"hello")
    print(cloud.sandbox, called.payload.decode())
    cloud.bucket("photos").put("a", b"x")
    cloud.reset()
"""
    done = there("darwin", f"exec({code!r})")
    assert done.stdout == 'plain ["hello", 256, "tmp"]\n', done.stderr


@contextlib.contextmanager
def running(folder: Path, *command: str) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[str], str]]]:
    """A command that goes on, and a function that waits for words and gives all that it has shown."""
    shown = folder.parent / "shown"
    first = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests.support.elsewhere import become; "
    run = f"{first}become('darwin'); from sesame.__main__ import main; main()"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SESAME_")}
    with shown.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", run, *command, "--port=0", "--oss-port=0"],
            stdout=out, stderr=out, env={**environ, "XDG_CACHE_HOME": str(folder.parent / "cache")},
        )  # fmt: skip

    def wait_for(words: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while words not in (text := shown.read_text(errors="replace")):
            assert process.poll() is None, text
            assert time.monotonic() < deadline, f"'{words}' was not shown:\n{text}"
            time.sleep(0.02)
        return text

    try:
        yield process, wait_for
    finally:
        process.kill()
        process.wait()


def test_a_server_starts_and_stops(tmp_path: Path) -> None:
    with running(tmp_path / "none", "start", f"--data-dir={tmp_path / 'data'}") as (process, wait_for):
        assert "no jail, because a jail needs Linux, and this is Darwin" in wait_for("stop with Ctrl-C")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, wait_for("")


@pytest.mark.skipif("python3.12" not in RUNTIMES, reason="no interpreter for python3.12")
def test_a_project_is_developed(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "main.py").write_text("def handler(event, context):\n    return 'one'\n")
    options = ("--name=demo/f", "--handler=main.handler", "--runtime=python3.12")
    with running(folder, "dev", str(folder), *options) as (process, wait_for):
        wait_for("Watching")
        (folder / "main.py").write_text("def handler(event, context):\n    return two\n\nbroken(")
        assert "SyntaxError" in wait_for("cannot be loaded")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, wait_for("")


def test_windows_is_told_where_it_runs() -> None:
    done = there("win32", "from sesame.__main__ import main; main()", "--version")
    assert done.returncode == 1
    assert done.stderr == (
        "error: Sesame needs Linux or macOS. On Windows it runs in WSL 2: wsl --install, and install it there.\n"
    )
