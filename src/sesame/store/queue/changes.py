"""The queue's changes to rows of invocations: claim, record a start or an end, retry, stop.

Used by `store.queue.queue` on the writer's thread, for many invocations at once. A change of a leased row checks its
epoch in the same statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sesame.model.async_invocation import (
    LEASED,
    Ending,
    Leased,
    NewDelivery,
    NewInvocation,
    State,
    StopResult,
)
from sesame.model.invocation import Target
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.events import appended, step
from sesame.store.queue.leases import LEASE_S, Leases, fence
from sesame.store.queue.rows import LEASED_COLUMNS, leased_of, storable
from sesame.store.sql.dialect import TEXT
from sesame.store.sql.prepared import Prepared, PreparedRows
from sesame.store.sql.queue_schema import STATEFUL, invocations

columns = invocations.c
_KEY = (columns.service, columns.function, columns.qualifier, columns.invocation_id)


def _given_or_kept(column: str, kind: Any) -> "sa.ColumnElement[Any]":
    """The parameter `:new_…`, or the current value if the parameter is None."""
    return sa.func.coalesce(sa.bindparam(f"new_{column}", type_=kind), columns[column])


_IS_STOPPING = columns.state == State.STOPPING.value

LEASES = Leases(
    invocations,
    columns.state.in_([state.value for state in sorted(LEASED)]),
    # An invocation that is being stopped, and whose holder is gone, has stopped.
    back={
        "state": sa.case(
            (_IS_STOPPING, State.STOPPED.value),
            (columns.attempts + columns.throttles > 0, State.RETRYING.value),
            else_=State.ENQUEUED.value,
        ),
        "due_at": sa.case((_IS_STOPPING, None), else_=sa.bindparam("now", type_=sa.Float)),
        "ended_at": sa.case((_IS_STOPPING, sa.bindparam("wall", type_=sa.Float)), else_=None),
    },
)

_CLAIM = Prepared(
    LEASES.claiming(
        {
            "state": sa.case((_IS_STOPPING, State.STOPPED.value), else_=State.DEQUEUED.value),
            "holder": sa.case((_IS_STOPPING, ""), else_=sa.bindparam("claimant", type_=TEXT)),
            "due_at": sa.case((_IS_STOPPING, None), else_=sa.bindparam("until", type_=sa.Float)),
            "ended_at": sa.case((_IS_STOPPING, sa.bindparam("wall", type_=sa.Float)), else_=None),
            "events": appended(
                sa.case((_IS_STOPPING, sa.bindparam("stopped", type_=TEXT)), else_=sa.bindparam("dequeued", type_=TEXT))
            ),
        },
        LEASED_COLUMNS,
    )
)
_START = PreparedRows(
    LEASES.fenced()
    .where(columns.state == State.DEQUEUED.value)
    .values(
        state=State.RUNNING.value,
        started_at=sa.bindparam("new_started_at", type_=sa.Float),
        instance_id=sa.bindparam("new_instance_id", type_=TEXT),
        # Cleared because it described the previous attempt, in another instance.
        duration_ms=0.0,
        events=appended(sa.bindparam("steps", type_=TEXT)),
    )
)
_FINISH = PreparedRows(
    LEASES.fenced().values(
        state=sa.bindparam("new_state", type_=TEXT),
        due_at=None,
        holder="",
        started_at=_given_or_kept("started_at", sa.Float),
        ended_at=sa.bindparam("new_ended_at", type_=sa.Float),
        error=sa.bindparam("new_error", type_=TEXT),
        return_payload=sa.bindparam("new_return_payload", type_=sa.LargeBinary),
        return_bytes=sa.bindparam("new_return_bytes", type_=sa.BigInteger),
        instance_id=_given_or_kept("instance_id", TEXT),
        duration_ms=_given_or_kept("duration_ms", sa.Float),
        destination_status=sa.bindparam("new_destination_status", type_=TEXT),
        # Appended even if the column is full: the last step is always recorded.
        events=columns.events.concat(sa.bindparam("steps", type_=TEXT)),
    )
)
_RETRY = PreparedRows(
    LEASES.fenced().values(
        state=sa.case((_IS_STOPPING, State.STOPPED.value), else_=State.RETRYING.value),
        due_at=sa.case((_IS_STOPPING, None), else_=sa.bindparam("new_due_at", type_=sa.Float)),
        ended_at=sa.case((_IS_STOPPING, sa.bindparam("wall", type_=sa.Float)), else_=None),
        started_at=_given_or_kept("started_at", sa.Float),
        instance_id=_given_or_kept("instance_id", TEXT),
        duration_ms=_given_or_kept("duration_ms", sa.Float),
        holder="",
        attempts=columns.attempts + sa.bindparam("counted", type_=sa.Integer),
        throttles=columns.throttles + sa.bindparam("throttled", type_=sa.Integer),
        error=sa.bindparam("new_error", type_=TEXT),
        events=appended(
            sa.case((_IS_STOPPING, sa.bindparam("stopped", type_=TEXT)), else_=sa.bindparam("steps", type_=TEXT))
        ),
    )
)
_STOPPABLE = sa.select(columns.seq, columns.state, columns.holder).with_for_update()
_STOPPABLE_BY_ID = _STOPPABLE.where(STATEFUL, *(column == sa.bindparam(f"the_{column.name}") for column in _KEY))
_STOPPABLE_BY_SEQ = _STOPPABLE.where(columns.seq == sa.bindparam("the_seq"))
_STOP = (
    sa.update(invocations)
    .where(columns.seq == sa.bindparam("the_seq"))
    .values(
        state=State.STOPPED.value,
        due_at=None,
        ended_at=sa.bindparam("wall", type_=sa.Float),
        events=appended(sa.bindparam("steps", type_=TEXT)),
    )
)
_TELL_TO_STOP = (
    sa.update(invocations)
    .where(columns.seq == sa.bindparam("the_seq"))
    .values(state=State.STOPPING.value, events=appended(sa.bindparam("steps", type_=TEXT)))
)


class Finish(msgspec.Struct, frozen=True):
    """`started_at` is when the function was started, if that is not recorded yet."""

    lease: Leased
    ending: Ending
    then: Sequence[NewInvocation | NewDelivery]
    started_at: float | None


class Retry(msgspec.Struct, frozen=True):
    """`not_before` by the wall clock. `counted`: a function error, as opposed to a lack of capacity.

    `start` is set if it is not recorded yet; `duration_ms` is None if the function was not called.
    """

    lease: Leased
    not_before: float
    counted: bool
    error: str
    duration_ms: float | None
    start: "Start | None"


class Start(msgspec.Struct, frozen=True):
    """The function was called in an instance."""

    lease: Leased
    at: float
    instance_id: str


class Stop(msgspec.Struct, frozen=True):
    """`seq` is the row's number if known: only a stateful invocation is found by its id."""

    target: Target
    invocation_id: str
    seq: int | None = None


