"""The durable queue of records for destinations that are not functions, including dead letters.

Filled by `store.queue.queue` in the commit that ends an invocation; emptied by `destinations`. A record's result is
written to its invocation in the same commit.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import DeadLetter, DeadLetterPage, Leased, LeasedDelivery, NewDelivery
from sesame.model.clocks import Clocks
from sesame.store.queue import dead_letters
from sesame.store.queue.batching import Applied, Batch
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.dead_letters import told_by
from sesame.store.queue.leases import LEASE_S, Claim, Extend, Held, Leases, Release, fence, key_of
from sesame.store.queue.rows import meta_of, storable
from sesame.store.queue.wakeups import Wakeups
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import TEXT
from sesame.store.sql.prepared import PreparedList
from sesame.store.sql.queue_schema import deliveries, invocations

columns = deliveries.c
LEASES = Leases(deliveries, columns.holder != sa.literal_column("''"), back={})

_METAS = PreparedList(lambda seqs: sa.select(invocations.c.seq, invocations.c.meta).where(invocations.c.seq.in_(seqs)))
_LEASED = (
    "seq",
    "epoch",
    "invocation_seq",
    "service",
    "qualifier",
    "function",
    "invocation_id",
    "request_id",
    "destination",
    "record",
    "condition",
    "attempts",
    "created_at",
)
# How many dead letters one change removes, so that other changes get their turn at the writer.
PRUNED_AT_ONCE = 100
PENDING = "Pending"
DELIVERED = "Delivered"
DEAD_LETTER = "DeadLetter"
_CLAIM = LEASES.claiming(
    {"holder": sa.bindparam("claimant", type_=TEXT), "due_at": sa.bindparam("until", type_=sa.Float)},
    [columns[name] for name in _LEASED],
)
_DELETE = sa.delete(deliveries).where(
    columns.seq == sa.bindparam("lease_seq"),
    columns.epoch == sa.bindparam("lease_epoch"),
    columns.holder == sa.bindparam("lease_holder"),
)
_RETRY = LEASES.fenced().values(
    due_at=sa.bindparam("new_due_at", type_=sa.Float),
    holder="",
    attempts=columns.attempts + sa.bindparam("counted", type_=sa.Integer),
    error=sa.bindparam("new_error", type_=TEXT),
)
_BURY = LEASES.fenced().values(
    due_at=None,
    holder="",
    error=sa.bindparam("new_error", type_=TEXT),
    buried_at=sa.bindparam("wall", type_=sa.Float),
)
_TELL = (
    sa.update(invocations)
    .where(invocations.c.seq == sa.bindparam("the_seq"))
    .values(destination_status=sa.bindparam("status", type_=TEXT))
)


class _Delivered(msgspec.Struct, frozen=True):
    lease: LeasedDelivery
    status: str


class _Retry(msgspec.Struct, frozen=True):
    lease: LeasedDelivery
    not_before: float
    counted: bool
    error: str


class _Bury(msgspec.Struct, frozen=True):
    lease: LeasedDelivery
    error: str


class _Replay(msgspec.Struct, frozen=True):
    id: int


_Op = Claim | Extend | Release | _Delivered | _Retry | _Bury | _Replay


class _Note(msgspec.Struct, frozen=True):
    """As `store.queue.operations.Note`."""

    due_at: float | None
    drained: bool
    next_due: float | None


def add_records(connection: sa.Connection, records: Sequence[tuple[Leased, NewDelivery]], clock: QueueClock) -> None:
    """Call in the transaction that ends the invocations under these leases."""
    now, wall = clock.now(), clock.wall()
    rows = [
        {
            "invocation_seq": lease.seq,
            "service": lease.target.service,
            "function": lease.target.function,
            "qualifier": lease.target.qualifier,
            "invocation_id": lease.invocation_id,
            "request_id": lease.request_id,
            "destination": storable(record.destination),
            "condition": record.condition,
            "due_at": now,
            "created_at": wall,
            "record": record.record,
        }
        for lease, record in records
    ]
    if rows:
        connection.execute(sa.insert(deliveries), rows)


class DeliveryQueue:
    """`InvocationQueue.deliveries`. Each record is delivered at least once, or becomes a dead letter."""

    def __init__(self, database: Database, clocks: Clocks, clock: QueueClock, holder: str) -> None:
        self._database = database
        self._clock = clock
        self._holder = holder
        self._wakeups = Wakeups(clocks, clock)
        self._batch: Batch[_Op, _Note] = Batch(database, self._apply, self._committed, self._dropped)

    async def open(self) -> None:
        """Called by `InvocationQueue.open`."""

        def take_over(connection: sa.Connection) -> float | None:
            LEASES.void(connection, self._clock)
            return LEASES.next_due(connection)

        self._wakeups.know(await self._database.write(take_over))
        self._database.on_return(lambda _connection: None, self.notify)

    async def close(self) -> None:
        """Called by `InvocationQueue.close`."""
        self._wakeups.close()
        await self._batch.settle()

    def on_work(self, callback: Callable[[], None]) -> None:
        """`callback` is called on the loop whenever there may be something to claim."""
        self._wakeups.on_work(callback)

    def notify(self, _result: object = None) -> None:
        self._wakeups.notify()

    async def claim(self, limit: int) -> list[LeasedDelivery]:
        """Up to `limit` due records, under leases of `LEASE_S`. If the caller is cancelled, they are given back."""
        if limit < 1:
            return []
        claimed: list[LeasedDelivery] = await self._batch.ask(Claim(limit))
        return claimed

    async def extend(self, leases: Sequence[LeasedDelivery]) -> list[bool]:
        """Extends each lease to `LEASE_S` from now. False: it was already lost."""
        if not leases:
            return []
        extended: list[bool] = await self._batch.ask(Extend(leases))
        return extended

    async def release(self, leases: Sequence[LeasedDelivery]) -> None:
        """Gives back claimed records that were not sent, to be claimed at once. Has no effect on lost leases."""
        if leases:
            await self._batch.ask(Release(leases))

    async def delivered(self, lease: LeasedDelivery, status: str = DELIVERED) -> bool:
        """Deletes the record; `status` becomes the invocation's `destination_status`. False: the lease was lost."""
        done: bool = await self._batch.ask(_Delivered(lease, status))
        return done

    async def retry(self, lease: LeasedDelivery, not_before: float, *, counted: bool, error: str) -> bool:
        """Gives the record back until `not_before`. `counted`: an attempt failed. False: the lease was lost."""
        done: bool = await self._batch.ask(_Retry(lease, not_before, counted, error))
        return done

    async def bury(self, lease: LeasedDelivery, error: str) -> bool:
        """Makes the record a dead letter, and records this in the invocation's `destination_status`.

        False: the lease was lost.
        """
        done: bool = await self._batch.ask(_Bury(lease, error))
        return done

    async def dead_letters(self, start: str, limit: int) -> DeadLetterPage:
        """From the newest on; `start` is "" or a page's `next_token`. Raises `Invalid` for any other."""
        return await self._database.read(lambda connection: dead_letters.page(connection, start, limit))

    async def dead_letter(self, number: int) -> DeadLetter | None:
        return await self._database.read(lambda connection: dead_letters.find(connection, number))

    async def prune(self, before: float, keep: int) -> int:
        """Deletes dead letters buried before that time (wall clock), and all but the newest `keep` of the others.

        Returns their number.
        """
        removed = 0
        while found := await self._database.write(
            lambda connection: dead_letters.prune(connection, before, keep, PRUNED_AT_ONCE)
        ):
            removed += found
        return removed

    async def replay(self, number: int) -> bool:
        """Delivers a dead letter again, with a full number of attempts. False: there is no such dead letter."""
        replayed: bool = await self._batch.ask(_Replay(number))
        return replayed

    def _apply(self, connection: sa.Connection, ops: list[_Op]) -> Applied[_Note]:
        return _apply(connection, ops, self._holder, self._clock)

    def _committed(self, note: _Note) -> None:
        if note.drained:
            self._wakeups.know(note.next_due)
        if note.due_at is not None:
            self._wakeups.due_at(note.due_at)

    def _dropped(self, op: _Op, result: Any) -> None:
        if isinstance(op, Claim) and result:
            self._batch.order(Release(result))


