"""What works without Linux's walls: local calls and the driver `plain`, in a process that takes it for a Mac."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime.conftest import setup
from tests.support.forked import REPOSITORY
from tests.support.interpreters import INTERPRETERS
from tests.support.running_command import RunningCommand

RUNTIMES = sorted({"python2.7", "python3.12"} & set(INTERPRETERS))
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


@pytest.mark.thorough
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


def running(scratch: Path, *command: str) -> RunningCommand:
    """`sesame …` there, on free ports."""
    first = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests.support.elsewhere import become; "
    run = f"{first}become('darwin'); from sesame.__main__ import main; main()"
    return RunningCommand(scratch, "-c", run, *command, "--port=0", "--oss-port=0")


def test_a_server_starts_and_stops(tmp_path: Path) -> None:
    with running(tmp_path, "start", f"--data-dir={tmp_path / 'data'}") as server:
        assert "no jail, because a jail needs Linux, and this is Darwin" in server.wait_for("stop with Ctrl-C")
        server.ends_well(signal.SIGTERM)


@pytest.mark.thorough
@pytest.mark.skipif("python3.12" not in RUNTIMES, reason="no interpreter for python3.12")
def test_a_project_is_developed(tmp_path: Path) -> None:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "main.py").write_text("def handler(event, context):\n    return 'one'\n")
    options = ("--name=demo/f", "--handler=main.handler", "--runtime=python3.12")
    with running(tmp_path, "dev", str(folder), *options) as developing:
        developing.wait_for("Watching")
        (folder / "main.py").write_text("def handler(event, context):\n    return two\n\nbroken(")
        assert "SyntaxError" in developing.wait_for("cannot be loaded")
        developing.ends_well(signal.SIGINT)


def test_windows_is_told_where_it_runs() -> None:
    done = there("win32", "from sesame.__main__ import main; main()", "--version")
    assert done.returncode == 1
    assert done.stderr == (
        "error: Sesame needs Linux or macOS. On Windows it runs in WSL 2: wsl --install, and install it there.\n"
    )
