"""Tracks which groups of the logstores' file are in a cluster's bucket, and copies groups from there.

Used by `shared_groups`; everything here blocks. Rows have the same number on every node, reserved through `shared`.
Copied groups precede those that this node's writer adds, and are sealed into segments for queries like its own logs.
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

# Maximum size of a segment (or one group): it is transferred in one request and held in memory.
SEGMENT_BYTES = 4 * 1024 * 1024
# Created only in the files of a cluster.
_TABLES = """
CREATE TABLE IF NOT EXISTS in_bucket (
    logstore INTEGER NOT NULL, first_group INTEGER NOT NULL, end_group INTEGER NOT NULL,
    PRIMARY KEY (logstore, first_group)
) WITHOUT ROWID
"""
_BEYOND_ALL = (1 << 63) - 1
# Lines of functions are read in the order of rows (`function_lines`). Groups copied from others are inserted before
# those of this node's writer, in the number range before a marker row that belongs to no logstore.
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
    """Groups of one logstore with consecutive numbers. `received_s` is the last one's; `size` in bytes."""

    logstore: int
    first: int
    end: int
    received_s: int
    topics: tuple[str, ...] = ()
    size: int = 0


class GroupSegment(msgspec.Struct, frozen=True):
    """A segment as described in the database; `digest` is the SHA-256 of its bytes."""

    digest: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


class SealedGroups(msgspec.Struct, frozen=True):
    segment: GroupSegment
    data: bytes


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[list[GroupRow]]).decode


def begin(db: sqlite_file.Connection) -> None:
    """Within a transaction: earlier numbers belong to segments, so that none spans numbers assigned by others."""
    db.execute(_TABLES)
    # Left by a former version.
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
    """For a copy of the file with another bucket, which has none of its groups."""
    if path.exists():
        with closing(sqlite_file.open_for_writing(path, BUSY_TIMEOUT_S)) as db:
            db.executescript("DROP TABLE IF EXISTS in_bucket; DROP TABLE IF EXISTS bucket_segments;")


def here(db: sqlite_file.Connection) -> dict[int, Ranges]:
    """For each logstore, the groups of the bucket that were written, or copied, here."""
    found: dict[int, list[Range]] = {}
    for logstore, first, end in db.execute("SELECT * FROM in_bucket ORDER BY logstore, first_group"):
        found.setdefault(logstore, []).append(Range(first, end))
    return {logstore: Ranges(ranges) for logstore, ranges in found.items()}


def is_here(segment: GroupSegment, found: Mapping[int, Ranges]) -> bool:
    """Whether all groups of the segment are in `found`, the result of `here`."""
    none = Ranges(())
    return all(Range(part.first, part.end) in found.get(part.logstore, none) for part in segment.parts)


def keep(db: sqlite_file.Connection, parts: Iterable[Part]) -> None:
    """Within a transaction: records that exactly these groups are in the bucket, as the database says."""
    ranges: list[list[int]] = []
    for part in sorted(parts, key=lambda each: (each.logstore, each.first)):
        if ranges and ranges[-1][0] == part.logstore and ranges[-1][2] >= part.first:
            ranges[-1][2] = max(ranges[-1][2], part.end)
        else:
            ranges.append([part.logstore, part.first, part.end])
    db.execute("DELETE FROM in_bucket")
    db.executemany("INSERT INTO in_bucket VALUES (?, ?, ?)", ranges)


def mark(db: sqlite_file.Connection, segment: GroupSegment) -> None:
    """Within a transaction: records that the segment's groups are in the bucket."""
    for part in segment.parts:
        mark_range(db, part.logstore, part.first, part.end)


def mark_range(db: sqlite_file.Connection, logstore: int, first: int, end: int) -> None:
    """Merges the range with those that it touches, so that there are few."""
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
    """For each logstore, the number of its next group; a change shows that it got some."""
    return dict(db.execute("SELECT id, next_group FROM logstores").fetchall())


def topics(db: sqlite_file.Connection, logstore: int) -> set[str]:
    return {topic for (topic,) in db.execute("SELECT topic FROM topics WHERE logstore = ?", (logstore,))}


def sealed(db: sqlite_file.Connection, logstores: Sequence[int], new: Mapping[int, set[str]]) -> SealedGroups | None:
    """The oldest groups of these logstores that are in no segment; None if there are none. `new`: topics to report."""
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
    data = encode(rows)
    return SealedGroups(GroupSegment(hashlib.sha256(data).hexdigest(), tuple(parts)), data)


def _size(rows: Sequence[GroupRow]) -> int:
    return sum(len(row.data) for row in rows)


def kept(part: Part, oldest_s: Mapping[int, int]) -> bool:
    """`oldest_s`: for each logstore, the time before which received logs are too old. Absent logstores are deleted."""
    return part.logstore in oldest_s and part.received_s >= oldest_s[part.logstore]


def joined(
    segments: Sequence[GroupSegment], data: Sequence[bytes], oldest_s: Mapping[int, int]
) -> tuple[GroupSegment, bytes] | None:
    """One segment with the parts of all that are still kept, in order; None if none is. Raises `Damaged`."""
    parts: list[Part] = []
    rows: list[list[GroupRow]] = []
    # For each logstore the last of its parts so far.
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
    """Within a transaction: copies the groups. Returns what is wrong with the segment if its groups are lost, or "".

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
        # This node wrote them, and was killed before it recorded that they were in the bucket. Or their writer could
        # not record that, so that the first of them are in an earlier segment, too.
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
    """Marks these groups, and preceding marked ones, to be sealed as a segment for queries."""
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
    """Groups in no segment, in runs of consecutive numbers; at least one group, and otherwise at most `room` bytes."""
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
