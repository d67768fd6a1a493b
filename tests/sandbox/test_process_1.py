"""Process 1 of an instance obeys the host's orders, each in its turn, whatever the function does meanwhile."""

import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sesame import runtime

JAIL = Path(runtime.__file__).parent / "jail"
HANDLER, OTHER = 2, 7


class Enough(Exception):
    """Ends what goes on as long as the instance."""


@pytest.fixture
def orders() -> Iterator[tuple[socket.socket, socket.socket]]:
    host, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with host, inside:
        yield host, inside


@pytest.fixture
def obeyed(
    monkeypatch: pytest.MonkeyPatch, orders: tuple[socket.socket, socket.socket]
) -> Iterator[Callable[[Callable[[], tuple[int, int]]], list[int]]]:
    """Runs process 1 until it has found that the host has closed its end; what it then has sent to all others.

    SIGCHLD is pending all the time. The argument stands for waitpid.
    """
    reading, writing = os.pipe()
    linux = runpy.run_path(str(JAIL / "linux.py"))
    fakes = SimpleNamespace(descriptor_of_signals=lambda _numbers: reading, readable=linux["readable"])
    monkeypatch.setitem(sys.modules, "linux", fakes)
    run = runpy.run_path(str(JAIL / "init.py"))["run"]
    parts: dict[str, Any] = run.__globals__
    inside = orders[1]

    def obey(ended: Callable[[], tuple[int, int]]) -> list[int]:
        heeded: list[int] = []

        def read(fd: int, size: int) -> bytes:
            os.write(writing, b"!" * 128)
            data = os.read(fd, size)
            if fd == inside.fileno() and not data:
                raise Enough
            return data

        kept = SimpleNamespace(WNOHANG=os.WNOHANG, read=read, waitpid=lambda _pid, _options: ended())
        ignored = SimpleNamespace(**{**vars(signal), "signal": lambda _number, _action: None})
        parts.update(os=kept, signal=ignored, _signal_all=heeded.append)
        os.write(writing, b"!" * 128)
        with pytest.raises(Enough):
            run(HANDLER, inside.fileno())
        return heeded

    yield obey
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("ended", [(0, 0), (OTHER, 0)], ids=["signals", "processes that end"])
def test_orders_are_obeyed_in_their_turn_beside_a_flood(orders: Any, obeyed: Any, ended: tuple[int, int]) -> None:
    host = orders[0]
    for order in (b"s", b"r", b"s"):
        host.send(order)
    host.close()
    assert obeyed(lambda: ended) == [signal.SIGSTOP, signal.SIGCONT, signal.SIGSTOP]
