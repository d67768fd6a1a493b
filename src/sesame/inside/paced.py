"""Reads datagrams from a socket no faster than its client's share allows.

Used by `inside.names` and `inside.datagrams`. Further datagrams wait in the kernel, which drops the excess.
"""

import asyncio
import socket
from collections.abc import Callable

from sesame.model.fair_rate import Share

# Datagrams to read before the event loop turns to other work.
TAKEN_AT_ONCE = 8


class Paced:
    """Calls `take` when the socket may have a datagram; `take` reads one, or raises `BlockingIOError` if there is none.

    The units that `take` returns are charged to the client's share.
    """

    def __init__(self, receiving: socket.socket, share: Share, take: Callable[[], float]) -> None:
        self._receiving = receiving
        self._share = share
        self._take = take
        self._wait_no_longer: Callable[[], object] | None = None
        self._ended = False
        self._read()

    def end(self) -> None:
        """Stops reading and closes the socket."""
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
            # Reads now, so that its cost is charged before the client's next socket has its turn.
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
