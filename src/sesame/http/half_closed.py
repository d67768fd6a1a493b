"""Whether a client that has ended its side of a connection still waits for an answer, or has gone.

TCP tells both in the same way (RFC 9293 §3.6); a client that has gone resets the connection when something is sent to
it. Made by `http.connection` where a client's side ends behind whole requests.
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


class Owner(Protocol):
    """The part of `http.connection.Connection` that is used here."""

    transport: asyncio.Transport
    taking: Taking

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None: ...


class HalfClosed:
    """Aborts the connection when its client has gone.

    POLICY: a client that waits is sent `100 Continue`, which every client of HTTP/1.1 skips (RFC 9110 §15.2), at the
    second look and then every `silent_s`: an answer that comes soon comes alone. One that speaks HTTP/1.0, or has a
    part of its answer, cannot be asked: it has gone when nothing was sent to it for `silent_s`.
    """

    def __init__(self, owner: Owner, running: Callable[[], Exchange | None], silent_s: float) -> None:
        """`running` gives the request that is being answered."""
        self._owner = owner
        self._running = running
        self._poll = select.poll()
        # For resets and errors alone, which need not be asked for.
        self._poll.register(owner.transport.get_extra_info("socket").fileno(), 0)
        self._every_s = min(LOOKS_EVERY_S, silent_s)
        self._silent_looks = round(silent_s / self._every_s)
        self._asked_at = 2
        self._looks, self._written = 0, owner.taking.written
        self._timer = SYSTEM_CLOCKS.call_later(self._every_s, self._look)

    def end(self) -> None:
        """Nobody looks any more. Idempotent."""
        self._timer.cancel()

    def _look(self) -> None:
        if self._poll.poll(0) or self._silent_for_long():
            self._owner.abort()
        else:
            self._timer = SYSTEM_CLOCKS.call_later(self._every_s, self._look)

    def _silent_for_long(self) -> bool:
        """Asks the client if that can be done."""
        owner, running = self._owner, self._running()
        written = owner.taking.written
        if written != self._written or owner.transport.get_write_buffer_size():
            # How fast it takes what was sent is looked at elsewhere.
            self._looks, self._written = 0, written
        self._looks += 1
        if running is None or running.begun or running.request.http_version != "1.1":
            return self._looks > self._silent_looks
        if self._looks >= self._asked_at:
            self._looks, self._asked_at = 0, self._silent_looks
            owner.write(CONTINUE)
            self._written = owner.taking.written
        return False
