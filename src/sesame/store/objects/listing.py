"""Lists a bucket's objects in order of their keys' bytes, folding keys that share a prefix up to a delimiter.

Called by `store.objects.objects` on a reader's thread. Keys behind a folded prefix are skipped, not read.
"""

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from sesame.model.object import StoredObject
from sesame.store.sql.object_schema import object_of, objects

_ROWS_AT_ONCE, _ROWS_AT_ONCE_LEAST = 256, 4


class ListQuery(msgspec.Struct, frozen=True):
    """At most `limit` entries, keys and folded prefixes, that begin with `prefix` and are greater than `after`."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    limit: int = 100


class ObjectPage(msgspec.Struct, frozen=True):
    """`next_after` continues the listing; None when it is complete."""

    objects: tuple[StoredObject, ...]
    prefixes: tuple[str, ...]
    next_after: str | None


def list_objects(connection: sa.Connection, query: ListQuery) -> ObjectPage:
    found: list[StoredObject] = []
    prefixes: list[str] = []
    last = ""
    for entry in _entries(connection, query):
        if len(found) + len(prefixes) == query.limit:
            return ObjectPage(tuple(found), tuple(prefixes), last)
        if isinstance(entry, str):
            prefixes.append(entry)
            last = entry
        else:
            found.append(entry)
            last = entry.key
    return ObjectPage(tuple(found), tuple(prefixes), None)


def _entries(connection: sa.Connection, query: ListQuery) -> Iterator[StoredObject | str]:
    prefix, delimiter, after = query.prefix.encode(), query.delimiter.encode(), query.after.encode()
    end = successor(prefix)
    # A caller that continues after a folded prefix, or after a key inside it, has received the prefix already.
    folded = _fold(after, prefix, delimiter)
    position = successor(folded) if folded else after + b"\x00" if after else b""
    position = None if position is None else max(position, prefix)
    wanted = _ROWS_AT_ONCE
    while position is not None:
        rows = connection.execute(_page(query.bucket, position, end, wanted)).all()
        position = None if len(rows) < wanted else rows[-1].key + b"\x00"
        inside, entries = b"", 0
        for row in rows:
            if inside and row.key.startswith(inside):
                continue
            inside = _fold(row.key, prefix, delimiter)
            entries += 1
            if not inside:
                yield object_of(row)
                continue
            yield inside.decode()
            if position is not None and rows[-1].key.startswith(inside):
                position = successor(inside)
                break
        # If folded prefixes hide many rows, read only a few rows before each jump.
        wanted = max(_ROWS_AT_ONCE_LEAST, min(_ROWS_AT_ONCE, 4 * entries))


def _page(bucket: str, start: bytes, end: bytes | None, rows: int) -> "sa.Select[tuple[object, ...]]":
    found = sa.select(objects).where(objects.c.bucket == bucket, objects.c.key >= start)
    if end is not None:
        found = found.where(objects.c.key < end)
    return found.order_by(objects.c.key).limit(rows)


def _fold(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """The key up to and including the first delimiter after the prefix; empty if there is none."""
    if not delimiter or not key.startswith(prefix):
        return b""
    at = key.find(delimiter, len(prefix))
    return b"" if at < 0 else key[: at + len(delimiter)]


def successor(prefix: bytes) -> bytes | None:
    """The smallest key that is greater than all keys with this prefix; None if there is no such key."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
