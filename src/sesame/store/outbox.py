"""The transactional outbox: work that must follow a change, recorded in the same commit as the change.

Written by the stores inside their transactions, read by the consumer of each topic. At least once: a crash between
the work and `remove` repeats the work.
"""

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa

from sesame.store.sql.schema import outbox

# The subject is the name of a blob that no row mentions any more.
BLOB_REMOVED = "blob.removed"
# The subject is the name of a blob that is being uploaded to a remote store and has no row yet.
BLOB_ANNOUNCED = "blob.announced"
# The subject is the SHA-256 of a package that a record no longer names; others may still name it.
PACKAGE_RELEASED = "package.released"
# The subject is the digest of a log segment that is being uploaded to the bucket and has no row yet.
SEGMENT_ANNOUNCED = "segment.announced"
# The subject is the digest of a log segment whose row was deleted.
SEGMENT_REMOVED = "segment.removed"
# The subject is the trigger (`service/function/trigger`), the payload a `model.object_event.ObjectEvent`.
OBJECT_EVENT = "object.event"

SUBJECTS_AT_ONCE = 500


class Entry(msgspec.Struct, frozen=True):
    """`id` increases in the order of commit. `created_at` in Unix seconds."""

    id: int
    topic: str
    subject: str
    payload: bytes
    created_at: float


def add(connection: sa.Connection, topic: str, subjects: Iterable[str], at: float, payload: bytes = b"") -> None:
    """Adds one entry for each subject, in the transaction of `connection`."""
    rows = [{"topic": topic, "subject": subject, "payload": payload, "created_at": at} for subject in subjects]
    if rows:
        connection.execute(sa.insert(outbox), rows)


def add_each(connection: sa.Connection, topic: str, entries: Iterable[tuple[str, bytes]], at: float) -> None:
    """Adds one entry for each subject with its payload, in the transaction of `connection`."""
    rows = [{"topic": topic, "subject": name, "payload": payload, "created_at": at} for name, payload in entries]
    if rows:
        connection.execute(sa.insert(outbox), rows)


def pending(connection: sa.Connection, topic: str, limit: int | None = None) -> list[Entry]:
    """Unfinished entries in order of commit: all of them, or the oldest `limit`."""
    # A limited query reads in the order of ids. With the index of topics, it would read and sort all entries.
    of_topic = outbox.c.topic if limit is None else sa.func.coalesce(outbox.c.topic, "")
    chosen = sa.select(outbox).where(of_topic == topic).order_by(outbox.c.id).limit(limit)
    return [Entry(*row) for row in connection.execute(chosen)]


def remove_each(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Removes entries whose work has been done."""
    ids = [entry.id for entry in entries]
    for start in range(0, len(ids), SUBJECTS_AT_ONCE):
        connection.execute(sa.delete(outbox).where(outbox.c.id.in_(ids[start : start + SUBJECTS_AT_ONCE])))


def remove(connection: sa.Connection, topic: str, subjects: Sequence[str], up_to: int | None = None) -> int:
    """Removes entries about these subjects, up to the last id that was seen, because their work has been done.

    Returns their number.
    """
    found = 0
    for start in range(0, len(subjects), SUBJECTS_AT_ONCE):
        these = outbox.c.subject.in_(subjects[start : start + SUBJECTS_AT_ONCE])
        statement = sa.delete(outbox).where(outbox.c.topic == topic, these)
        found += connection.execute(statement if up_to is None else statement.where(outbox.c.id <= up_to)).rowcount
    return found
