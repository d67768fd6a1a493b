"""Measures whether a client sends or reads bytes at a minimum rate.

Used by `http.connection` and `http.websocket`, at every tick.
"""

import asyncio
import math

from sesame.http.limits import Limits
from sesame.http.unsent import COUNTED_BYTES, Unsent


class Pace:
    """`slow_s` is how far the client is behind the rate, in seconds; never more than the time since the start."""

    __slots__ = ("_bytes_per_s", "_grace_s", "slow_s")

    def __init__(self, bytes_per_s: int, grace_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._grace_s = grace_s
        self.slow_s = 0.0

    def measure(self, moved_bytes: int, passed_s: float) -> bool:
        """Records that `moved_bytes` moved in `passed_s`. Returns whether the client has been too slow for too long."""
        self.slow_s = max(0.0, self.slow_s + passed_s - moved_bytes / self._bytes_per_s)
        return self.slow_s > self._grace_s

    def restart(self) -> None:
        self.slow_s = 0.0


class Taking:
    """The rate at which a client reads its answers."""

    __slots__ = ("__weakref__", "_counted", "_moved", "_pace", "_passed_s", "_taken", "_unsent", "transport", "written")

    def __init__(self, transport: asyncio.Transport, limits: Limits, unsent: Unsent) -> None:
        self.transport = transport
        self._counted = False
        self._pace = Pace(limits.answer_bytes_per_s, limits.answer_grace_s)
        self._unsent = unsent
        self._taken = 0
        # Bytes read by the client, and seconds passed, since data began to wait in the transport's buffer.
        self._moved, self._passed_s = 0, 0.0
        # Bytes handed to the transport so far.
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self.transport.write(data)
        if len(data) > COUNTED_BYTES:
            if not self._counted:
                self._counted = True
                self._unsent.begins(self)
            self._unsent.grows(len(data))

    @property
    def taken_bytes_per_s(self) -> float:
        """The read rate since data began to wait in the transport's buffer; infinite until it was measured."""
        return self._moved / self._passed_s if self._passed_s else math.inf

    def too_slow(self, waiting_bytes: int, passed_s: float) -> bool:
        """`waiting_bytes` of the data written are still in the transport's buffer; `passed_s` since the last check."""
        taken = self.written - waiting_bytes
        moved, self._taken = taken - self._taken, taken
        if not waiting_bytes:
            self._pace.restart()
            self._moved, self._passed_s = 0, 0.0
            return False
        self._moved += moved
        self._passed_s += passed_s
        return self._pace.measure(moved, passed_s)
