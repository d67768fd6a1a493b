"""Reads invocations: a single one, pages of them, functions that have any. Deletes those that ended long ago, and
releases the ids of a deleted function's.

Used by `store.queue.queue`. Every page is read along an index, one range for each state; only a query by a prefix of
the id sorts its result.
"""

import math
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from sesame.model.async_invocation import FINAL, AsyncInvocation, AsyncPage, AsyncQuery, State
from sesame.model.errors import Invalid
from sesame.model.invocation import Target
from sesame.model.natural import natural
from sesame.store.queue.clock import QueueClock
from sesame.store.queue.rows import RECORD_COLUMNS, is_storable, record_of
from sesame.store.sql.queue_schema import STATEFUL, invocations

columns = invocations.c
_FUNCTION = (columns.service, columns.function, columns.qualifier)
_LAST_CHARACTER = chr(0x10FFFF)


def get(connection: sa.Connection, target: Target, invocation_id: str, clock: QueueClock) -> AsyncInvocation | None:
    """A stateful invocation, otherwise another one, for which it may have to read every row."""
    found = get_stateful(connection, target, invocation_id, clock)
    if found is not None or not is_storable(invocation_id):
        return found
    newest = _by_id(target, invocation_id).order_by(columns.seq.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return None if row is None else record_of(row, clock.now() - clock.wall())


def get_stateful(
    connection: sa.Connection, target: Target, invocation_id: str, clock: QueueClock
) -> AsyncInvocation | None:
    """Uses the index of stateful ids."""
    if not is_storable(invocation_id):
        return None
    row = connection.execute(_by_id(target, invocation_id).where(STATEFUL)).one_or_none()
    return None if row is None else record_of(row, clock.now() - clock.wall())


def _by_id(target: Target, invocation_id: str) -> "sa.Select[Any]":
    return sa.select(*RECORD_COLUMNS, columns.payload).where(*_of(target), columns.invocation_id == invocation_id)


def page(connection: sa.Connection, query: AsyncQuery, clock: QueueClock) -> AsyncPage:
    """Uses one statement, so that each invocation is in one state, and appears once."""
    if not is_storable(query.id_prefix):
        return AsyncPage((), None)
    shown = (*RECORD_COLUMNS, columns.payload) if query.with_payload else RECORD_COLUMNS
    found = sa.select(*shown).where(columns.seq.in_(_chosen(query))).order_by(*_order(query))
    rows = connection.execute(found).all()
    ahead = clock.now() - clock.wall()
    items = tuple(record_of(row, ahead) for row in rows[: query.limit])
    return AsyncPage(items, _token(items[-1]) if len(rows) > query.limit else None)


def _chosen(query: AsyncQuery) -> Any:
    """The rows of the page and one more."""
    if query.id_prefix:
        return sa.select(
            sa.select(columns.seq).where(*_conditions(query)).order_by(*_order(query)).limit(query.limit + 1).subquery()
        )
    states = [query.status] if query.status else list(State)
    parts = [
        sa.select(columns.seq, columns.enqueued_at)
        .where(*_conditions(query), columns.state == state.value)
        .order_by(*_order(query))
        .limit(query.limit + 1)
        .subquery()
        for state in states
    ]
    merged = sa.union_all(*(sa.select(part.c.seq, part.c.enqueued_at) for part in parts)).subquery()
    order = (merged.c.enqueued_at, merged.c.seq)
    best = sa.select(merged.c.seq).order_by(*(each.desc() if query.newest_first else each for each in order))
    return sa.select(best.limit(query.limit + 1).subquery())


def _conditions(query: AsyncQuery) -> Iterable["sa.ColumnElement[bool] | sa.TextClause"]:
    if query.target is not None:
        yield from _of(query.target)
    if query.stateful_only:
        yield STATEFUL
    if query.status is not None:
        yield columns.state == query.status.value
    if query.started_from is not None:
        yield columns.enqueued_at >= query.started_from
    if query.started_to is not None:
        yield columns.enqueued_at <= query.started_to
    if query.id_prefix:
        yield columns.invocation_id >= query.id_prefix
        yield columns.invocation_id < query.id_prefix + _LAST_CHARACTER
    if query.start:
        at, seq = _position(query.start)
        place = sa.tuple_(columns.enqueued_at, columns.seq)
        position = sa.tuple_(sa.literal(at, sa.Float), sa.literal(seq, sa.BigInteger))
        yield place < position if query.newest_first else place > position


def _order(query: AsyncQuery) -> tuple[Any, ...]:
    order = (columns.enqueued_at, columns.seq)
    return tuple(column.desc() for column in order) if query.newest_first else order


def _of(target: Target) -> tuple["sa.ColumnElement[bool]", ...]:
    names = (target.service, target.function, target.qualifier)
    return tuple(column == name for column, name in zip(_FUNCTION, names, strict=True))


def _token(last: AsyncInvocation) -> str:
    """Needs no encoding in a query string, where the plus sign of an exponent would mean a space."""
    return f"{float(last.enqueued_at).hex().replace('+', '')}_{last.seq}"


def _position(token: str) -> tuple[float, int]:
    """The last position of the previous page."""
    text, _, number = token.partition("_")
    seq = natural(number)
    try:
        at = float.fromhex(text)
    except (ValueError, OverflowError):
        at = math.nan
    if seq is None or not math.isfinite(at):
        raise Invalid("next_token", "a token of the page before", token)
    return at, seq


def functions(connection: sa.Connection, start: tuple[str, str, str], limit: int) -> list[Target]:
    """Takes one step along the index for each function, however many invocations it has."""
    found: list[Target] = []
    place = sa.tuple_(*_FUNCTION)
    begin = place >= sa.tuple_(*start)
    while len(found) < limit:
        statement = sa.select(*_FUNCTION).where(STATEFUL, begin).order_by(*_FUNCTION).limit(1)
        row = connection.execute(statement).one_or_none()
        if row is None:
            break
        service, function, qualifier = row
        found.append(Target(service, qualifier, function))
        begin = place > sa.tuple_(service, function, qualifier)
    return found


def prune(connection: sa.Connection, before: float, limit: int) -> int:
    """Deletes up to `limit` invocations that ended before that time; returns their number."""
    removed = 0
    for state in FINAL:
        old = (
            sa.select(columns.seq)
            .where(columns.state == state.value, columns.enqueued_at < before, columns.ended_at < before)
            .order_by(columns.enqueued_at, columns.seq)
            .limit(limit - removed)
        )
        removed += connection.execute(sa.delete(invocations).where(columns.seq.in_(old))).rowcount
        if removed >= limit:
            break
    return removed


def newest_id(connection: sa.Connection, service: str, function: str) -> int | None:
    """The number of the function's newest stateful invocation; None if it has none."""
    newest: int | None = connection.scalar(sa.select(sa.func.max(columns.seq)).where(*_stateful_of(service, function)))
    return newest


def release_ids(connection: sa.Connection, service: str, function: str, newest: int, limit: int) -> int:
    """Releases the ids of up to `limit` stateful invocations up to the number `newest`; returns how many."""
    its = sa.select(columns.seq).where(*_stateful_of(service, function), columns.seq <= newest).limit(limit)
    return connection.execute(
        sa.update(invocations).where(columns.seq.in_(its.scalar_subquery())).values(stateful=False)
    ).rowcount


def _stateful_of(service: str, function: str) -> tuple[Any, ...]:
    return STATEFUL, columns.service == service, columns.function == function
