"""Which signals process 1 of an instance obeys, told by records of signalfd(2) as the kernel writes them."""

import os
import runpy
import signal
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sesame import runtime

INIT = Path(runtime.__file__).parent / "jail" / "init.py"
SI_USER, SI_QUEUE = 0, -1


class Enough(Exception):
    """Ends what goes on as long as the instance."""


def record(number: int, code: int, sender: int) -> bytes:
    return struct.pack("<IiiI", number, 0, code, sender).ljust(128, b"\0")


def test_it_continues_others_for_a_signal_from_outside_the_namespace_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setitem(sys.modules, "linux", SimpleNamespace(descriptor_of_signals=lambda *_args, **_more: reading))
    run = runpy.run_path(str(INIT))["run"]
    heeded: list[int] = []

    def signal_all(number: int) -> None:
        heeded.append(number)
        if number == signal.SIGSTOP:
            raise Enough

    parts: dict[str, Any] = run.__globals__
    parts.update(_signal_all=signal_all, _reap=lambda _handler: None)
    try:
        # One that the function sends, and one that it queues with a sender of its choice.
        os.write(writing, record(signal.SIGCONT, SI_USER, 7) + record(signal.SIGCONT, SI_QUEUE, 0))
        os.write(writing, record(signal.SIGTSTP, SI_USER, 0))
        with pytest.raises(Enough):
            run(2)
        assert heeded == [signal.SIGSTOP]
        os.write(writing, record(signal.SIGCONT, SI_USER, 0) + record(signal.SIGTSTP, SI_USER, 0))
        with pytest.raises(Enough):
            run(2)
        assert heeded == [signal.SIGSTOP, signal.SIGCONT, signal.SIGSTOP]
    finally:
        os.close(reading)
        os.close(writing)
