"""The operations on the queue of invocations, and how concurrent operations are applied in one transaction.

Used by `store.queue.queue`. Each kind of change is one statement for all ops.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import Leased, NewInvocation, StopResult
from sesame.store.queue import changes
from sesame.store.queue.accepting import Acceptor, Handover
from sesame.store.queue.batching import Applied, Doubt
from sesame.store.queue.changes import LEASES, Finish, Retry, Start, Stop
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.deliveries import add_records
from sesame.store.queue.leases import LEASE_S, Claim, Extend, Held, Release, key_of


class Accept(msgspec.Struct, frozen=True):
    news: Sequence[NewInvocation]


class Starts(msgspec.Struct, frozen=True):
    starts: Sequence[Start]


Op = Accept | Claim | Extend | Release | Starts | Finish | Retry | Stop
_Kind = TypeVar("_Kind")


class Note(msgspec.Struct, frozen=True):
    """Information about a commit for the loop. Times are the queue's.

    `due_at` is when the first changed row falls due. `drained`: all due rows are claimed, and `next_due` is
    when the next row falls due. `stopping`: rows that their holders must end. `records`: there are records to send.
    `leased`: accepted invocations that were leased to their runner at once.
    """

    due_at: float | None
    drained: bool
    next_due: float | None
    stopping: list[int]
    records: bool
    leased: list[Leased]


class _Work:
    """One batch: the ops by kind, each with its position, and their results."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.results: list[Any] = [None] * len(ops)
        self._places: dict[type, list[tuple[int, Any]]] = {}
        for place, op in enumerate(ops):
            self._places.setdefault(type(op), []).append((place, op))

    def of(self, kind: type[_Kind]) -> list[tuple[int, _Kind]]:
        return self._places.get(kind, [])


class Owner(msgspec.Struct, frozen=True):
    """The holder of the leases, and what accepts for it."""

    holder: str
    clock: QueueClock
    acceptor: Acceptor
    handover: Handover


def apply(connection: sa.Connection, ops: Sequence[Op], owner: Owner) -> Applied[Note]:
    """Applies claims last, so that they find invocations accepted in the same batch.

    Assumes that all leases are held: raises `Doubt` if a statement changed fewer rows than expected.
    """
    return _apply(connection, ops, owner, None)


def _with_care(connection: sa.Connection, ops: Sequence[Op], owner: Owner) -> Applied[Note]:
    """As `apply`, after at least one lease was lost."""
    leases = [op.lease for op in ops if isinstance(op, Finish | Retry)]
    leases += [lease for op in ops if isinstance(op, Extend) for lease in op.leases]
    return _apply(connection, ops, owner, LEASES.held(connection, leases, owner.holder))


def _apply(connection: sa.Connection, ops: Sequence[Op], owner: Owner, held: Held | None) -> Applied[Note]:
    """`held`: those of the used leases that are not lost; None while all are assumed to be held."""
    work = _Work(ops)
    due: list[float] = []
    if not _answer_holders(connection, work, owner, due, held):
        raise Doubt(lambda another: _with_care(another, ops, owner))
    stopping = []
    for place, asked in work.of(Stop):
        work.results[place], seq = changes.stop(connection, asked, owner.clock)
        if work.results[place] is StopResult.STOPPING:
            stopping.append(seq)
    records, leased = _accept(connection, work, owner, due)
    drained = _claim(connection, work, owner)
    next_due = LEASES.next_due(connection) if drained else None
    owner.clock.save(connection)
    if drained:
        # Due rows have been claimed, and `next_due` covers the others.
        due = []
        owner.handover.caught_up = True
    return Applied(work.results, Note(min(due, default=None), drained, next_due, stopping, records, leased))


def _answer_holders(connection: sa.Connection, work: _Work, owner: Owner, due: list[float], held: Held | None) -> bool:
    """Applies finishes, retries, extends and so on; ops whose lease was lost get that result and change nothing.

    False if a lease that was assumed to be held was lost.
    """
    finishes, retries, extends = work.of(Finish), work.of(Retry), work.of(Extend)
    holder, clock = owner.holder, owner.clock
    if held is None:
        held = {key_of(op.lease) for _, op in finishes} | {key_of(op.lease) for _, op in retries}
        held.update(key_of(lease) for _, op in extends for lease in op.leases)
    for place, op in extends:
        work.results[place] = [key_of(lease) in held for lease in op.leases]
    extended = {key_of(lease): lease for _, op in extends for lease in op.leases if key_of(lease) in held}
    starts = [start for _, op in work.of(Starts) for start in op.starts]
    retried, finished = _mark(work, retries, held), _mark(work, finishes, held)
    changed = 0
    if extended:
        changed += LEASES.extend(connection, list(extended.values()), holder, clock.now() + LEASE_S)
    changes.start(connection, starts, holder)
    changed += changes.retry(connection, retried, holder, clock)
    due += [clock.of_wall(op.not_before) for op in retried]
    changed += changes.finish(connection, finished, holder)
    released = [lease for _, op in work.of(Release) for lease in op.leases]
    if released:
        LEASES.release(connection, released, holder, clock)
        due.append(clock.now())
        owner.handover.caught_up = False
    return changed == len(extended) + len(retried) + len(finished)


_Answer = TypeVar("_Answer", Finish, Retry)


def _mark(work: _Work, answers: Iterable[tuple[int, _Answer]], held: Held) -> list[_Answer]:
    """The ops with a held lease. Of two answers for one lease in a batch, the second comes too late."""
    valid = []
    for place, op in answers:
        work.results[place] = key_of(op.lease) in held
        if work.results[place]:
            held.discard(key_of(op.lease))
            valid.append(op)
    return valid


def _accept(connection: sa.Connection, work: _Work, owner: Owner, due: list[float]) -> tuple[bool, list[Leased]]:
    """Accepts new invocations; returns whether there are records to deliver, and the invocations leased at once."""
    news, records = changes.consequences(op for place, op in work.of(Finish) if work.results[place])
    own = len(news)
    accepts = work.of(Accept)
    news += [new for _, op in accepts for new in op.news]
    acceptance = owner.acceptor.accept(connection, news)
    if acceptance.due_at is not None:
        due.append(acceptance.due_at)
    for place, op in accepts:
        work.results[place] = acceptance.accepted[own : own + len(op.news)]
        own += len(op.news)
    add_records(connection, records, owner.clock)
    return bool(records), acceptance.leased


def _claim(connection: sa.Connection, work: _Work, owner: Owner) -> bool:
    """Distributes claimed rows among the claims, in order; True if more were requested than are due."""
    claims = work.of(Claim)
    if not claims:
        return False
    limit = sum(op.limit for _, op in claims)
    claimed = changes.claim(connection, limit, owner.holder, owner.clock)
    start = 0
    for place, op in claims:
        work.results[place] = claimed[start : start + op.limit]
        start += op.limit
    return len(claimed) < limit
