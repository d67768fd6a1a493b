"""What can be asked of the queue of invocations, and how all that is asked for at one time is done in one transaction.

Used by `store.queue.queue`. Each kind of change is one statement for all who ask for it.
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
    """What the loop has to know of a commit. Times are the queue's.

    `due_at` is when the first of what was changed falls due. `drained`: all that was due is claimed, and `next_due` is
    when the next row falls due. `stopping`: rows whose holders are to end them. `records`: some are to be sent.
    `leased`: what was accepted and belongs to its runner at once.
    """

    due_at: float | None
    drained: bool
    next_due: float | None
    stopping: list[int]
    records: bool
    leased: list[Leased]


class _Work:
    """One batch: the ops by kind, each with its place, and their results."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.results: list[Any] = [None] * len(ops)
        self._places: dict[type, list[tuple[int, Any]]] = {}
        for place, op in enumerate(ops):
            self._places.setdefault(type(op), []).append((place, op))

    def of(self, kind: type[_Kind]) -> list[tuple[int, _Kind]]:
        return self._places.get(kind, [])


class Owner(msgspec.Struct, frozen=True):
    """Whose leases these are, and what accepts for it."""

    holder: str
    clock: QueueClock
    acceptor: Acceptor
    handover: Handover


def apply(connection: sa.Connection, ops: Sequence[Op], owner: Owner) -> Applied[Note]:
    """Claims come last, so that they find what is accepted beside them.

    Leases are not looked up before they are used: raises `Doubt` when a statement changed fewer rows than it was to.
    """
    return _apply(connection, ops, owner, None)


def _with_care(connection: sa.Connection, ops: Sequence[Op], owner: Owner) -> Applied[Note]:
    """As `apply`, where one lease at least was lost."""
    leases = [op.lease for op in ops if isinstance(op, Finish | Retry)]
    leases += [lease for op in ops if isinstance(op, Extend) for lease in op.leases]
    return _apply(connection, ops, owner, LEASES.held(connection, leases, owner.holder))


def _apply(connection: sa.Connection, ops: Sequence[Op], owner: Owner, held: Held | None) -> Applied[Note]:
    """`held`: the leases that are not lost, of those that are used; None while all are taken to be held."""
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
        # What is due now was claimed, and `next_due` covers the rest.
        due = []
        owner.handover.caught_up = True
    return Applied(work.results, Note(min(due, default=None), drained, next_due, stopping, records, leased))


def _answer_holders(connection: sa.Connection, work: _Work, owner: Owner, due: list[float], held: Held | None) -> bool:
    """Finishes, retries, extends and so on: those whose lease was lost are told so and change nothing.

    False when a lease was lost that was taken to be held.
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
    """Those that are under a lease. The second answer to one lease comes too late, also within a batch."""
    valid = []
    for place, op in answers:
        work.results[place] = key_of(op.lease) in held
        if work.results[place]:
            held.discard(key_of(op.lease))
            valid.append(op)
    return valid


def _accept(connection: sa.Connection, work: _Work, owner: Owner, due: list[float]) -> tuple[bool, list[Leased]]:
    """What callers and finished invocations add; whether there are records to deliver, and what is leased at once."""
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
    """Parts what is claimed among those who ask, the first first; True when more was asked for than is due."""
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
