"""What is handed over by an `exec`, of which a test sees the arguments."""

import errno
import os
import tempfile
from collections.abc import Sequence
from typing import NoReturn

import pytest

from sesame.cli.restarting import VARIABLE, begin_anew, received
from sesame.http.handover import Handed, Handover


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