def claim(connection: sa.Connection, limit: int, holder: str, clock: QueueClock) -> list[Leased]:
    """Claims up to `limit` due invocations, in the order of acceptance."""
    now, wall = clock.now(), clock.wall()
    found = _CLAIM.rows(
        connection,
        {
            "now": now,
            "until": now + LEASE_S,
            "limit": limit,
            "claimant": holder,
            "wall": wall,
            "dequeued": step(State.DEQUEUED, wall),
            "stopped": step(State.STOPPED, wall),
        },
    )
    claimed = [leased_of(row, now - wall) for row in found if row[-1] == State.DEQUEUED.value]
    claimed.sort(key=lambda lease: lease.seq)
    return claimed


def start(connection: sa.Connection, starts: Sequence[Start], holder: str) -> None:
    rows = [
        {
            **fence(each.lease, holder),
            "new_started_at": each.at,
            "new_instance_id": each.instance_id,
            "steps": step(State.RUNNING, each.at),
        }
        for each in starts
    ]
    _START.run_for_each(connection, rows)


def finish(connection: sa.Connection, finishes: Sequence[Finish], holder: str) -> int:
    """Returns how many ended: fewer than `finishes` if a lease was lost."""
    return _FINISH.run_for_each(connection, [_finished(each, holder) for each in finishes])


