"""Determines whether a client that has closed its side of a connection still waits for an answer, or has disconnected.

TCP signals both in the same way (RFC 9293 §3.6), but a disconnected client resets the connection when something is sent
to it. Created by `http.connection` when a client's side closes after complete requests.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

from sesame.http.exchange import Exchange
from sesame.http.pace import Taking
from sesame.http.status import CONTINUE
from sesame.model.clocks import SYSTEM_CLOCKS

LOOKS_EVERY_S = 0.5
# Part of the size of the next chunk, which may have leading zeros (RFC 9112 §7.1). Some clients accept 16 digits.
ZERO, ZEROS_MAX = b"0", 8


class Owner(Protocol):
    """The part of `http.connection.Connection` that is used here."""

    transport: asyncio.Transport
    taking: Taking

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class HalfClosed:
    """Aborts the connection of a disconnected client.

    POLICY: a waiting client is sent what every client of HTTP/1.1 skips, at the second look and then every `silent_s`,
    so that an early answer comes alone: `100 Continue` (RFC 9110 §15.2) before its answer, a zero before the next
    chunk's size in an answer of chunks. Any other client cannot be probed: it counts as disconnected if nothing was
    sent to it for `silent_s`.
    """

    def __init__(self, owner: Owner, running: Callable[[], Exchange | None], silent_s: float) -> None:
        """`running` returns the request that is being answered."""
        self._owner = owner
        self._running = running
        self._poll = select.poll()
        # Only for resets and errors, which poll reports without being asked.
        self._poll.register(owner.transport.get_extra_info("socket").fileno(), 0)
        self._every_s = min(LOOKS_EVERY_S, silent_s)
        self._silent_looks = round(silent_s / self._every_s)
        self._asked_at = 2
        self._looks, self._written, self._zeros = 0, owner.taking.written, 0
        self._timer = SYSTEM_CLOCKS.call_later(self._every_s, self._look)

    def end(self) -> None:
        """Stops looking. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._poll.poll(0) or self._silent_for_long():
            self._owner.abort()
        else:
            self._timer = SYSTEM_CLOCKS.call_later(self._every_s, self._look)

    def _silent_for_long(self) -> bool:
        """Whether the client counts as disconnected; probes it if possible."""
        owner, running = self._owner, self._running()
        written = owner.taking.written
        if written != self._written or owner.transport.get_write_buffer_size():
            # The speed at which it takes what was sent is checked elsewhere.
            self._looks, self._written, self._zeros = 0, written, 0
        self._looks += 1
        probe = b"" if running is None else self._probe(running)
        if not probe:
            return self._looks > self._silent_looks
        if self._looks >= self._asked_at:
            self._looks, self._asked_at = 0, self._silent_looks
            self._zeros += probe == ZERO
            owner.write(probe)
            self._written = owner.taking.written
        return False

    def _probe(self, running: Exchange) -> bytes:
        """What the client skips now; empty if there is nothing."""
        if not running.begun:
            return CONTINUE if running.request.http_version == "1.1" else b""
        return ZERO if running.between_chunks and self._zeros < ZEROS_MAX else b""
