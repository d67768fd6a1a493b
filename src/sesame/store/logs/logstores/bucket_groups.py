"""Which groups in the file of the logstores are in the bucket of a cluster, what is not yet, and what comes from there.

Used by `shared_groups`; everything here blocks. Rows have one number on every node, as `shared` reserves them. What
comes from there lies before what this node's writer adds, and is sealed into segments for queries as its own logs are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from sesame.store.logs.logstores.file import BUSY_TIMEOUT_S, recount_tail
from sesame.store.logs.logstores.sealing import SEGMENT_ROWS_MAX
from sesame.store.logs.shared.segment import UNREADABLE, Damaged, Range, Ranges, require_whole
from sesame.store.sql import sqlite_file

# A segment holds so much at the most, and one group: what one request to the bucket carries, and is in memory of it.
SEGMENT_BYTES = 4 * 1024 * 1024
# Only the files of a cluster have these: a Sesame of one machine has nothing to remember.
_TABLES = """
CREATE TABLE IF NOT EXISTS in_bucket (
    logstore INTEGER NOT NULL, first_group INTEGER NOT NULL, end_group INTEGER NOT NULL,
    PRIMARY KEY (logstore, first_group)
) WITHOUT ROWID
"""
_BEYOND_ALL = (1 << 63) - 1
# Lines of functions are read in the order of rows (`function_lines`). What others took comes before what this node's
# writer adds, in the room before a row of no logstore.
_BOUND, _ROOM = -1, 1 << 26
_COLUMNS = "number, shard, received_s, first_s, last_s, row_count, data"


class GroupRow(NamedTuple):
    """A row of the file, without its logstore."""

    number: int
    shard: int
    received_s: int
    first_s: int
    last_s: int
    row_count: int
    data: bytes


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Groups of one logstore whose numbers follow each other. `received_s`: the last one's; `size` in bytes."""

    logstore: int
    first: int
    end: int
    received_s: int
    topics: tuple[str, ...] = ()
    size: int = 0


class GroupSegment(msgspec.Struct, frozen=True):
    """What the database says of one; `digest` is the SHA-256 of its bytes."""

    digest: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


class SealedGroups(msgspec.Struct, frozen=True):
    segment: GroupSegment
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[GroupRow]]).decode


def begin(db: sqlite_file.Connection) -> None:
    """Within a transaction: numbers of before belong to segments, so that none spans those that others gave."""
    db.execute(_TABLES)
    # Of a former version.
    db.execute("DROP TABLE IF EXISTS bucket_segments")
    for logstore, sealed, next_group in db.execute("SELECT id, sealed, next_group FROM logstores").fetchall():
        first, end = db.execute(
            "SELECT min(number), max(number) + 1 FROM groups WHERE logstore = ? AND number >= ?", (logstore, sealed)
        ).fetchone()
        if first is not None:
            _to_seal(db, logstore, first, end)
        db.execute("UPDATE logstores SET sealed = ? WHERE id = ?", (next_group, logstore))
        recount_tail(db, logstore)
    db.execute("DELETE FROM groups WHERE logstore = ?", (_BOUND,))
    db.execute(
        f"INSERT INTO groups (rowid, logstore, {_COLUMNS}) "
        "SELECT coalesce(max(rowid), 0) + ?, ?, 0, 0, 0, 0, 0, 0, x'' FROM groups",
        (_ROOM, _BOUND),
    )


def forget_bucket(path: Path) -> None:
    """Of a copy of the file for another bucket, which has none of its groups."""
    if path.exists():
        with closing(sqlite_file.open_for_writing(path, BUSY_TIMEOUT_S)) as db:
            db.executescript("DROP TABLE IF EXISTS in_bucket; DROP TABLE IF EXISTS bucket_segments;")


def here(db: sqlite_file.Connection) -> dict[int, Ranges]:
    """Of each logstore the groups of the bucket that were written, or taken in, here."""
    found: dict[int, list[Range]] = {}
    for logstore, first, end in db.execute("SELECT * FROM in_bucket ORDER BY logstore, first_group"):
        found.setdefault(logstore, []).append(Range(first, end))
    return {logstore: Ranges(ranges) for logstore, ranges in found.items()}


def is_here(segment: GroupSegment, found: Mapping[int, Ranges]) -> bool:
    """`found` by `here`."""
    none = Ranges(())
    return all(Range(part.first, part.end) in found.get(part.logstore, none) for part in segment.parts)