def _apply(connection: sa.Connection, ops: Sequence[_Op], holder: str, clock: QueueClock) -> Applied[_Note]:
    """Applies claims last, so that they find rows that other ops give back."""
    answers = [op.lease for op in ops if isinstance(op, _Delivered | _Retry | _Bury)]
    answers += [lease for op in ops if isinstance(op, Extend) for lease in op.leases]
    held = LEASES.held(connection, answers, holder) if answers else set()
    results: list[Any] = [None] * len(ops)
    due: list[float] = []
    for place, op in enumerate(ops):
        if not isinstance(op, Claim):
            results[place] = _change(connection, op, _Holding(held, holder, clock, due))
    drained = False
    for place, op in enumerate(ops):
        if isinstance(op, Claim):
            results[place] = _claimed(connection, op.limit, holder, clock)
            drained = len(results[place]) < op.limit
    next_due = LEASES.next_due(connection) if drained else None
    return Applied(results, _Note(min(due, default=None), drained, next_due))


class _Holding(msgspec.Struct, frozen=True):
    """The leases still held, their holder, and `due`, which collects when changed rows fall due."""

    leases: Held
    holder: str
    clock: QueueClock
    due: list[float]


def _change(connection: sa.Connection, op: _Op, holding: _Holding) -> Any:
    """Deliveries are few and slow compared to invocations, so each op is one statement."""
    clock = holding.clock
    if isinstance(op, _Replay):
        return _replay(connection, op.id, holding)
    if isinstance(op, Extend):
        extended = [lease for lease in op.leases if key_of(lease) in holding.leases]
        if extended:
            LEASES.extend(connection, extended, holding.holder, clock.now() + LEASE_S)
        return [key_of(lease) in holding.leases for lease in op.leases]
    if isinstance(op, Release):
        LEASES.release(connection, op.leases, holding.holder, clock)
        holding.due.append(clock.now())
        return None
    assert isinstance(op, _Delivered | _Retry | _Bury)
    if key_of(op.lease) not in holding.leases:
        return False
    holding.leases.discard(key_of(op.lease))
    fenced = fence(op.lease, holding.holder)
    if isinstance(op, _Retry):
        at = clock.of_wall(max(op.not_before, clock.wall()))
        retried = {"new_due_at": at, "counted": int(op.counted), "new_error": storable(op.error)}
        connection.execute(_RETRY, {**fenced, **retried})
        holding.due.append(at)
        if op.counted:
            _tell(connection, op.lease.invocation_seq, _pending(op))
        return True
    if isinstance(op, _Bury):
        error = storable(op.error)
        connection.execute(_BURY, {**fenced, "new_error": error, "wall": clock.wall()})
        status = f"{DEAD_LETTER}: {error}"
    else:
        connection.execute(_DELETE, fenced)
        status = storable(op.status)
    _tell(connection, op.lease.invocation_seq, status)
    return True


