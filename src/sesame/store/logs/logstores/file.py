"""The file of the logstores: a SQLite database of its own, with every group as it was written, until it expires.

Written by the server (`commits`) and by the log writer process (`function_logs`), which must import little. Segments
are made from it and can be made again; logs in no segment are read from here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import lz4.block
import msgspec

from sesame.model.errors import ConfigurationError
from sesame.model.logstore import LogGroup, Logstore
from sesame.store.logs.logstores.shards import shard_for
from sesame.store.sql import sqlite_file

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
PAGE_BYTES = 16 * 1024
CHECKPOINT_PAGES = 512
# A row's position in its logstore: the number of its group, with its own number in the group in the lowest bits.
ROW_BITS = 20

_SCHEMA = """
CREATE TABLE projects (name TEXT PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE logstores (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, name TEXT NOT NULL,
    document BLOB NOT NULL, log_index BLOB,
    next_group INTEGER NOT NULL DEFAULT 0,  -- the number of the next group
    sealed INTEGER NOT NULL DEFAULT 0,      -- groups before this number are in segments
    tail_rows INTEGER NOT NULL DEFAULT 0, tail_bytes INTEGER NOT NULL DEFAULT 0,  -- of the groups that are not
    UNIQUE (project, name)
);
CREATE TABLE groups (
    logstore INTEGER NOT NULL, number INTEGER NOT NULL, shard INTEGER NOT NULL, received_s INTEGER NOT NULL,
    first_s INTEGER NOT NULL, last_s INTEGER NOT NULL, row_count INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (logstore, number)
);
CREATE INDEX groups_by_shard ON groups (logstore, shard, number, received_s);
CREATE TABLE topics (logstore INTEGER NOT NULL, topic TEXT NOT NULL, PRIMARY KEY (logstore, topic)) WITHOUT ROWID;
CREATE TABLE segments (
    logstore INTEGER NOT NULL, first_group INTEGER NOT NULL, end_group INTEGER NOT NULL, received_s INTEGER NOT NULL,
    first_s INTEGER NOT NULL, last_s INTEGER NOT NULL, row_count INTEGER NOT NULL,
    document BLOB,  -- NULL while the file is to be made again
    PRIMARY KEY (logstore, first_group)
);
-- Deleted logstores of which groups or segments are left.
CREATE TABLE gone (logstore INTEGER PRIMARY KEY);
CREATE TABLE consumer_groups (
    logstore INTEGER NOT NULL, name TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (logstore, name)
);
CREATE TABLE checkpoints (
    logstore INTEGER NOT NULL, consumer_group TEXT NOT NULL, shard INTEGER NOT NULL,
    cursor INTEGER NOT NULL, consumer TEXT NOT NULL, updated_s INTEGER NOT NULL,
    PRIMARY KEY (logstore, consumer_group, shard)
);
"""
# Small tables whose rows are deleted with their logstore. `retention` deletes its groups and segments step by step.
_OF_LOGSTORE = ("topics", "consumer_groups", "checkpoints")


class NewGroup(msgspec.Struct, frozen=True, gc=False):
    """An encoded group to be written. Its shard is that of the hash key, otherwise chosen by `turn`."""

    logstore: int
    turn: int
    hash_key: str
    topic: str
    first_s: int
    last_s: int
    row_count: int
    data: bytes


def open_file(path: Path, *, durable: bool) -> sqlite_file.Connection:
    """Opens the file for writing, and creates it if it is missing. Raises `ConfigurationError`.

    With `durable`, a commit survives a power cut; without it, only the end of the process.
    """
    try:
        db = sqlite_file.open_for_writing(path, BUSY_TIMEOUT_S)
        path.chmod(0o600)
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif found != SCHEMA_VERSION:
            raise ConfigurationError(
                f"{path} was written by a newer Sesame (found version {found}, expected {SCHEMA_VERSION}): upgrade "
                "Sesame, or choose another data directory with --data-dir"
            )
    except (sqlite_file.Error, OSError) as error:
        if sqlite_file.wants_room(error, path):
            step = sqlite_file.ROOM_STEP
        else:
            step = (
                "let the user who starts Sesame read and write the file, put a copy of it back, or move it away and "
                "start again without its logs"
            )
        raise ConfigurationError(f"the logs of the Log Service in {path} cannot be used: {error}; {step}") from error
    return db


def open_for_reading(path: Path) -> sqlite_file.Connection:
    return sqlite_file.open_for_reading(path, BUSY_TIMEOUT_S)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LogGroup).decode
_decode_logstore = msgspec.json.Decoder(Logstore).decode


def encoded(logstore: int, group: LogGroup, turn: int, hash_key: str = "") -> NewGroup:
    """`group` has at least one record."""
    times = [record.time_s for record in group.records]
    data = lz4.block.compress(_encode(group))
    return NewGroup(logstore, turn, hash_key, group.topic, min(times), max(times), len(times), data)


def decoded(data: bytes) -> LogGroup:
    return _decode(lz4.block.decompress(data))


def insert(db: sqlite_file.Connection, groups: Iterable[NewGroup], received_s: int) -> set[int]:
    """Within a transaction. Returns the logstores that got groups; groups of a deleted logstore are dropped."""
    by_logstore: dict[int, list[NewGroup]] = {}
    for group in groups:
        by_logstore.setdefault(group.logstore, []).append(group)
    return {logstore for logstore, those in by_logstore.items() if _insert(db, logstore, those, received_s)}


def _insert(db: sqlite_file.Connection, logstore: int, groups: Sequence[NewGroup], received_s: int) -> bool:
    found = db.execute("SELECT next_group, document FROM logstores WHERE id = ?", (logstore,)).fetchone()
    if found is None:
        return False
    first = int(found[0])
    # Read in the transaction, because another process may split or merge a shard at any time.
    stored = _decode_logstore(found[1])
    shards = [shard_for(stored, each.hash_key, each.turn) for each in groups]
    rows = sum(each.row_count for each in groups)
    size = sum(len(each.data) for each in groups)
    db.execute(
        "UPDATE logstores SET next_group = ?, tail_rows = tail_rows + ?, tail_bytes = tail_bytes + ? WHERE id = ?",
        (first + len(groups), rows, size, logstore),
    )
    db.executemany(
        "INSERT INTO groups (logstore, number, shard, received_s, first_s, last_s, row_count, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (logstore, first + n, shard, received_s, each.first_s, each.last_s, each.row_count, each.data)
            for n, (shard, each) in enumerate(zip(shards, groups, strict=True))
        ],
    )
    topics = {(logstore, each.topic) for each in groups}
    db.executemany("INSERT OR IGNORE INTO topics (logstore, topic) VALUES (?, ?)", sorted(topics))
    return True


def delete_logstore(db: sqlite_file.Connection, logstore: int) -> None:
    """Within a transaction. `retention` removes what remains of it, which nothing else finds."""
    for table in _OF_LOGSTORE:
        db.execute(f"DELETE FROM {table} WHERE logstore = ?", (logstore,))
    db.execute("DELETE FROM logstores WHERE id = ?", (logstore,))
    db.execute("INSERT OR IGNORE INTO gone (logstore) VALUES (?)", (logstore,))


def recount_tail(db: sqlite_file.Connection, logstore: int) -> None:
    """Within a transaction, after groups were sealed or deleted."""
    db.execute(
        "UPDATE logstores SET (tail_rows, tail_bytes) = "
        "(SELECT coalesce(sum(row_count), 0), coalesce(sum(length(data)), 0) FROM groups "
        "WHERE groups.logstore = logstores.id AND number >= logstores.sealed) WHERE id = ?",
        (logstore,),
    )
