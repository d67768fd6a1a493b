"""What can be asked of the queue of invocations, and how all that is asked for at one time is done in one transaction.

Used by `store.queue.queue`. Each kind of change is one statement for all who ask for it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import Leased, NewInvocation, StopResult
from sesame.store.queue import changes
from sesame.store.queue.batching import Applied
from sesame.store.queue.changes import LEASES, Finish, Retry, Start, Stop
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.deliveries import add_records
from sesame.store.queue.leases import LEASE_S, Held, key_of


class Accept(msgspec.Struct, frozen=True):
    news: Sequence[NewInvocation]


class Claim(msgspec.Struct, frozen=True):
    limit: int


class Extend(msgspec.Struct, frozen=True):
    leases: Sequence[Leased]


class Release(msgspec.Struct, frozen=True):
    leases: Sequence[Leased]


class Starts(msgspec.Struct, frozen=True):
    starts: Sequence[Start]


Op = Accept | Claim | Extend | Release | Starts | Finish | Retry | Stop
_Kind = TypeVar("_Kind")


class Note(msgspec.Struct, frozen=True):
    """What the loop has to know of a commit. Times are the queue's.

    `due_at` is when the first of what was changed falls due. `drained`: all that was due is claimed, and `next_due` is
    when the next row falls due. `stopping`: rows whose holders are to end them. `records`: some are to be sent.
    """

    due_at: float | None
    drained: bool
    next_due: float | None
    stopping: list[int]
    records: bool


class _Work:
    """One batch: the ops by kind, each with its place, and their results."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.results: list[Any] = [None] * len(ops)
        self._places: dict[type, list[tuple[int, Any]]] = {}
        for place, op in enumerate(ops):
            self._places.setdefault(type(op), []).append((place, op))

    def of(self, kind: type[_Kind]) -> list[tuple[int, _Kind]]:
        return self._places.get(kind, [])


def apply(connection: sa.Connection, ops: Sequence[Op], holder: str, clock: QueueClock) -> Applied[Note]:
    """Claims come last, so that they find what is accepted beside them."""
    work = _Work(ops)
    due: list[float] = []
    _answer_holders(connection, work, holder, clock, due)
    stopping = []
    for place, asked in work.of(Stop):
        work.results[place], seq = changes.stop(connection, asked, clock)
        if work.results[place] is StopResult.STOPPING:
            stopping.append(seq)
    records = _accept(connection, work, clock, due)
    drained = _claim(connection, work, holder, clock)
    next_due = LEASES.next_due(connection) if drained else None
    clock.save(connection)
    if drained:
        # What is due now was claimed, and `next_due` covers the rest.
        due = []
    return Applied(work.results, Note(min(due, default=None), drained, next_due, stopping, records))


def _answer_holders(connection: sa.Connection, work: _Work, holder: str, clock: QueueClock, due: list[float]) -> None:
    """Finishes, retries, extends and so on: those whose lease was lost are told so and change nothing."""
    finishes, retries, extends = work.of(Finish), work.of(Retry), work.of(Extend)
    leases = [op.lease for _, op in finishes] + [op.lease for _, op in retries]
    leases += [lease for _, op in extends for lease in op.leases]
    held = LEASES.held(connection, leases, holder) if leases else set()
    for place, op in extends:
        work.results[place] = [key_of(lease) in held for lease in op.leases]
    extended = [lease for _, op in extends for lease in op.leases if key_of(lease) in held]
    if extended:
        LEASES.extend(connection, extended, holder, clock.now() + LEASE_S)
    starts = [start for _, op in work.of(Starts) for start in op.starts]
    changes.start(connection, starts, holder)
    retried = _mark(work, retries, held)
    changes.retry(connection, retried, holder, clock)
    due += [clock.of_wall(op.not_before) for op in retried]
    changes.finish(connection, _mark(work, finishes, held), holder)
    released = [lease for _, op in work.of(Release) for lease in op.leases]
    if released:
        LEASES.release(connection, released, holder, clock)
        due.append(clock.now())


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


def _accept(connection: sa.Connection, work: _Work, clock: QueueClock, due: list[float]) -> bool:
    """What callers and finished invocations add; True when there are records to deliver."""
    news, records = changes.consequences(op for place, op in work.of(Finish) if work.results[place])
    own = len(news)
    accepts = work.of(Accept)
    news += [new for _, op in accepts for new in op.news]
    accepted = changes.accept(connection, news, clock)
    due += [clock.of_wall(new.not_before) for new, new_here in zip(news, accepted, strict=True) if new_here]
    for place, op in accepts:
        work.results[place] = accepted[own : own + len(op.news)]
        own += len(op.news)
    add_records(connection, records, clock)
    return bool(records)


def _claim(connection: sa.Connection, work: _Work, holder: str, clock: QueueClock) -> bool:
    """Parts what is claimed among those who ask, the first first; True when more was asked for than is due."""
    claims = work.of(Claim)
    if not claims:
        return False
    limit = sum(op.limit for _, op in claims)
    claimed = changes.claim(connection, limit, holder, clock)
    start = 0
    for place, op in claims:
        work.results[place] = claimed[start : start + op.limit]
        start += op.limit
    return len(claimed) < limit
