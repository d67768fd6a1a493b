"""Records that no attempt could deliver: lists and reads them, and deletes them once they are old or too many.

Used by `store.queue.deliveries`, which creates them and sends them again.
"""

from typing import Any

import sqlalchemy as sa

from sesame.model.async_invocation import DeadLetter, DeadLetterPage
from sesame.model.errors import Invalid
from sesame.model.invocation import Target
from sesame.model.natural import natural
from sesame.store.sql.queue_schema import deliveries

columns = deliveries.c
BURIED = columns.buried_at.is_not(None)


def page(connection: sa.Connection, start: str, limit: int) -> DeadLetterPage:
    """As `DeliveryQueue.dead_letters`."""
    before = natural(start)
    if start and before is None:
        raise Invalid("next_token", "a token of the page before", start)
    chosen = sa.select(deliveries).where(BURIED).order_by(columns.seq.desc()).limit(limit + 1)
    if before is not None:
        chosen = chosen.where(columns.seq < before)
    rows = connection.execute(chosen).all()
    items = tuple(_dead_letter(row) for row in rows[:limit])
    return DeadLetterPage(items, str(items[-1].id) if len(rows) > limit else None)


def find(connection: sa.Connection, number: int) -> DeadLetter | None:
    row = connection.execute(sa.select(deliveries).where(BURIED, columns.seq == number)).one_or_none()
    return None if row is None else _dead_letter(row)


def prune(connection: sa.Connection, before: float, keep: int, limit: int) -> int:
    """Deletes up to `limit` that were buried before that time or are not among the newest `keep`."""
    surplus = sa.select(columns.seq).where(BURIED).order_by(columns.seq.desc()).offset(keep).limit(1)
    newest_surplus = connection.execute(surplus).scalar()
    condition: sa.ColumnElement[bool] = columns.buried_at < before
    if newest_surplus is not None:
        condition = condition | (columns.seq <= newest_surplus)
    chosen = sa.select(columns.seq).where(BURIED, condition).order_by(columns.seq).limit(limit)
    return connection.execute(sa.delete(deliveries).where(columns.seq.in_(chosen))).rowcount


def _dead_letter(row: "sa.Row[Any]") -> DeadLetter:
    return DeadLetter(id=row.seq, error=row.error, buried_at=row.buried_at, **told_by(row))


def told_by(row: "sa.Row[Any]") -> dict[str, Any]:
    """The record and its invocation, as shown by a dead letter and a lease."""
    return {
        "destination": row.destination,
        "record": row.record,
        "condition": row.condition,
        "target": Target(row.service, row.qualifier, row.function),
        "invocation_id": row.invocation_id,
        "request_id": row.request_id,
        "attempts": row.attempts,
        "created_at": row.created_at,
    }
