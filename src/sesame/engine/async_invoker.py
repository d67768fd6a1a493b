"""Runs asynchronous invocations: claims those that are due, starts as many as may run, and extends their leases.

Started and closed by `_async`. Waits for the queue's notifications instead of polling. `engine.async_calls` runs each
attempt; `engine.async_places` decides where it runs and how many run at a time.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import structlog

from sesame.engine.async_calls import AsyncCalls, Attempt, CallSteps
from sesame.engine.async_pace import ADJUST_EVERY_S
from sesame.engine.async_places import LATER, Places
from sesame.engine.async_work import InvokerDependencies, Place
from sesame.model.async_invocation import Leased
from sesame.model.clocks import Timer
from sesame.model.invocation import Target
from sesame.model.last_wait import LastWait

# How many invocations are claimed ahead of the calls that may run, so that starting one never waits for the database.
CLAIMED_AHEAD_MAX = 128
# How many invocations, and bytes of their events, are leased as soon as they are accepted. The rest wait in the
# database.
TAKEN_AHEAD_MAX, TAKEN_AHEAD_BYTES_MAX = 1024, 16 * 1024 * 1024
# Once this many results wait for the database, no more calls are started.
RECORDING_MAX = 512
# POLICY: this many claimed invocations may wait for a function that is at its cap. Others go back to the queue, so that
# they do not hold up other functions.
WAITING_PER_FUNCTION_MAX = 8
# POLICY: this many invocations, of any functions, may wait for one full machine while other machines have room.
WAITING_FOR_MACHINE_MAX = CLAIMED_AHEAD_MAX // 2
LOOK_AGAIN_S = 1.0
# How long to wait before the next claim after one failed.
CLAIM_AGAIN_S = 1.0
# Leases are extended after a third of their duration, so that two extensions in a row may fail.
EXTENSIONS_PER_LEASE = 3
# POLICY: how long `close` waits, after its patience has run out, for results that are being written.
LAST_WRITES_S = 5.0

log = structlog.get_logger(__name__)


class AsyncInvoker:
    """Belongs to one event loop. `start` once, then `close` once."""

    def __init__(self, given: InvokerDependencies) -> None:
        self._given = given
        self._places = Places(given)
        self._calls = AsyncCalls(given, CallSteps(self._leave, lambda: self._places.slots))
        # Claimed but not started, oldest first.
        self._waiting: deque[Attempt] = deque()
        self._waiting_bytes = 0
        # Running or being recorded, by `seq`.
        self._running: dict[int, Attempt] = {}
        self._more = False
        self._claiming: asyncio.Task[None] | None = None
        self._upkeep: set[asyncio.Task[None]] = set()
        # Invocations to be stopped whose `seq` arrived during a claim: that claim may return them.
        self._stopped_early: set[int] = set()
        self._resume: Timer | None = None
        self._extend: Timer | None = None
        self._quiet = False
        self._wait = LastWait(given.clocks, lambda: self._running)

    def start(self) -> None:
        self._given.queue.on_work(self._on_work)
        self._given.queue.on_stop(self._on_stop)
        self._given.queue.on_accepted(self._room, self._on_accepted)
        self._on_work()

    def quiesce(self) -> None:
        """Starts no more calls; running calls continue."""
        self._quiet = True
        if self._claiming is not None:
            self._claiming.cancel()
        if self._resume is not None:
            self._resume.cancel()

    async def close(self, patience_s: float) -> None:
        """Releases what was not started and gives running calls `patience_s` seconds to end before releasing them too.

        On return no call runs and no lease is held, except where the queue could not be written.
        """
        self.quiesce()
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        waiting = [attempt.lease for attempt in self._waiting]
        self._waiting.clear()
        await self._release(waiting)
        # Let new tasks take their first step: a task cancelled before it would not release its lease.
        await asyncio.sleep(0)
        await self._wait.patiently(patience_s)
        for attempt in self._running.values():
            if attempt.calling and attempt.task is not None:
                attempt.task.cancel()
        await self._wait.at_most(LAST_WRITES_S)
        tasks = [attempt.task for attempt in self._running.values() if attempt.task is not None]
        for task in (*tasks, *self._upkeep):
            task.cancel()
        if left := (*tasks, *self._upkeep):
            await asyncio.wait(left)
        if self._extend is not None:
            self._extend.cancel()

    def hurry(self) -> None:
        """Ends the patience of `close` now, or in advance if called before `close`.

        Does not shorten its other waits.
        """
        self._wait.hurry()

    @property
    def running(self) -> int:
        """How many calls are running."""
        return self._places.slots

    def _on_work(self) -> None:
        self._more = True
        self._pump()

    def _room(self) -> int:
        """How many more invocations may be leased on acceptance. Called on another thread."""
        if self._quiet or self._calls.kept or self._waiting_bytes > TAKEN_AHEAD_BYTES_MAX:
            return 0
        return TAKEN_AHEAD_MAX - len(self._waiting)

    def _on_accepted(self, leases: Sequence[Leased]) -> None:
        if self._quiet:
            self._keep_up(self._release(leases))
            return
        for lease in leases:
            self._wait_for_turn(Attempt(lease))
        self._pump()

    def _on_stop(self, seq: int) -> None:
        attempt = self._running.get(seq)
        if attempt is not None:
            attempt.stop()
            return
        for waiting in self._waiting:
            if waiting.lease.seq == seq:
                waiting.stop()
                self._waiting.remove(waiting)
                self._begin(waiting, self._places.here)
                return
        if self._claiming is not None:
            self._stopped_early.add(seq)

    def _pump(self) -> None:
        """Starts the invocations that may start and claims more."""
        if self._quiet:
            return
        if self._waiting:
            self._start_waiting()
        if self._more and self._claiming is None:
            wanted = self._places.limit - self._places.slots + CLAIMED_AHEAD_MAX - len(self._waiting)
            # Claim in large batches, because each claim is a transaction.
            if wanted >= CLAIMED_AHEAD_MAX // 2:
                self._more = False
                self._claiming = asyncio.get_running_loop().create_task(self._claim(min(wanted, CLAIMED_AHEAD_MAX)))

    async def _claim(self, limit: int) -> None:
        try:
            leases = await self._given.queue.claim(limit)
            self._more = self._more or len(leases) >= limit
            for lease in leases:
                self._take(lease)
        except Exception as error:  # noqa: BLE001 - any database error is retried
            log.warning("asynchronous invocations could not be claimed", error=str(error), again_s=CLAIM_AGAIN_S)
            self._more = True
            await self._given.clocks.sleep(CLAIM_AGAIN_S)
        finally:
            self._claiming = None
            self._stopped_early.clear()
        self._pump()

    def _take(self, lease: Leased) -> None:
        known = self._running.get(lease.seq) or next((a for a in self._waiting if a.lease.seq == lease.seq), None)
        if known is not None:
            # The lease expired because the clock jumped or the database was unreachable. The invocation must not run
            # twice at once.
            known.lease = lease
            return
        self._wait_for_turn(Attempt(lease, stopped=lease.seq in self._stopped_early))

    def _wait_for_turn(self, attempt: Attempt) -> None:
        self._waiting.append(attempt)
        self._waiting_bytes += len(attempt.lease.payload)
        if self._extend is None:
            self._extend_later()

    def _start_waiting(self) -> None:
        """Starts claimed invocations in order, skipping those whose functions have no capacity."""
        if not self._may_begin() and self._resume is not None:
            return
        places = self._places
        places.adjust()
        # By target, how many were found to have no capacity, or to fit only on machines that take no more calls now.
        full: dict[Target, int] = {}
        later: dict[Target, int] = {}
        passed_over: list[Attempt] = []
        waiting = self._waiting
        while waiting and self._may_begin() and not places.rests_s():
            attempt = waiting.popleft()
            # Drawn once for an attempt: else the version that has capacity would have a larger share.
            attempt.version = places.version_drawn(attempt.lease.target, attempt.version)
            target = attempt.called
            place = None if target in full else LATER if target in later else places.find(target)
            if place is LATER:
                later[target] = later.get(target, 0) + 1
                if self._more and sum(later.values()) > WAITING_FOR_MACHINE_MAX:
                    self._put_off(attempt)
                else:
                    passed_over.append(attempt)
                continue
            if place is not None:
                self._begin(attempt, place)
                continue
            full[target] = full.get(target, 0) + 1
            if places.runs(target) and full[target] <= WAITING_PER_FUNCTION_MAX:
                passed_over.append(attempt)
            else:
                self._put_off(attempt)
        if self._resume is None and (waiting or later):
            rests_s = places.rests_s()
            self._resume_in(min(rests_s, ADJUST_EVERY_S) if rests_s > 0 else ADJUST_EVERY_S)
        elif self._resume is None and passed_over:
            # The next call to end triggers another look, unless synchronous calls took the capacity.
            self._resume_in(LOOK_AGAIN_S)
        waiting.extendleft(reversed(passed_over))

    def _may_begin(self) -> bool:
        if self._calls.kept:
            return False
        places = self._places
        return places.has_room() and len(self._running) - places.slots < RECORDING_MAX

    def _resume_in(self, delay_s: float) -> None:
        self._resume = self._given.clocks.call_later(delay_s, self._resumed)

    def _resumed(self) -> None:
        self._resume = None
        self._pump()

    def _begin(self, attempt: Attempt, place: Place) -> None:
        """Starts an attempt that has been taken from the waiting ones."""
        self._waiting_bytes -= len(attempt.lease.payload)
        self._running[attempt.lease.seq] = attempt
        attempt.spot = self._places.begin(attempt.called, place)
        attempt.task = asyncio.get_running_loop().create_task(self._attempt(attempt))

    def _leave(self, attempt: Attempt) -> None:
        """The attempt's call has ended; its result has yet to be recorded."""
        if attempt.spot is not None and attempt.spot.leave() and (self._more or self._waiting):
            self._pump()

    def _put_off(self, attempt: Attempt) -> None:
        """Returns an invocation without capacity to the queue; recorded like a refusal by the engine."""
        self._waiting_bytes -= len(attempt.lease.payload)
        self._running[attempt.lease.seq] = attempt
        attempt.task = asyncio.get_running_loop().create_task(self._attempt(attempt, run=False))

    async def _attempt(self, attempt: Attempt, *, run: bool = True) -> None:
        try:
            await (self._calls.run(attempt) if run else self._calls.put_off(attempt))
        except asyncio.CancelledError:
            await self._release([attempt.lease])
        except Exception:
            # The lease expires, and the invocation is then run again.
            log.exception("an asynchronous invocation was not recorded", invocation=attempt.lease.invocation_id)
        finally:
            del self._running[attempt.lease.seq]
            self._wait.look()
            self._leave(attempt)
        if self._more or self._waiting:
            self._pump()

    async def _release(self, leases: Sequence[Leased]) -> None:
        if leases:
            try:
                await self._given.queue.release(leases)
            except Exception as error:  # noqa: BLE001 - any database error is retried
                log.warning("leases were not given back; they will expire", count=len(leases), error=str(error))

    def _extend_later(self) -> None:
        delay_s = self._given.lease_s / EXTENSIONS_PER_LEASE
        self._extend = self._given.clocks.call_later(delay_s, self._extend_all)

    def _extend_all(self) -> None:
        held = list(self._held())
        self._extend = None
        if held:
            self._extend_later()
            self._keep_up(self._extended(held))

    def _keep_up(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._upkeep.add(task)
        task.add_done_callback(self._upkeep.discard)

    def _held(self) -> Iterator[Attempt]:
        yield from self._waiting
        yield from self._running.values()

    async def _extended(self, attempts: list[Attempt]) -> None:
        """Extends leases. If one was lost, cancels its call, because another process may run the invocation."""
        leases = [attempt.lease for attempt in attempts]
        try:
            kept = await self._given.queue.extend(leases)
        except Exception as error:  # noqa: BLE001 - any database error is retried
            log.warning("leases of asynchronous invocations could not be extended", error=str(error))
            return
        for attempt, lease, is_kept in zip(attempts, leases, kept, strict=True):
            if is_kept or attempt.lease is not lease:
                continue
            if attempt in self._waiting:
                self._waiting.remove(attempt)
                self._waiting_bytes -= len(lease.payload)
            elif attempt.calling and attempt.task is not None:
                log.warning("the lease of a running invocation was lost", invocation=lease.invocation_id)
                attempt.task.cancel()
