"""A restart: what is installed is tried once, beside the Sesame that runs; what an `exec` hands over then."""

import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from sesame.agents.succession import Kept
from sesame.cli import agents, restarting
from sesame.cli.restarting import VARIABLE, begin_anew, received
from sesame.http.handover import Handed, Handover


async def test_the_program_itself_can_start_and_nothing_of_the_working_directory_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a function's folder, or one that others write to."""
    (tmp_path / "click.py").write_text("raise ImportError('of the working directory')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sesame", "start", "--agents", "2"])
    assert await restarting.why_not() == ""


async def test_what_it_refuses_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sesame", "start", "--agents", "many"])
    assert (await restarting.why_not()).startswith("agents is 'many'; expected")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise SystemExit(3)", "it ended with status 3"),
        ("", "AttributeError: module 'broken' has no attribute 'run'"),
    ],
)
async def test_what_does_not_load_is_told(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = f"what is installed cannot be loaded: {said}; repair the installation, and restart again"
    assert await restarting.why_not("broken") == told


async def test_an_interpreter_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    told = "/nowhere/python cannot be started: No such file or directory; repair the installation, and restart again"
    assert await restarting.why_not() == told
    trial = agents.Trial()
    assert trial.problem() == told
    trial.close()
    assert restarting.begin_anew(Handover()) == agents.Anew().begin(Kept("", (), ())) == told


async def test_what_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text("import time; time.sleep(3600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(restarting, "TRIAL_TIMEOUT_S", 0.1)
    assert await restarting.why_not("hangs") == restarting.LATE


class Executed(Exception):
    """In place of the next program."""


def test_a_full_disk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def execute(_program: str, _arguments: Sequence[str], environment: dict[str, str]) -> NoReturn:
        pid, _, fd = environment[VARIABLE].partition(":")
        monkeypatch.setenv(VARIABLE, f"{pid}:{os.dup(int(fd))}")
        raise Executed

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    monkeypatch.setattr(os, "execve", execute)
    reading, writing = os.pipe()
    handed = Handed("a", reading, (writing,), 3)
    handover = Handover()
    handover.handed.append(handed)
    with pytest.raises(Executed):
        begin_anew(handover)
    assert all(map(os.get_inheritable, (reading, writing)))
    next_one = received()
    assert next_one.take("a") == handed
    assert not any(map(os.get_inheritable, (reading, writing)))
    handed.close()
