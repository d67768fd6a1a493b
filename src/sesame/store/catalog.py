"""The catalog: typed documents by kind, parent and name, read from memory and changed one transaction at a time.

Edited by `control` and `identity`, read by every package above; opened by `app`.
Memory shows a change only after its commit. Another process can follow through `changes_since`.
"""

import secrets
from bisect import bisect_left, insort
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.kinds import KINDS
from sesame.model.records import Record
from sesame.store.documents import Codec, decode_records
from sesame.store.sql.database import Database
from sesame.store.sql.dialect import upsert
from sesame.store.sql.schema import CATALOG, CATALOG_PRUNED, counters, records, tombstones

T = TypeVar("T")

# Two changes within one tick of the clock still differ by this much.
TICK_S = 0.001
CHANGES_PER_PAGE = 1000
# Maximum number of changes read after a lost connection; beyond it every record is read again.
MISSED_MAX = 100_000
# POLICY: a follower that was away for longer loads everything again.
TOMBSTONE_AGE_S = 7 * 86400.0

log = structlog.get_logger(__name__)


class Change(msgspec.Struct, frozen=True):
    """One record written or, with `record` None, deleted. `revision` is higher than that of every change before."""

    kind: str
    parent: str
    name: str
    record: Record | None
    revision: int = 0


class Changes(msgspec.Struct, frozen=True):
    """Changes in order of revision; a record that changed several times appears once, in its current state.

    Continue from `revision`. `more` says that the page ended before the last change.
    """

    changes: tuple[Change, ...]
    revision: int
    more: bool


# Called inside the transaction that replaces or deletes a record, with the former record and the new document or None.
OnReplace = Callable[["Transaction", Record, Any], None]


