"""The durable queue of asynchronous invocations: an accepted invocation stays until its end is recorded.

Given to `control`, which accepts and stops, and to `engine.async_invoker`, which claims and finishes; triggers enqueue
in their own transactions. Each row ends once: an answer under a lost lease changes nothing.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from sesame.model.async_invocation import (
    AsyncInvocation,
    AsyncPage,
    AsyncQuery,
    Ending,
    Leased,
    NewDelivery,
    NewInvocation,
    StopResult,
)
from sesame.model.clocks import Clocks, Timer
from sesame.model.invocation import Target
from sesame.store.queue import pages
from sesame.store.queue.accepting import Acceptor, Handover
from sesame.store.queue.batching import Applied, Batch
from sesame.store.queue.changes import LEASES, Finish, Retry, Start, Stop
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.deliveries import DeliveryQueue
from sesame.store.queue.depth import QueueDepth, depth
from sesame.store.queue.leases import Claim, Extend, Release
from sesame.store.queue.operations import Accept, Note, Op, Owner, Starts, apply
from sesame.store.queue.rows import check
from sesame.store.queue.wakeups import Wakeups
from sesame.store.sql.database import Database

# POLICY: a call that ends sooner is recorded as running only with its end, which saves a commit.
START_DELAY_S = 0.1
# How many ended invocations one change removes, so that other changes get their turn at the writer.
PRUNED_AT_ONCE = 1000


class InvocationQueue:
    """Belongs to one event loop. `holder` distinguishes this process from earlier users of the database."""

    def __init__(self, database: Database, clocks: Clocks, holder: str = "") -> None:
        self._database = database
        self._clocks = clocks
        self.clock = QueueClock(clocks)
        self._holder = holder or uuid.uuid4().hex
        self._wakeups = Wakeups(clocks, self.clock)
        self._handover = Handover()
        self._acceptor = Acceptor(self._holder, self.clock, self._handover)
        self._owner = Owner(self._holder, self.clock, self._acceptor, self._handover)
        self._take_accepted: Callable[[Sequence[Leased]], None] | None = None
        self._batch: Batch[Op, Note] = Batch(database, self._apply, self._committed, self._dropped)
        self.deliveries = DeliveryQueue(database, clocks, self.clock, self._holder)
        self._on_stop: list[Callable[[int], None]] = []
        # Started calls that are not recorded as such yet, by row and epoch.
        self._started: dict[tuple[int, int], Start] = {}
        self._start_timer: Timer | None = None
        self._recording: asyncio.Future[Any] | None = None

    async def open(self) -> None:
        """Ends the leases of all earlier processes, which no longer exist."""

        def take_over(connection: sa.Connection) -> float | None:
            self.clock.load(connection)
            LEASES.void(connection, self.clock)
            return LEASES.next_due(connection)

        self._wakeups.know(await self._database.write(take_over))
        await self.deliveries.open()
        # Rows that were committed without an answer, or fell due meanwhile, must be claimed.
        self._database.on_return(lambda _connection: None, self.notify)

    async def close(self) -> None:
        """Returns when all operations have their result; idempotent. Leases remain until the next `open`."""
        self._wakeups.close()
        if self._start_timer is not None:
            self._start_timer.cancel()
        await self._batch.settle()
        await self.deliveries.close()

    # What waits to be claimed.

    def on_work(self, callback: Callable[[], None]) -> None:
        """Called on the loop when there may be something to claim: after a commit, or when a delay or a lease ends."""
        self._wakeups.on_work(callback)

    def on_accepted(self, room: Callable[[], int], take: Callable[[Sequence[Leased]], None]) -> None:
        """Leases due invocations to the caller as soon as they are accepted, while no older one waits.

        `room`, called on the writer's thread, returns how many are taken now. `take` is called on the loop with their
        leases after the commit, before `enqueue` returns.
        """
        self._take_accepted = take
        self._handover.room = room

    def notify(self, _result: object = None) -> None:
        """Call after `enqueue_in`, as `on_commit` of the change."""
        self._wakeups.notify()

    def next_due(self) -> float | None:
        """When, by the wall clock, the next row falls due, as far as is known."""
        at = self._wakeups.next_due
        return None if at is None else self.clock.to_wall(at)

    # What is accepted.

    async def enqueue(self, news: Sequence[NewInvocation]) -> list[bool]:
        """On return they are committed. False: the function has this stateful id already, and nothing was changed.

        Raises `Invalid` for values that no database can store, and `PlatformError` if nothing was accepted.
        """
        for new in news:
            check(new)
        accepted: list[bool] = await self._batch.ask(Accept(news))
        return accepted

    def enqueue_in(self, connection: sa.Connection, news: Sequence[NewInvocation]) -> list[bool]:
        """As `enqueue`, within the transaction of `connection`; call `notify` after its commit."""
        for new in news:
            check(new)
        return self._acceptor.accept(connection, news, lease=False).accepted

    # What is leased.

    async def claim(self, limit: int) -> list[Leased]:
        """Up to `limit` due invocations, under leases of `LEASE_S`; an empty list if none is due.

        If the caller is cancelled, they are given back.
        """
        if limit < 1:
            return []
        claimed: list[Leased] = await self._batch.ask(Claim(limit))
        return claimed

    def started(self, lease: Leased, instance_id: str) -> None:
        """Records that the function is called in this instance; written at the latest with the end of the call.

        Call it once for a lease; it does not wait.
        """
        self._started[lease.seq, lease.epoch] = Start(lease, self.clock.wall(), instance_id)
        if self._start_timer is None:
            self._start_timer = self._clocks.call_later(START_DELAY_S, self._record_starts_soon)

    async def extend(self, leases: Sequence[Leased]) -> list[bool]:
        """Extends each lease to `LEASE_S` from now. False: it was already lost."""
        if not leases:
            return []
        extended: list[bool] = await self._batch.ask(Extend(leases))
        return extended

    async def release(self, leases: Sequence[Leased]) -> None:
        """Gives back claimed invocations that this caller will not run, to be claimed at once; counts nothing."""
        if leases:
            await self._batch.ask(Release(leases))

    async def finish(
        self,
        lease: Leased,
        ending: Ending,
        then: Sequence[NewInvocation | NewDelivery] = (),
        *,
        patient: bool = False,
    ) -> bool:
        """Records the end and its consequences in one commit. False: the lease was lost, and nothing was changed.

        `patient`: the commit may be delayed by some milliseconds, so that it is shared.
        """
        for each in then:
            if isinstance(each, NewInvocation):
                check(each)
        start = self._start_of(lease)
        change = Finish(lease, ending, then, None if start is None else start.at)
        finished: bool = await self._batch.ask(change, patient=patient)
        return finished

    async def retry(
        self, lease: Leased, not_before: float, *, counted: bool, error: str = "", duration_ms: float | None = None
    ) -> bool:
        """Gives the invocation back until `not_before`. `counted`: as a function error, otherwise for lack of capacity.

        `duration_ms` is how long the function ran, None if it was not called. False: the lease was lost, and nothing
        was changed. An invocation that is being stopped becomes stopped instead.
        """
        start = self._start_of(lease)
        retried: bool = await self._batch.ask(Retry(lease, not_before, counted, error, duration_ms, start))
        return retried

    # What users ask for.

    async def stop(self, target: Target, invocation_id: str) -> StopResult:
        """A waiting one never starts. A running one ends: `on_stop` callbacks run, then its holder calls `finish`."""
        await self._record_starts()
        result: StopResult = await self._batch.ask(Stop(target, invocation_id))
        if result is StopResult.NOT_FOUND and (found := await self.get(target, invocation_id)) is not None:
            # Searched on a reader's thread, because the writer must not read all rows.
            result = await self._batch.ask(Stop(target, invocation_id, found.seq))
        return result

    def on_stop(self, callback: Callable[[int], None]) -> None:
        """Called on the loop with the `seq` of a leased invocation that must be ended."""
        self._on_stop.append(callback)

    async def get(self, target: Target, invocation_id: str, *, stateful_only: bool = False) -> AsyncInvocation | None:
        """The whole record with the payload. Finding one that is not stateful reads all rows."""
        await self._record_starts()
        find = pages.get_stateful if stateful_only else pages.get
        return await self._database.read(lambda connection: find(connection, target, invocation_id, self.clock))

    async def page(self, query: AsyncQuery) -> AsyncPage:
        """Invocations by acceptance time. Raises `Invalid` for a `start` that is not a token of a previous page."""
        await self._record_starts()
        return await self._database.read(lambda connection: pages.page(connection, query, self.clock))

    async def functions(self, start: tuple[str, str, str], limit: int) -> list[Target]:
        """Functions with stateful invocations in the order of (service, function, qualifier), from `start` on."""
        return await self._database.read(lambda connection: pages.functions(connection, start, limit))

    async def depth(self) -> QueueDepth:
        """Counts unfinished invocations. Raises `PlatformError` if the database does not answer."""
        return await self._database.read(lambda connection: depth(connection, self.clock))

    async def release_ids(self, service: str, function: str, is_gone: Callable[[], bool]) -> None:
        """Releases the ids that callers chose for its invocations, which stay but are no longer stateful.

        `is_gone` returns whether the function does not exist. It is asked once they are read, so that those of a
        function that was created meanwhile keep theirs.
        """
        newest = await self._database.read(lambda connection: pages.newest_id(connection, service, function))
        if newest is None or not is_gone():
            return
        while await self._database.write(
            lambda connection: pages.release_ids(connection, service, function, newest, PRUNED_AT_ONCE)
        ):
            pass

    async def prune(self, before: float) -> int:
        """Deletes invocations that ended before that time (wall clock), and returns their number."""
        removed = 0
        while found := await self._database.write(lambda connection: pages.prune(connection, before, PRUNED_AT_ONCE)):
            removed += found
        return removed

    # What is asked for, gathered: on the writer's thread, then on the loop.

    def _apply(self, connection: sa.Connection, ops: list[Op]) -> Applied[Note]:
        return apply(connection, ops, self._owner)

    def _committed(self, note: Note) -> None:
        if note.drained:
            self._wakeups.know(note.next_due)
        if note.due_at is not None:
            self._wakeups.due_at(note.due_at)
        if note.leased and self._take_accepted is not None:
            self._take_accepted(note.leased)
        if note.records:
            self.deliveries.notify()
        for seq in note.stopping:
            for callback in self._on_stop:
                callback(seq)

    def _dropped(self, op: Op, result: Any) -> None:
        if isinstance(op, Claim) and result:
            self._batch.order(Release(result))

    def _start_of(self, lease: Leased) -> Start | None:
        return self._started.pop((lease.seq, lease.epoch), None)

    def _record_starts_soon(self) -> None:
        if self._start_timer is not None:
            self._start_timer.cancel()
            self._start_timer = None
        starts, self._started = self._started, {}
        if starts:
            self._recording = self._batch.order(Starts(list(starts.values())))

    async def _record_starts(self) -> None:
        """Writes started calls, so that readers see them."""
        self._record_starts_soon()
        if self._recording is not None:
            await asyncio.wait([self._recording])
            self._recording = None
