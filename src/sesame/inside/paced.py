"""Reads datagrams from a socket as fast as the client that they are of may have them read.

Used by `inside.names` and `inside.datagrams`. Further ones wait in the kernel, which drops what is too much.
"""

import asyncio
import socket
from collections.abc import Callable

from sesame.model.fair_rate import Share

# Before the event loop turns to other work.
TAKEN_AT_ONCE = 8


class Paced:
    """Calls `take` whenever there may be a datagram; it reads one, and raises `BlockingIOError` where there is none.

    What it returns is charged to the client's share.
    """

    def __init__(self, receiving: socket.socket, share: Share, take: Callable[[], float]) -> None:
        self._receiving = receiving
        self._share = share
        self._take = take
        self._wait_no_longer: Callable[[], object] | None = None
        self._ended = False
        self._read()

    def end(self) -> None:
        """Reads no more, and closes the socket."""
        self._ended = True
        if self._wait_no_longer is not None:
            self._wait_no_longer()
        asyncio.get_running_loop().remove_reader(self._receiving.fileno())
        self._receiving.close()

    def _read(self) -> None:
        asyncio.get_running_loop().add_reader(self._receiving.fileno(), self._on_readable)

    def _turn_came(self) -> None:
        self._wait_no_longer = None
        if not self._ended:
            self._read()
            # At once: what it takes is charged before another socket of the client has its turn.
            self._on_readable()

    def _on_readable(self) -> None:
        for _ in range(TAKEN_AT_ONCE):
            if not self._share.allows():
                asyncio.get_running_loop().remove_reader(self._receiving.fileno())
                self._wait_no_longer = self._share.in_turn(self._turn_came)
                return
            try:
                units = self._take()
            except (BlockingIOError, InterruptedError):
                return
            self._share.charge(units)
            if self._ended:
                return
