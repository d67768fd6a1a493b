"""What there is: typed documents by kind, parent and name, read from memory and changed one transaction at a time.

Edited by `control` and `identity`, read by everyone above; opened by `app`.
Never reads the database after `open`, and never shows a change before its commit.
"""

import secrets
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from sesame.model.errors import ConfigurationError
from sesame.model.kinds import KINDS
from sesame.model.records import Record
from sesame.store.lost_database import NEXT_STEPS
from sesame.store.sql.database import Database
from sesame.store.sql.schema import records

T = TypeVar("T")

# Two changes within one tick of the clock still differ by this much.
TICK_S = 0.001

log = structlog.get_logger(__name__)


class Change(msgspec.Struct, frozen=True):
    """One record written or, with `record` None, deleted."""

    kind: str
    parent: str
    name: str
    record: Record | None


class Catalog:
    """All reads are synchronous, from memory, and belong to the event loop's thread."""

    def __init__(
        self, database: Database, kinds: Mapping[str, type] = KINDS, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._codec = _Codec(kinds)
        self._clock = clock
        self._folders: dict[tuple[str, str], _Folder] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self._revision = 0

    async def open(self) -> None:
        """Loads every record. Raises `ConfigurationError` on a document that this code does not know."""

        def load(connection: sa.Connection) -> list[Record]:
            return [self._codec.record(row) for row in connection.execute(sa.select(records))]

        for record in await self._database.load(load):
            self._folder(record.kind, record.parent).put(record)

    @property
    def revision(self) -> int:
        """Rises with every change applied to memory."""
        return self._revision

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

    def children(self, kind: str, parent: str) -> Iterator[Record]:
        """Every record of the folder in order of name, as it stands now."""
        folder = self._folders.get((kind, parent))
        return iter(()) if folder is None else iter([folder.records[name] for name in folder.names])

    def of_kind(self, kind: str) -> Iterator[Record]:
        """Every record of the kind, whatever its parent, in order of parent and name, as it stands now."""
        parents = sorted(parent for found, parent in self._folders if found == kind)
        return iter([record for parent in parents for record in self.children(kind, parent)])

    def on_change(self, callback: Callable[[Change], None]) -> None:
        """Calls back on the event loop for each change, once all changes of its transaction are in memory."""
        self._listeners.append(callback)

    async def edit(self, fn: Callable[["Transaction"], T]) -> T:
        """Runs `fn` alone on the writer's thread; what it wrote is on the disk and in memory when this returns.

        An exception of `fn` undoes all that it wrote and is raised here.
        """

        def run(connection: sa.Connection) -> tuple[T, list[Change]]:
            transaction = Transaction(connection, self._codec, self._clock)
            return fn(transaction), transaction.changes

        def apply(done: tuple[T, list[Change]]) -> None:
            self._apply(done[1])

        result, _changes = await self._database.write(run, on_commit=apply)
        return result

    def _apply(self, changes: list[Change]) -> None:
        for change in changes:
            if change.record is None:
                self._remove(change)
            else:
                self._folder(change.kind, change.parent).put(change.record)
        self._revision += len(changes)
        for change in changes:
            for listener in self._listeners:
                try:
                    listener(change)
                except Exception:
                    # The change stands; whoever made it must not hang because someone else stumbled over the news.
                    log.exception("a listener of the catalog failed", kind=change.kind, name=change.name)

    def _folder(self, kind: str, parent: str) -> "_Folder":
        return self._folders.setdefault((kind, parent), _Folder())

    def _remove(self, change: Change) -> None:
        folder = self._folders[change.kind, change.parent]
        folder.remove(change.name)
        if not folder.names:
            del self._folders[change.kind, change.parent]


class Transaction:
    """The catalog as one edit sees it: everything committed before, and its own changes.

    `connection` is for rows of other tables that stand or fall with this edit.
    """

    def __init__(self, connection: sa.Connection, codec: "_Codec", clock: Callable[[], float]) -> None:
        self.connection = connection
        self._codec = codec
        self._clock = clock
        self.changes: list[Change] = []

    def get(self, kind: str, parent: str, name: str) -> Record | None:
        row = self.connection.execute(_SELECT_ONE, {"k": kind, "p": parent, "n": name}).one_or_none()
        return None if row is None else self._codec.record(row)

    def put(self, kind: str, parent: str, name: str, document: Any) -> Record:
        """Creates or replaces. Keeps the time of creation; etag and time of modification are new."""
        former = self.connection.execute(_SELECT_TIMES, {"k": kind, "p": parent, "n": name}).one_or_none()
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
        self.connection.execute(_UPSERT, {**msgspec.structs.asdict(record), "document": self._codec.encode(record)})
        self.changes.append(Change(kind, parent, name, record))
        return record

    def delete(self, kind: str, parent: str, name: str) -> None:
        """Deletes the record; nothing happens when there is none."""
        if self.connection.execute(_DELETE, {"k": kind, "p": parent, "n": name}).rowcount:
            self.changes.append(Change(kind, parent, name, None))

    def children(self, kind: str, parent: str) -> list[Record]:
        """Every record of the folder in order of name."""
        rows = self.connection.execute(_SELECT_FOLDER, {"k": kind, "p": parent})
        return [self._codec.record(row) for row in rows]

    def of_kind(self, kind: str) -> list[Record]:
        """Every record of the kind, whatever its parent. Reads them all: for rare edits only."""
        return [self._codec.record(row) for row in self.connection.execute(_SELECT_KIND, {"k": kind})]

    def count(self, kind: str, parent: str) -> int:
        return int(self.connection.execute(_COUNT, {"k": kind, "p": parent}).scalar_one())


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


class _Codec:
    """Documents to JSON and back, by kind."""

    def __init__(self, kinds: Mapping[str, type]) -> None:
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {
            kind: msgspec.json.Decoder(document) for kind, document in kinds.items()
        }
        self._types = dict(kinds)
        self._encoder = msgspec.json.Encoder()

    def encode(self, record: Record) -> bytes:
        expected = self._types[record.kind]
        assert type(record.document) is expected, f"{record.kind} holds {expected.__name__}"
        return self._encoder.encode(record.document)

    def record(self, row: "sa.Row[Any]") -> Record:
        decoder = self._decoders.get(row.kind)
        try:
            if decoder is None:
                raise ConfigurationError(
                    f"the catalog holds a record of the unknown kind '{row.kind}': a newer Sesame wrote it, or the "
                    f"database is damaged. {NEXT_STEPS}"
                )
            document = decoder.decode(row.document)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the catalog's {row.kind} '{row.name}' (under '{row.parent}') cannot be read: {error}. {NEXT_STEPS}"
            ) from error
        return Record(row.kind, row.parent, row.name, document, row.etag, row.created_at, row.modified_at)


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
_INSERT = insert(records).values(
    {column.name: sa.bindparam(column.name) for column in records.columns if column.name != "revision"}
    | {"revision": 1}
)
_UPSERT = _INSERT.on_conflict_do_update(
    index_elements=[records.c.kind, records.c.parent, records.c.name],
    set_={
        "document": _INSERT.excluded.document,
        "etag": _INSERT.excluded.etag,
        "revision": records.c.revision + 1,
        "modified_at": _INSERT.excluded.modified_at,
    },
)
