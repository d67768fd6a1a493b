"""A rate of work for each client and for all together; clients that are beyond it wait, and go on in turn.

One for each Sesame, made by `_endpoints`: `http` and `inside` ask it before they take a connection or a question of an
instance, so that no function takes the event loop from the others by opening connections.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from weakref import WeakValueDictionary

import msgspec

from sesame.model.clocks import SYSTEM_CLOCKS, Clocks, Timer

# POLICY: what one connection costs, 92 µs of the event loop on two slow cores (2026-11), is the unit. An instance takes
# 4 % of the event loop for long, all instances a fifth; what comes at once from a program that starts is not held up.
EACH_PER_S, EACH_BURST = 400.0, 64.0
ALL_PER_S, ALL_BURST = 2000.0, 256.0
# How often those that wait are looked at.
TURN_S = 0.02


class Rates(msgspec.Struct, frozen=True):
    """Units a second, and how many may come at once."""

    each_per_s: float = EACH_PER_S
    each_burst: float = EACH_BURST
    all_per_s: float = ALL_PER_S
    all_burst: float = ALL_BURST


class FairRate:
    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS, rates: Rates | None = None) -> None:
        self._clocks = clocks
        self._rates = rates or Rates()
        self._all = _Bucket(self._rates.all_per_s, self._rates.all_burst, clocks.monotonic())
        # Of the clients that still have a socket.
        self._buckets: WeakValueDictionary[str, _Bucket] = WeakValueDictionary()
        # Who waits, the next one first, with what is to be called when it may go on.
        self._waiting: dict[_Bucket, list[Callable[[], None]]] = {}
        self._timer: Timer | None = None

    def of(self, client: str) -> "Share":
        """What sockets of one client have together, whoever asks for it."""
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
        """Tasks of one client go on one by one: to wake all, for the few that may, would cost more than they do."""
        if not bucket.turns_wait and self.allows(bucket):
            return
        turn = self._queued(bucket)
        try:
            await turn
        finally:
            if turn.done() and not turn.cancelled():
                # Once this one has been charged.
                asyncio.get_running_loop().call_soon(self._wake_next, bucket)

    def in_turn(self, bucket: "_Bucket", resume: Callable[[], None]) -> Callable[[], object]:
        """As `turn`, for a callback. It must charge what it has done before it returns."""
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
            # It waits no longer.
            turns.popleft()
        if not turns:
            bucket.turns_wait = False
        elif self.allows(bucket):
            turns.popleft().set_result(None)
        else:
            self.wait(bucket, functools.partial(self._wake_next, bucket))

    def _turn(self) -> None:
        """Has clients go on, in the order in which they came to wait, as far as there is enough for all of them."""
        self._timer = None
        now = self._clocks.monotonic()
        budget = self._all.level(now)
        going: list[Callable[[], None]] = []
        for bucket in list(self._waiting):
            if not self._waiting[bucket]:
                # All of its sockets have been closed.
                del self._waiting[bucket]
                continue
            if budget <= 0:
                break
            # What gathered while it waited would keep those behind it waiting.
            bucket.left = min(bucket.level(now), self._rates.each_per_s * TURN_S)
            if bucket.left > 0:
                budget -= bucket.left
                going += self._waiting.pop(bucket)
        if self._waiting:
            self._timer = self._clocks.call_later(TURN_S, self._turn)
        for resume in going:
            resume()


class Share:
    """One client's part of a `FairRate`."""

    def __init__(self, rate: FairRate, bucket: "_Bucket") -> None:
        self._rate = rate
        self._bucket = bucket

    def allows(self) -> bool:
        """Whether the client may have something done now; else it must `wait`."""
        return self._rate.allows(self._bucket)

    def charge(self, units: float = 1.0) -> None:
        """It was done. What cost more than was left is made up for by waiting longer."""
        self._rate.charge(self._bucket, units)

    async def turn(self) -> None:
        """Returns when the client may have something done. What it costs is charged before anything is awaited."""
        await self._rate.turn(self._bucket)

    def wait(self, resume: Callable[[], None]) -> Callable[[], None]:
        """Calls back once when it is the client's turn, unless the call returned was made before."""
        return self._rate.wait(self._bucket, resume)

    def in_turn(self, resume: Callable[[], None]) -> Callable[[], object]:
        """As `wait`, for clients with many that wait: `resume` charges what it does, before the next one is called."""
        return self._rate.in_turn(self._bucket, resume)


class _Bucket:
    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._at = now
        self.left = burst
        # Who waits for one turn after the other, the next one first, and whether something is there that wakes it.
        self.turns: deque[asyncio.Future[None]] = deque()
        self.turns_wait = False

    def level(self, now: float) -> float:
        self.left = min(self._burst, self.left + (now - self._at) * self._per_s)
        self._at = now
        return self.left