def _pending(failed: _Retry) -> str:
    number, error = failed.lease.attempts + 1, storable(failed.error)
    next_at = datetime.fromtimestamp(failed.not_before, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{PENDING}: attempt {number} failed: {error}; the next is at {next_at}"


def _tell(connection: sa.Connection, invocation_seq: int, status: str) -> None:
    """Writes a record's result to its invocation."""
    connection.execute(_TELL, {"the_seq": invocation_seq, "status": status})


def _claimed(connection: sa.Connection, limit: int, holder: str, clock: QueueClock) -> list[LeasedDelivery]:
    now = clock.now()
    parameters = {"now": now, "until": now + LEASE_S, "limit": limit, "claimant": holder}
    found = connection.execute(_CLAIM, parameters).all()
    metas = dict(_METAS.rows(connection, sorted({row.invocation_seq for row in found})))
    claimed = [_leased_of(row, metas.get(row.invocation_seq)) for row in found]
    claimed.sort(key=lambda lease: lease.seq)
    return claimed


def _replay(connection: sa.Connection, number: int, holding: _Holding) -> bool:
    now = holding.clock.now()
    again = {"due_at": now, "buried_at": None, "attempts": 0, "epoch": columns.epoch + 1}
    statement = sa.update(deliveries).where(dead_letters.BURIED, columns.seq == number).values(**again)
    invocation_seq = connection.execute(statement.returning(columns.invocation_seq)).scalar()
    if invocation_seq is None:
        return False
    _tell(connection, invocation_seq, PENDING)
    holding.due.append(now)
    return True


def _leased_of(row: "sa.Row[Any]", meta: bytes | None) -> LeasedDelivery:
    """`meta` is its invocation's; if that is no longer stored, the chain of functions is unknown."""
    chain = meta_of(meta).chain
    return LeasedDelivery(seq=row.seq, epoch=row.epoch, invocation_seq=row.invocation_seq, chain=chain, **told_by(row))