class Catalog:
    """All reads are synchronous, from memory, and belong to the event loop's thread."""

    def __init__(
        self, database: Database, kinds: Mapping[str, type] = KINDS, *, clock: Callable[[], float] = SYSTEM_CLOCKS.wall
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._codec = Codec(kinds)
        self._clock = clock
        self._folders: dict[tuple[str, str], _Folder] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._on_replace: dict[str, list[OnReplace]] = {}
        self._revision = 0
        # Awaited after each edit that changed something, before its caller gets the result.
        self.confirm: Callable[[int], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Loads every record. Raises `ConfigurationError` on a document that this code does not know."""

        def load(connection: sa.Connection) -> tuple[list[Record], int]:
            return list(decode_records(connection, self._kinds)), _counter(connection, CATALOG)

        found, self._revision = await self._database.load(load)
        for record in found:
            self._folder(record.kind, record.parent).put(record)
        self._database.on_return(self._missed, self._catch_up)

    @property
    def revision(self) -> int:
        """The revision of the newest change visible in memory."""
        return self._revision

    async def changes_since(self, revision: int, limit: int = CHANGES_PER_PAGE) -> Changes | None:
        """As the function `changes_since`, read from this catalog's database."""
        return await self._database.read(lambda connection: changes_since(connection, revision, limit, self._kinds))

    async def prune(self) -> int:
        """Forgets deletions older than TOMBSTONE_AGE_S and returns their number. Followers further behind load anew."""
        before = self._clock() - TOMBSTONE_AGE_S
        return await self._database.write(lambda connection: _prune(connection, before))

    def get(self, kind: str, parent: str, name: str) -> Record | None:
        folder = self._folders.get((kind, parent))
        return None if folder is None else folder.records.get(name)

    def page(
        self, kind: str, parent: str, *, prefix: str = "", start: str = "", limit: int
    ) -> tuple[list[Record], str | None]:
        """At most `limit` records in order of name, from `start` (inclusive) on, and the name of the next, if any."""
        folder = self._folders.get((kind, parent))
        return ([], None) if folder is None else folder.page(prefix, start, limit)

    def count(self, kind: str, parent: str) -> int:
        folder = self._folders.get((kind, parent))
        return 0 if folder is None else len(folder.names)

    def everything(self) -> list[Record]:
        """A snapshot of every record."""
        return [record for folder in self._folders.values() for record in folder.records.values()]

    def children(self, kind: str, parent: str) -> Iterator[Record]:
        """A snapshot of the folder's records, in order of name."""
        folder = self._folders.get((kind, parent))
        return iter(()) if folder is None else iter([folder.records[name] for name in folder.names])

    def of_kind(self, kind: str) -> Iterator[Record]:
        """A snapshot of the records of a kind under any parent, in order of parent and name."""
        parents = sorted(parent for found, parent in self._folders if found == kind)
        return iter([record for parent in parents for record in self.children(kind, parent)])

    def on_change(self, callback: Callable[[Change], None]) -> None:
        """Calls `callback` on the event loop for each change, once all changes of its transaction are in memory."""
        self._listeners.append(callback)

    def on_replace(self, kinds: Iterable[str], callback: OnReplace) -> None:
        """Calls `callback` in transactions that replace or delete a record of these kinds. Set up before `edit`."""
        for kind in kinds:
            self._on_replace.setdefault(kind, []).append(callback)

    async def edit(self, fn: Callable[["Transaction"], T]) -> T:
        """Runs `fn` alone on the writer's thread; on return its changes are on the disk and in memory.

        If `fn` raises, its changes are rolled back and the exception is raised here.
        """

        def run(connection: sa.Connection) -> tuple[T, list[Change]]:
            transaction = Transaction(connection, self._codec, self._clock, self._on_replace)
            return fn(transaction), transaction.changes

        def apply(done: tuple[T, list[Change]]) -> None:
            self.apply(done[1])

        result, changes = await self._database.write(run, on_commit=apply)
        if changes and self.confirm is not None:
            await self.confirm(changes[-1].revision)
        return result

    def _missed(self, connection: sa.Connection) -> "_Missed":
        """Runs on the writer's thread after a lost connection: reads changes that memory may lack.

        These are commits whose answer was lost, and changes by another process. Returns every record if the database
        is older than memory, for example a standby that took over.
        """
        revision = _counter(connection, CATALOG)
        since = (
            changes_since(connection, self._revision, MISSED_MAX, self._kinds) if self._revision <= revision else None
        )
        if since is not None and not since.more:
            return _Missed(list(since.changes), revision, everything=False)
        stored = [self._codec.record(row) for row in connection.execute(sa.select(records))]
        changes = [Change(record.kind, record.parent, record.name, record) for record in stored]
        return _Missed(changes, revision, everything=True)

    def _catch_up(self, missed: "_Missed") -> None:
        deleted: list[Change] = []
        if missed.everything:
            present = {(change.kind, change.parent, change.name) for change in missed.changes}
            known = [(*folder, name) for folder, content in self._folders.items() for name in content.names]
            deleted = [Change(*key, None) for key in known if key not in present]
        self.apply([*deleted, *missed.changes])
        self._revision = missed.revision

    def apply(self, changes: list[Change]) -> None:
        """Makes memory show changes, in order, that are already in the database."""
        for change in changes:
            if change.record is None:
                self._remove(change)
            else:
                self._folder(change.kind, change.parent).put(change.record)
        if changes:
            self._revision = changes[-1].revision
        for change in changes:
            for listener in self._listeners:
                try:
                    listener(change)
                except Exception:
                    # The change is committed, so its caller must get the result.
                    log.exception("a listener of the catalog failed", kind=change.kind, name=change.name)

    def _folder(self, kind: str, parent: str) -> "_Folder":
        return self._folders.setdefault((kind, parent), _Folder())

    def _remove(self, change: Change) -> None:
        folder = self._folders.get((change.kind, change.parent))
        if folder is None or change.name not in folder.records:
            # Reported a second time after a lost connection.
            return
        folder.remove(change.name)
        if not folder.names:
            del self._folders[change.kind, change.parent]


class Transaction:
    """The catalog as one edit sees it: everything committed before, and its own changes.

    Use `connection` to write rows of other tables in the same transaction.
    """

    def __init__(
        self,
        connection: sa.Connection,
        codec: "Codec",
        clock: Callable[[], float],
        on_replace: Mapping[str, list[OnReplace]],
    ) -> None:
        self.connection = connection
        self._codec = codec
        self._clock = clock
        self._on_replace = on_replace
        self.changes: list[Change] = []

    def get(self, kind: str, parent: str, name: str) -> Record | None:
        row = self.connection.execute(_SELECT_ONE, {"k": kind, "p": parent, "n": name}).one_or_none()
        return None if row is None else self._codec.record(row)

    def put(self, kind: str, parent: str, name: str, document: Any) -> Record:
        """Creates or replaces a record. Keeps the time of creation; etag and time of modification are new."""
        self._before_replacing(kind, parent, name, document)
        where = {"k": kind, "p": parent, "n": name}
        former = self.connection.execute(_SELECT_TIMES, where).one_or_none()
        now = self._clock()
        modified_at = now if former is None else max(now, former.modified_at + TICK_S)
        record = Record(
            kind=kind,
            parent=parent,
            name=name,
            document=document,
            etag=secrets.token_hex(16),
            created_at=now if former is None else former.created_at,
            modified_at=modified_at,
        )
        row = {**msgspec.structs.asdict(record), "document": self._codec.encode(record), "revision": self._next()}
        self.connection.execute(_UPSERT, row)
        if former is None:
            self.connection.execute(_UNBURY, where)
        self.changes.append(Change(kind, parent, name, record, row["revision"]))
        return record

    def delete(self, kind: str, parent: str, name: str) -> None:
        """Deletes the record; does nothing if it does not exist."""
        self._before_replacing(kind, parent, name, None)
        if self.connection.execute(_DELETE, {"k": kind, "p": parent, "n": name}).rowcount:
            revision = self._next()
            tombstone = {"kind": kind, "parent": parent, "name": name, "revision": revision}
            self.connection.execute(_BURY, {**tombstone, "deleted_at": self._clock()})
            self.changes.append(Change(kind, parent, name, None, revision))

    def children(self, kind: str, parent: str) -> list[Record]:
        """Every record of the folder in order of name."""
        rows = self.connection.execute(_SELECT_FOLDER, {"k": kind, "p": parent})
        return [self._codec.record(row) for row in rows]

    def of_kind(self, kind: str) -> list[Record]:
        """Every record of the kind, whatever its parent. Reads them all: for rare edits only."""
        return [self._codec.record(row) for row in self.connection.execute(_SELECT_KIND, {"k": kind})]

    def count(self, kind: str, parent: str) -> int:
        return int(self.connection.execute(_COUNT, {"k": kind, "p": parent}).scalar_one())

    def _next(self) -> int:
        """The revision of the next change. The counter's row is locked, so changes commit in the order of revisions."""
        return int(self.connection.execute(_NEXT_REVISION).scalar_one())

    def _before_replacing(self, kind: str, parent: str, name: str, document: Any) -> None:
        callbacks = self._on_replace.get(kind)
        former = self.get(kind, parent, name) if callbacks else None
        if callbacks and former is not None:
            for callback in callbacks:
                callback(self, former, document)


def changes_since(
    connection: sa.Connection, revision: int, limit: int = CHANGES_PER_PAGE, kinds: Mapping[str, type] = KINDS
) -> Changes | None:
    """At most `limit` changes after `revision`, in one read transaction of any process (`store.sql.sqlite`).

    None if later deletions have been forgotten: the follower must load every record again.
    """
    if revision < _counter(connection, CATALOG_PRUNED):
        return None
    codec = Codec(kinds)
    written = sa.select(records).where(records.c.revision > revision).order_by(records.c.revision).limit(limit + 1)
    deleted = sa.select(tombstones).where(tombstones.c.revision > revision)
    deleted = deleted.order_by(tombstones.c.revision).limit(limit + 1)
    found = [
        Change(row.kind, row.parent, row.name, codec.record(row), row.revision) for row in connection.execute(written)
    ]
    found += [Change(row.kind, row.parent, row.name, None, row.revision) for row in connection.execute(deleted)]
    found.sort(key=lambda change: change.revision)
    if len(found) > limit:
        return Changes(tuple(found[:limit]), found[limit - 1].revision, more=True)
    return Changes(tuple(found), _counter(connection, CATALOG), more=False)


def _prune(connection: sa.Connection, before: float) -> int:
    old = tombstones.c.deleted_at < before
    newest = connection.execute(sa.select(sa.func.max(tombstones.c.revision)).where(old)).scalar_one()
    if newest is None:
        return 0
    # Deletes by revision: a later tombstone may have an earlier time if the clock was set back.
    gone = connection.execute(sa.delete(tombstones).where(tombstones.c.revision <= newest)).rowcount
    pruned = sa.update(counters).where(counters.c.name == CATALOG_PRUNED, counters.c.value < newest)
    connection.execute(pruned.values(value=newest))
    return gone


def _counter(connection: sa.Connection, name: str) -> int:
    return int(connection.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar_one())


class _Missed(msgspec.Struct, frozen=True):
    """If `everything`, `changes` contains all existing records."""

    changes: list[Change]
    revision: int
    everything: bool


class _Folder:
    """The records of one kind under one parent, by name and in order."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.names: list[str] = []

    def put(self, record: Record) -> None:
        if record.name not in self.records:
            insort(self.names, record.name)
        self.records[record.name] = record

    def remove(self, name: str) -> None:
        del self.records[name]
        del self.names[bisect_left(self.names, name)]

    def page(self, prefix: str, start: str, limit: int) -> tuple[list[Record], str | None]:
        first = bisect_left(self.names, max(prefix, start))
        wanted = [name for name in self.names[first : first + limit + 1] if name.startswith(prefix)]
        following = wanted[limit] if len(wanted) > limit else None
        return [self.records[name] for name in wanted[:limit]], following


def _one(name: str) -> "sa.ColumnElement[bool]":
    return sa.and_(
        records.c.kind == sa.bindparam("k"),
        records.c.parent == sa.bindparam("p"),
        *([records.c.name == sa.bindparam(name)] if name else []),
    )


_SELECT_ONE = sa.select(records).where(_one("n"))
_SELECT_TIMES = sa.select(records.c.created_at, records.c.modified_at).where(_one("n"))
_SELECT_FOLDER = sa.select(records).where(_one("")).order_by(records.c.name)
_SELECT_KIND = sa.select(records).where(records.c.kind == sa.bindparam("k")).order_by(records.c.parent, records.c.name)
_COUNT = sa.select(sa.func.count()).select_from(records).where(_one(""))
_DELETE = sa.delete(records).where(_one("n"))
_UPSERT = upsert(records)
_BURY = upsert(tombstones)
_UNBURY = sa.delete(tombstones).where(
    tombstones.c.kind == sa.bindparam("k"),
    tombstones.c.parent == sa.bindparam("p"),
    tombstones.c.name == sa.bindparam("n"),
)
_NEXT_REVISION = (
    sa.update(counters).where(counters.c.name == CATALOG).values(value=counters.c.value + 1).returning(counters.c.value)
)