def keep(db: sqlite_file.Connection, parts: Iterable[Part]) -> None:
    """Within a transaction: these groups are in the bucket, and no others, as a database that was set back says."""
    ranges: list[list[int]] = []
    for part in sorted(parts, key=lambda each: (each.logstore, each.first)):
        if ranges and ranges[-1][0] == part.logstore and ranges[-1][2] >= part.first:
            ranges[-1][2] = max(ranges[-1][2], part.end)
        else:
            ranges.append([part.logstore, part.first, part.end])
    db.execute("DELETE FROM in_bucket")
    db.executemany("INSERT INTO in_bucket VALUES (?, ?, ?)", ranges)


def mark(db: sqlite_file.Connection, segment: GroupSegment) -> None:
    """Within a transaction: these groups are in the bucket."""
    for part in segment.parts:
        mark_range(db, part.logstore, part.first, part.end)


def mark_range(db: sqlite_file.Connection, logstore: int, first: int, end: int) -> None:
    """Joins it with the ranges that it touches, so that there are few."""
    touching = (logstore, end, first)
    condition = "WHERE logstore = ? AND first_group <= ? AND end_group >= ?"
    before, behind = db.execute(
        f"SELECT min(first_group), max(end_group) FROM in_bucket {condition}", touching
    ).fetchone()
    if before is not None:
        db.execute(f"DELETE FROM in_bucket {condition}", touching)
        first, end = min(before, first), max(behind, end)
    db.execute("INSERT INTO in_bucket VALUES (?, ?, ?)", (logstore, first, end))


def next_groups(db: sqlite_file.Connection) -> dict[int, int]:
    """Of each logstore the number of its next group: a change says that it got some."""
    return dict(db.execute("SELECT id, next_group FROM logstores").fetchall())


def topics(db: sqlite_file.Connection, logstore: int) -> set[str]:
    return {topic for (topic,) in db.execute("SELECT topic FROM topics WHERE logstore = ?", (logstore,))}


def sealed(db: sqlite_file.Connection, logstores: Sequence[int], new: Mapping[int, set[str]]) -> SealedGroups | None:
    """The oldest groups of these logstores that are in no segment; None if there are none. `new`: topics to tell."""
    parts: list[Part] = []
    rows: list[list[GroupRow]] = []
    size = 0
    for logstore in logstores:
        for run in _runs(db, logstore, SEGMENT_BYTES - size):
            told = tuple(sorted(new.get(logstore, ()))) if not any(each.logstore == logstore for each in parts) else ()
            part = Part(logstore, run[0].number, run[-1].number + 1, run[-1].received_s, told, _size(run))
            parts.append(part)
            rows.append(run)
            size += part.size
        if size >= SEGMENT_BYTES:
            break
    if not parts:
        return None
    return _segment(parts, rows)


def _segment(parts: Sequence[Part], rows: Sequence[Sequence[GroupRow]]) -> SealedGroups:
    data = _encode(rows)
    return SealedGroups(GroupSegment(hashlib.sha256(data).hexdigest(), tuple(parts)), data)


def _size(rows: Sequence[GroupRow]) -> int:
    return sum(len(row.data) for row in rows)


def kept(part: Part, oldest_s: Mapping[int, int]) -> bool:
    """`oldest_s`: what a logstore received before is too old. Logstores that are not in it are gone."""
    return part.logstore in oldest_s and part.received_s >= oldest_s[part.logstore]


def joined(
    segments: Sequence[GroupSegment], data: Sequence[bytes], oldest_s: Mapping[int, int]
) -> tuple[GroupSegment, bytes] | None:
    """One with the parts of all that are still kept, in their order; None if none is. Raises `Damaged`."""
    parts: list[Part] = []
    rows: list[list[GroupRow]] = []
    # Of each logstore the last of its parts that are here.
    last: dict[int, int] = {}
    for segment, each in zip(segments, data, strict=True):
        try:
            found = opened(segment, each)
        except Damaged as damage:
            raise Damaged(f"segment {segment.digest}: {damage}") from damage
        for part, groups in zip(segment.parts, found, strict=True):
            if not kept(part, oldest_s):
                continue
            at = last.get(part.logstore)
            if at is not None and parts[at].end == part.first:
                rows[at] += groups
                parts[at] = _of_both(parts[at], part)
            else:
                last[part.logstore] = len(parts)
                parts.append(part)
                rows.append(groups)
    if not parts:
        return None
    made = _segment(parts, rows)
    return made.segment, made.data


