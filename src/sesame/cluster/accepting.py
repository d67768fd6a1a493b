"""Accepts the connections to one listening socket of a node, pausing while it may not or cannot accept more.

Used by the agent port, by the writer's endpoints on other nodes, and in instances' networks.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import structlog

from sesame.model.seldom import Seldom

# How long to wait after accepting has failed, for example for want of file descriptors.
PAUSE_S = 0.2

Take = Callable[[socket.socket, Any], None]
"""Called with a non-blocking connection and its peer address, as `socket.accept` returns it."""

Gate = Callable[[Callable[[], None]], Callable[[], object] | None]
"""Returns None if a connection may be accepted now. Otherwise it calls its argument once one may be, and returns a
function that cancels this.
"""

log = structlog.get_logger("sesame.cluster")


class Accepting:
    """Used in the running event loop. Call `start` once, later `close`."""

    def __init__(
        self, listening: socket.socket, take: Take, whose: str, at_once: int, gate: Gate = lambda _resume: None
    ) -> None:
        """`whose` describes the clients in the log. At most `at_once` connections are accepted per event loop turn."""
        listening.setblocking(False)
        self._socket = listening
        self._take = take
        self._whose = whose
        self._at_once = at_once
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._says = Seldom(self._loop.time)
        self._end_wait: Callable[[], object] | None = None

    def start(self) -> None:
        self._end_wait = None
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """Closes the listening socket; accepted connections stay open. Idempotent."""
        if self._end_wait is not None:
            self._end_wait()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if (end_wait := self._gate(self.start)) is not None:
                self._wait(end_wait)
                return
            try:
                accepted, address = self._socket.accept()
            except ConnectionAbortedError:
                continue
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if self._says.may():
                    log.error("connections cannot be accepted; trying again", whose=self._whose, error=str(error))
                self._wait(self._loop.call_later(PAUSE_S, self.start).cancel)
                return
            accepted.setblocking(False)
            self._take(accepted, address)

    def _wait(self, end_wait: Callable[[], object]) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._end_wait = end_wait