def _finished(each: Finish, holder: str) -> dict[str, Any]:
    ending = each.ending
    error = storable(ending.error)
    return {
        **fence(each.lease, holder),
        # Cheaper than `.value`, which CPython 3.11 looks up in Python.
        "new_state": str(ending.state),
        "new_started_at": ending.started_at if ending.started_at is not None else each.started_at,
        "new_ended_at": ending.ended_at,
        "new_error": error,
        "new_return_payload": ending.return_payload or None,
        "new_return_bytes": ending.return_bytes,
        "new_instance_id": ending.instance_id or None,
        "new_duration_ms": None if ending.started_at is None else ending.duration_ms,
        "new_destination_status": storable(ending.destination_status),
        "steps": _running(each.started_at) + step(ending.state, ending.ended_at, error),
    }


def retry(connection: sa.Connection, retries: Sequence[Retry], holder: str, clock: QueueClock) -> int:
    """Returns how many were given back: fewer than `retries` if a lease was lost. Those being stopped have stopped."""
    return _RETRY.run_for_each(connection, [_retried(each, holder, clock) for each in retries])


def _retried(each: Retry, holder: str, clock: QueueClock) -> dict[str, Any]:
    wall = clock.wall()
    error, start = storable(each.error), each.start
    started_at = None if start is None else start.at
    return {
        **fence(each.lease, holder),
        "new_due_at": clock.of_wall(max(each.not_before, wall)),
        "wall": wall,
        "new_started_at": started_at,
        "new_instance_id": None if start is None else start.instance_id,
        "new_duration_ms": each.duration_ms,
        "counted": int(each.counted),
        "throttled": int(not each.counted),
        "new_error": error,
        "steps": _running(started_at) + step(State.RETRYING, wall, error),
        "stopped": _running(started_at) + step(State.STOPPED, wall),
    }


def _running(at: float | None) -> str:
    return "" if at is None else step(State.RUNNING, at)


def stop(connection: sa.Connection, asked: Stop, clock: QueueClock) -> tuple[StopResult, int]:
    """The result, and the number of the row."""
    found = _stoppable(connection, asked)
    if found is None:
        return StopResult.NOT_FOUND, 0
    seq, state, holder = found
    wall = clock.wall()
    if State(state) not in LEASED | {State.ENQUEUED, State.RETRYING}:
        return StopResult.FINISHED, seq
    if not holder:
        connection.execute(_STOP, {"the_seq": seq, "wall": wall, "steps": step(State.STOPPED, wall)})
        return StopResult.STOPPED, seq
    if state != State.STOPPING.value:
        connection.execute(_TELL_TO_STOP, {"the_seq": seq, "steps": step(State.STOPPING, wall)})
    return StopResult.STOPPING, seq


def _stoppable(connection: sa.Connection, asked: Stop) -> Any:
    if asked.seq is not None:
        return connection.execute(_STOPPABLE_BY_SEQ, {"the_seq": asked.seq}).one_or_none()
    target = asked.target
    return connection.execute(
        _STOPPABLE_BY_ID,
        {
            "the_service": target.service,
            "the_function": target.function,
            "the_qualifier": target.qualifier,
            "the_invocation_id": asked.invocation_id,
        },
    ).one_or_none()


def consequences(finishes: Iterable[Finish]) -> tuple[list[NewInvocation], list[tuple[Leased, NewDelivery]]]:
    """Invocations of destinations, and records for other destinations, each with the lease that caused it."""
    news: list[NewInvocation] = []
    records: list[tuple[Leased, NewDelivery]] = []
    for each in finishes:
        for then in each.then:
            if isinstance(then, NewInvocation):
                news.append(then)
            else:
                records.append((each.lease, then))
    return news, records