def _of_both(former: Part, later: Part) -> Part:
    topics = tuple(sorted({*former.topics, *later.topics}))
    received_s = max(former.received_s, later.received_s)
    return Part(former.logstore, former.first, later.end, received_s, topics, former.size + later.size)


def opened(segment: GroupSegment, data: bytes) -> list[list[GroupRow]]:
    """The groups of each part. Raises `Damaged`."""
    require_whole(segment.digest, data)
    try:
        found = _decode(data)
    except UNREADABLE as error:
        raise Damaged(f"it cannot be read: {error}; it may be of a newer Sesame") from error
    if [(rows[0].number, rows[-1].number + 1) for rows in found if rows] != [(p.first, p.end) for p in segment.parts]:
        raise Damaged("it has other groups than the database says")
    return found


def take(db: sqlite_file.Connection, segment: GroupSegment, data: bytes | None, oldest_s: Mapping[int, int]) -> str:
    """Within a transaction: takes the groups in; returns what is wrong with the segment, whose groups are lost then.

    `oldest_s` as for `kept`.
    """
    mark(db, segment)
    if data is None:
        return "it is not in the bucket"
    try:
        found = opened(segment, data)
    except Damaged as damage:
        return str(damage)
    for part, rows in zip(segment.parts, found, strict=True):
        if kept(part, oldest_s):
            _take(db, part, rows)
    return ""


def _take(db: sqlite_file.Connection, part: Part, rows: Sequence[GroupRow]) -> None:
    here = "SELECT max(number) FROM groups WHERE logstore = ? AND number >= ? AND number < ?"
    (last,) = db.execute(here, (part.logstore, part.first, part.end)).fetchone()
    if last is not None:
        # This node wrote them, and was killed before it noted that they were in the bucket. Or whoever wrote them could
        # not note that, so that the first of them are in a segment before this one, too.
        rows = [row for row in rows if row.number > last]
    if not rows:
        return
    (first,) = db.execute(
        "SELECT coalesce(max(rowid), 0) + 1 FROM groups "
        "WHERE rowid < (SELECT rowid FROM groups WHERE logstore = ? AND number = 0)",
        (_BOUND,),
    ).fetchone()
    db.executemany(
        f"INSERT INTO groups (rowid, logstore, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(first + n, part.logstore, *row) for n, row in enumerate(rows)],
    )
    db.executemany("INSERT OR IGNORE INTO topics VALUES (?, ?)", [(part.logstore, topic) for topic in part.topics])
    _to_seal(db, part.logstore, rows[0].number, part.end)


def _to_seal(db: sqlite_file.Connection, logstore: int, first: int, end: int) -> None:
    """These groups are to be a segment for queries, together with those before that are to be one."""
    received, first_s, last_s, rows = db.execute(
        "SELECT max(received_s), min(first_s), max(last_s), sum(row_count) FROM groups "
        "WHERE logstore = ? AND number >= ? AND number < ?",
        (logstore, first, end),
    ).fetchone()
    joined = db.execute(
        "UPDATE segments SET end_group = ?, received_s = max(received_s, ?), first_s = min(first_s, ?), "
        "last_s = max(last_s, ?), row_count = row_count + ? "
        "WHERE logstore = ? AND end_group = ? AND document IS NULL AND row_count + ? <= ?",
        (end, received, first_s, last_s, rows, logstore, first, rows, SEGMENT_ROWS_MAX),
    )
    if not joined.rowcount:
        db.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            (logstore, first, end, received, first_s, last_s, rows),
        )


def _runs(db: sqlite_file.Connection, logstore: int, room: int) -> Iterator[list[GroupRow]]:
    """Groups that are in no segment, in runs of numbers that follow each other; what has room, and a group."""
    ranges = db.execute(
        "SELECT first_group, end_group FROM in_bucket WHERE logstore = ? ORDER BY first_group", (logstore,)
    ).fetchall()
    start = 0
    for first, end in [*ranges, (_BEYOND_ALL, 0)]:
        run: list[GroupRow] = []
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM groups WHERE logstore = ? AND number >= ? AND number < ? ORDER BY number",
            (logstore, start, first),
        ):
            group = GroupRow(*row)
            if run and group.number != run[-1].number + 1:
                yield run
                run = []
            run.append(group)
            room -= len(group.data)
            if room <= 0:
                yield run
                return
        if run:
            yield run
        start = end
