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
HANDLER, OTHER, EVERY_OTHER = 2, 7, -1
# What each look into /proc finds.
PROCESSES: list[list[str]] = []


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
) -> Iterator[Callable[[Callable[[], tuple[int, int]]], list[tuple[int, Any]]]]:
    """Runs process 1 until it has found that the host has closed its end; what it then has sent, and to whom.

    SIGCHLD is pending all the time. The argument stands for waitpid.
    """
    reading, writing = os.pipe()
    linux = runpy.run_path(str(JAIL / "linux.py"))
    heeded: list[tuple[int, Any]] = []
    fakes = SimpleNamespace(
        descriptor_of_signals=lambda _numbers: reading, readable=linux["readable"],
        limit_processes=lambda pid, number: heeded.append((pid, "makes no more")) if number == 0 else None,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "linux", fakes)
    run = runpy.run_path(str(JAIL / "init.py"))["run"]
    parts: dict[str, Any] = run.__globals__
    inside = orders[1]

    def obey(ended: Callable[[], tuple[int, int]]) -> list[tuple[int, Any]]:
        heeded.clear()

        def read(fd: int, size: int) -> bytes:
            os.write(writing, b"!" * 128)
            data = os.read(fd, size)
            if fd == inside.fileno() and not data:
                raise Enough
            return data

        kept = SimpleNamespace(
            WNOHANG=os.WNOHANG, read=read, waitpid=lambda _pid, _options: ended(),
            getpid=lambda: 1, listdir=lambda _path: PROCESSES.pop(0),
        )  # fmt: skip
        ignored = SimpleNamespace(**{**vars(signal), "signal": lambda _number, _action: None})
        parts.update(os=kept, signal=ignored, _signal=lambda target, number: heeded.append((target, number)))
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
    expected = [(EVERY_OTHER, number) for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGSTOP)]
    assert obeyed(lambda: ended) == expected


def test_of_a_crowd_only_the_functions_own_process_goes_on_and_makes_no_more(orders: Any, obeyed: Any) -> None:
    host = orders[0]
    host.send(b"c")
    host.close()
    # One that was forked meanwhile, and none that has been killed already.
    PROCESSES[:] = [["1", "2", "7", "8", "self"], ["1", "2", "7", "9"], ["1", "2"]]
    heeded = obeyed(lambda: (0, 0))
    # It forks nothing while it is looked at, and the function's own process goes on to say what it was doing.
    assert heeded[:2] == [(HANDLER, "makes no more"), (EVERY_OTHER, signal.SIGSTOP)]
    assert sorted(heeded[2:4]) == [(7, signal.SIGKILL), (8, signal.SIGKILL)]
    assert heeded[4:] == [(9, signal.SIGKILL), (HANDLER, signal.SIGCONT)]
