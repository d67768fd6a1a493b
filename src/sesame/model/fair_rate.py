"""Limits the rate of work per client and in total; a client beyond its rate waits for its turn.

One per Sesame, created by `_endpoints`. `http` and `inside` ask it before they accept a connection or a name query
from an instance, so that no function takes the event loop from the others by opening connections.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from weakref import WeakValueDictionary

import msgspec

from sesame.model.clocks import SYSTEM_CLOCKS, Clocks, Timer

# POLICY: one unit is the cost of one connection, 92 µs of the event loop on two slow cores (2026-11). In the long run
# an instance gets 4 % of the event loop and all instances together a fifth; bursts let a starting program pass
# unhindered.
EACH_PER_S, EACH_BURST = 400.0, 64.0
ALL_PER_S, ALL_BURST = 2000.0, 256.0
# How often waiting clients are looked at.
TURN_S = 0.02


class Rates(msgspec.Struct, frozen=True):
    """Units per second, and the size of a burst."""

    each_per_s: float = EACH_PER_S
    each_burst: float = EACH_BURST
    all_per_s: float = ALL_PER_S
    all_burst: float = ALL_BURST


class FairRate:
    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS, rates: Rates | None = None) -> None:
        self._clocks = clocks
        self._rates = rates or Rates()
        self._all = _Bucket(self._rates.all_per_s, self._rates.all_burst, clocks.monotonic())
        # Buckets of clients that still have a socket.
        self._buckets: WeakValueDictionary[str, _Bucket] = WeakValueDictionary()
        # The waiting clients with their callbacks, the next one first.
        self._waiting: dict[_Bucket, list[Callable[[], None]]] = {}
        self._timer: Timer | None = None

    def of(self, client: str) -> "Share":
        """The share that all sockets of `client` have in common."""
        bucket = self._buckets.get(client)
        if bucket is None:
            rates = self._rates
            bucket = self._buckets[client] = _Bucket(rates.each_per_s, rates.each_burst, self._clocks.monotonic())
        return Share(self, bucket)

    def allows(self, bucket: "_Bucket") -> bool:
        now = self._clocks.monotonic()
        return bucket.level(now) > 0 and self._all.level(now) > 0

    def charge(self, bucket: "_Bucket", units: float) -> None:
        bucket.left -= units
        self._all.left -= units

    def wait(self, bucket: "_Bucket", resume: Callable[[], None]) -> Callable[[], None]:
        waiting = self._waiting.setdefault(bucket, [])
        waiting.append(resume)
        if self._timer is None:
            self._timer = self._clocks.call_later(TURN_S, self._turn)

        def cancel() -> None:
            if resume in waiting:
                waiting.remove(resume)

        return cancel

    async def turn(self, bucket: "_Bucket") -> None:
        """Tasks of one client resume one by one: waking all, when few may run, would cost more than their work."""
        if not bucket.turns_wait and self.allows(bucket):
            return
        turn = self._queued(bucket)
        try:
            await turn
        finally:
            if turn.done() and not turn.cancelled():
                # Soon, so that the caller has charged its work by then.
                asyncio.get_running_loop().call_soon(self._wake_next, bucket)

    def in_turn(self, bucket: "_Bucket", resume: Callable[[], None]) -> Callable[[], object]:
        """Like `turn`, for a callback, which must charge its work before it returns."""
        turn = self._queued(bucket)

        def come(turn: "asyncio.Future[None]") -> None:
            if not turn.cancelled():
                try:
                    resume()
                finally:
                    self._wake_next(bucket)

        turn.add_done_callback(come)
        return turn.cancel

    def _queued(self, bucket: "_Bucket") -> "asyncio.Future[None]":
        turn = asyncio.get_running_loop().create_future()
        bucket.turns.append(turn)
        if not bucket.turns_wait:
            bucket.turns_wait = True
            self._wake_next(bucket)
        return turn

    def _wake_next(self, bucket: "_Bucket") -> None:
        turns = bucket.turns
        while turns and turns[0].done():
            # Cancelled.
            turns.popleft()
        if not turns:
            bucket.turns_wait = False
        elif self.allows(bucket):
            turns.popleft().set_result(None)
        else:
            self.wait(bucket, functools.partial(self._wake_next, bucket))

    def _turn(self) -> None:
        """Resumes waiting clients in order of arrival, as long as the total budget lasts."""
        self._timer = None
        now = self._clocks.monotonic()
        budget = self._all.level(now)
        resumed: list[Callable[[], None]] = []
        for bucket in list(self._waiting):
            if not self._waiting[bucket]:
                # All sockets of this client have been closed.
                del self._waiting[bucket]
                continue
            if budget <= 0:
                break
            # Units gathered while waiting must not keep the clients behind it waiting.
            bucket.left = min(bucket.level(now), self._rates.each_per_s * TURN_S)
            if bucket.left > 0:
                budget -= bucket.left
                resumed += self._waiting.pop(bucket)
        if self._waiting:
            self._timer = self._clocks.call_later(TURN_S, self._turn)
        for resume in resumed:
            resume()


class Share:
    """One client's part of a `FairRate`."""

    def __init__(self, rate: FairRate, bucket: "_Bucket") -> None:
        self._rate = rate
        self._bucket = bucket

    def allows(self) -> bool:
        """Whether the client may do work now; otherwise it must `wait`."""
        return self._rate.allows(self._bucket)

    def charge(self, units: float = 1.0) -> None:
        """Charges work that was done. A debt is paid off by a longer wait."""
        self._rate.charge(self._bucket, units)

    async def turn(self) -> None:
        """Returns when the client may do work. The caller must charge that work before its next `await`."""
        await self._rate.turn(self._bucket)

    def wait(self, resume: Callable[[], None]) -> Callable[[], None]:
        """Calls `resume` once when it is the client's turn, unless the returned function is called first to cancel."""
        return self._rate.wait(self._bucket, resume)

    def in_turn(self, resume: Callable[[], None]) -> Callable[[], object]:
        """Like `wait`, for clients with many waiters: `resume` charges its work before the next waiter is resumed."""
        return self._rate.in_turn(self._bucket, resume)


class _Bucket:
    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._at = now
        self.left = burst
        # The client's waiters, the next one first, and whether a wake-up of the next one is scheduled.
        self.turns: deque[asyncio.Future[None]] = deque()
        self.turns_wait = False

    def level(self, now: float) -> float:
        self.left = min(self._burst, self.left + (now - self._at) * self._per_s)
        self._at = now
        return self.left
