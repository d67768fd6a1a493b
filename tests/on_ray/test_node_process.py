"""A node as a process: started again, drained, and gone with whoever keeps it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sesame.model.exit_codes import EXIT_SIGNALLED
from sesame.on_ray.node_process import NodeProcess, State

PATIENCE_S = 60.0
# Says where it runs, and that it is asked to end, which it does. `sigwait` takes also a signal that came before it.
STEADY = """
import os, pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(str(os.getpid()))
path.with_suffix(".new").rename(path)
signal.sigwait({signal.SIGTERM})
print("asked", file=sys.stderr)
"""
KEEPER = """
import os, sys, time
from sesame.on_ray.node_process import NodeProcess
NodeProcess([sys.executable, "-c", *sys.argv[1:]], os.environ)
while True: time.sleep(60)
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pid_in(path: Path) -> int:
    until(path.exists)
    return int(path.read_text())


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    made = []

    def keep(code: str, *arguments: str) -> NodeProcess:
        made.append(NodeProcess([sys.executable, "-c", code, *arguments], os.environ))
        return made[-1]

    yield keep
    for each in made:
        each.kill()


def test_it_is_asked_to_end_and_started_no_more(kept: Callable[..., NodeProcess], tmp_path: Path) -> None:
    node = kept(STEADY, str(tmp_path / "pid"))
    process = psutil.Process(pid_in(tmp_path / "pid"))
    assert node.seen() == (State.RUNNING, 1, "")
    assert node.stop(PATIENCE_S)
    assert not process.is_running()
    assert node.seen() == (State.STOPPED, 1, "ended with exit code 0\nasked")
    assert node.stop(PATIENCE_S)


def test_asked_to_end_as_soon_as_it_is_made_it_ends(kept: Callable[..., NodeProcess], tmp_path: Path) -> None:
    assert kept(STEADY, str(tmp_path / "pid")).stop(PATIENCE_S)


def test_one_that_does_not_end_is_said_to_run_still(kept: Callable[..., NodeProcess], tmp_path: Path) -> None:
    deaf = STEADY + "signal.sigwait({signal.SIGUSR1})"
    node = kept(deaf, str(tmp_path / "pid"))
    process = psutil.Process(pid_in(tmp_path / "pid"))
    assert not node.stop(0.0)
    assert node.seen()[0] is State.STOPPING
    node.kill()
    until(lambda: not process.is_running())


def test_one_that_is_killed_is_started_again(kept: Callable[..., NodeProcess], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    node = kept(STEADY, str(path))
    first = pid_in(path)
    path.unlink()
    psutil.Process(first).kill()
    assert pid_in(path) != first
    assert node.seen() == (State.RUNNING, 2, "ended by signal 9")


def test_one_that_cannot_run_waits_longer_each_time_and_says_why(kept: Callable[..., NodeProcess]) -> None:
    node = kept("import sys; sys.exit('error: no such thing')")
    until(lambda: node.seen()[0] is State.WAITING and node.seen()[1] >= 2)
    assert node.seen()[2] == "ended with exit code 1\nerror: no such thing"
    assert node.stop(PATIENCE_S)


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    node = NodeProcess([str(tmp_path / "nothing")], os.environ)
    until(lambda: node.seen()[0] is State.WAITING and node.seen()[1])
    assert node.seen()[2] == f"ended with exit code 127\ncannot start {tmp_path / 'nothing'}: No such file or directory"
    node.kill()


def test_one_whose_files_cannot_be_removed_is_tried_again_and_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    node = NodeProcess([sys.executable, "-c", STEADY, str(tmp_path / "pid")], os.environ, [blocked / "endpoints.json"])
    try:
        until(lambda: node.seen()[1] >= 2)
        assert node.seen()[0] is State.WAITING
        assert "could not be started: [Errno 20] Not a directory" in node.seen()[2]
        blocked.unlink()
        until(lambda: node.seen()[0] is State.RUNNING)
    finally:
        node.kill()


def test_a_command_whose_keeper_has_ended_before_it_starts_is_killed() -> None:
    pipe, asks = os.pipe()
    os.close(asks)
    command = [sys.executable, "-m", "sesame.on_ray.lifeline", str(pipe), sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[pipe]) as lifeline:
        os.close(pipe)
        try:
            assert lifeline.wait(PATIENCE_S) == EXIT_SIGNALLED + signal.SIGKILL
        finally:
            lifeline.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the command alone learns of it")
def test_it_dies_with_whoever_keeps_it(tmp_path: Path) -> None:
    keeper = subprocess.Popen([sys.executable, "-c", KEEPER, STEADY, str(tmp_path / "pid")])
    process = psutil.Process(pid_in(tmp_path / "pid"))
    lifeline = process.parent()
    assert lifeline is not None
    keeper.kill()
    keeper.wait()
    until(lambda: not process.is_running() and not lifeline.is_running())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the command alone learns of it")
def test_it_dies_with_the_process_between(kept: Callable[..., NodeProcess], tmp_path: Path) -> None:
    path = tmp_path / "pid"
    kept(STEADY, str(path))
    process = psutil.Process(pid_in(path))
    lifeline = process.parent()
    assert lifeline is not None
    path.unlink()
    lifeline.kill()
    until(lambda: not process.is_running())
    assert pid_in(path) != process.pid
