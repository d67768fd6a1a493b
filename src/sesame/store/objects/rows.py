"""Rows of objects and of their buckets, within the caller's transaction.

Used by `store.objects.objects` and `store.objects.multipart`, and by `control.buckets` for the transaction that deletes
a bucket.
"""

import sqlalchemy as sa

from sesame.model import records
from sesame.model.errors import OBJECT, AlreadyExists, NotEmpty, NotFound
from sesame.model.object import StoredObject
from sesame.model.object_event import Cause
from sesame.store.sql.dialect import json_text, upsert
from sesame.store.sql.object_schema import object_of, object_row, objects, uploads
from sesame.store.sql.schema import records as records_table


def find(connection: sa.Connection, bucket: str, key: str) -> StoredObject | None:
    row = connection.execute(_SELECT, {"b": bucket, "k": key.encode()}).one_or_none()
    return None if row is None else object_of(row)


def put_row(connection: sa.Connection, stored: StoredObject, *, overwrite: bool) -> StoredObject | None:
    """Writes the row; returns the object that it replaced. Raises AlreadyExists without `overwrite`."""
    former = find(connection, stored.bucket, stored.key)
    if former is not None and not overwrite:
        raise AlreadyExists(OBJECT, stored.key, (stored.bucket,))
    write_row(connection, stored)
    return former


def write_row(connection: sa.Connection, stored: StoredObject) -> None:
    connection.execute(_UPSERT, object_row(stored))


def require_bucket(connection: sa.Connection, bucket: str, cause: Cause | None) -> None:
    """Raises NotFound, also for a bucket that has another owner since the caller's permissions were checked.

    Call it in the transaction that adds to the bucket, so that no full bucket is deleted.
    """
    owner = owner_of(connection, bucket)
    if not owner or (cause is not None and cause.account_id != owner):
        raise NotFound(records.BUCKET, bucket)


def owner_of(connection: sa.Connection, bucket: str) -> str:
    """The account id of the bucket's owner; "" if there is no such bucket."""
    return connection.execute(_OWNER, {"b": bucket}).scalar_one_or_none() or ""


def require_empty(connection: sa.Connection, bucket: str) -> None:
    """For the transaction that deletes a bucket. Raises NotEmpty."""
    for table, what in ((objects, "objects"), (uploads, "multipart uploads")):
        if connection.execute(sa.select(table.c.bucket).where(table.c.bucket == bucket).limit(1)).first() is not None:
            raise NotEmpty(records.BUCKET, bucket, what)


_SELECT = sa.select(objects).where(objects.c.bucket == sa.bindparam("b"), objects.c.key == sa.bindparam("k"))
_OWNER = sa.select(json_text(records_table.c.document, "accountId")).where(
    records_table.c.kind == records.BUCKET, records_table.c.parent == "", records_table.c.name == sa.bindparam("b")
)
_UPSERT = upsert(objects)
