"""Seals groups into segments, which queries read fast; merges small segments; makes missing ones again.

Run by `app` in the background. Every log in a segment is in the file of the logstores, too.
"""

import asyncio
import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from sesame.model.clocks import Clocks, pause
from sesame.own_files import OWN_FILES
from sesame.store.logs.logstores.commits import Commits
from sesame.store.logs.logstores.file import recount_tail
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.segment_files import SegmentFiles
from sesame.store.sql import sqlite_file

# POLICY: a query loads the whole tail, so the tail stays small enough to load in a fraction of a second.
TAIL_ROWS = 20_000
TAIL_BYTES = 4 * 1024 * 1024
# POLICY: this many small neighbours are merged into one segment, whose logs must fit into one process's memory.
JOINED = 8
SEGMENT_ROWS_MAX = 200_000
SMALL_ROWS = SEGMENT_ROWS_MAX // JOINED
SMALL_BYTES = 4 * 1024 * 1024
PAUSE_S = 1.0
RETRY_AFTER_S = 60.0
_MODULE = "sesame.store.logs.logstores.seal_process"

log = structlog.get_logger(__name__)


class Work(NamedTuple):
    """Groups from `first` on and before `end`, to be sealed in one segment."""

    logstore: int
    first: int
    end: int


class SealFailed(Exception):
    pass


class Sealer:
    """Call `noticed` after a write."""

    def __init__(self, path: Path, files: SegmentFiles, commits: Commits, clocks: Clocks) -> None:
        self._path = path
        self._reader = Reader(path)
        self._files = files
        self._commits = commits
        self._clocks = clocks
        self._due = asyncio.Event()
        self._due.set()
        self._damaged: set[tuple[int, int, int]] = set()

    def noticed(self) -> None:
        self._due.set()

    def damaged(self, segments: Sequence[tuple[int, int, int]]) -> None:
        """Makes these segments (logstore, first group, end) again, because they cannot be used."""
        for place in segments:
            if place not in self._damaged:
                log.warning(
                    "a segment of a logstore is damaged or missing: its logs are read from the file, it is made again",
                    segment=str(self._files.path(*place)),
                )
        self._damaged.update(segments)
        self._due.set()

    async def run(self) -> None:
        """Never returns; a process that fails is logged, and retried later."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.seal()
            except SealFailed as error:
                log.error("logs cannot be sealed into a segment; queries read them from the file", error=str(error))
                await pause(self._clocks, RETRY_AFTER_S)
                self._due.set()
            await pause(self._clocks, PAUSE_S)

    async def seal(self) -> None:
        """Seals everything that is due. Raises `SealFailed` for logstores that failed, after all others are done."""
        if self._damaged:
            places = sorted(self._damaged)
            await self._commits.ask(lambda db: forget_segments(db, places))
            self._damaged.difference_update(places)
        failures: dict[int, SealFailed] = {}
        while (work := await asyncio.to_thread(self._next, failures)) is not None:
            try:
                await self._make(work)
            except SealFailed as error:
                failures[work.logstore] = error
        if failures:
            raise SealFailed("; ".join(f"logstore {number}: {error}" for number, error in failures.items()))

    def _next(self, without: Container[int]) -> Work | None:
        """What to do next, except for the logstores in `without`."""
        with self._reader.connection() as db:
            missing = db.execute("SELECT logstore, first_group, end_group FROM segments WHERE document IS NULL")
            for place in missing:
                if place[0] not in without:
                    return Work(*place)
            tails = db.execute(
                "SELECT id, sealed FROM logstores WHERE tail_rows >= ? OR tail_bytes >= ?", (TAIL_ROWS, TAIL_BYTES)
            ).fetchall()
            for logstore, sealed in tails:
                if logstore not in without:
                    return Work(logstore, sealed, _end_of(db, logstore, sealed))
            small = db.execute(
                "SELECT logstore FROM segments WHERE row_count <= ? GROUP BY logstore HAVING count(*) >= ?",
                (SMALL_ROWS, JOINED),
            ).fetchall()
            for (logstore,) in small:
                if logstore in without:
                    continue
                rows = db.execute(
                    "SELECT first_group, end_group, row_count FROM segments WHERE logstore = ? ORDER BY first_group",
                    (logstore,),
                ).fetchall()
                joined = neighbours([(first, end, self._is_small(logstore, first, end, n)) for first, end, n in rows])
                if joined is not None:
                    return Work(logstore, *joined)
        return None

    def _is_small(self, logstore: int, first: int, end: int, rows: int) -> bool:
        return rows <= SMALL_ROWS and self._files.size(logstore, first, end) <= SMALL_BYTES

    async def _make(self, work: Work) -> None:
        try:
            draft = await asyncio.to_thread(self._files.draft, work.logstore, work.first, work.end)
        except OSError as error:
            raise SealFailed(str(error)) from error
        OWN_FILES.warn("the process that seals logs")
        arguments = [str(self._path), *map(str, work), str(draft)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", _MODULE, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise SealFailed(complaint.decode(errors="replace").strip().rpartition("\n")[2] + OWN_FILES.hint)
        segment = msgspec.json.decode(said)
        if segment is not None:
            try:
                await asyncio.to_thread(self._files.publish, work.logstore, work.first, work.end)
            except OSError as error:
                raise SealFailed(str(error)) from error
        await self._commits.ask(lambda db: _record(db, work, segment, said))


def forget_segments(db: sqlite_file.Connection, places: Sequence[tuple[int, int, int]]) -> None:
    """Within a transaction: queries no longer read these segments, and they will be made again."""
    db.executemany(
        "UPDATE segments SET document = NULL WHERE logstore = ? AND first_group = ? AND end_group = ?", places
    )


def _end_of(db: sqlite_file.Connection, logstore: int, first: int) -> int:
    """The end of a segment that begins with the group `first`."""
    rows, end = 0, first
    counts = db.execute(
        "SELECT number, row_count FROM groups WHERE logstore = ? AND number >= ? ORDER BY number", (logstore, first)
    )
    for number, row_count in counts:
        rows += row_count
        if rows > SEGMENT_ROWS_MAX and end > first:
            break
        end = number + 1
    return end


def neighbours(segments: Sequence[tuple[int, int, bool]]) -> tuple[int, int] | None:
    """The first group and the end of the first JOINED consecutive small segments; None if there are none.

    `segments` are (first group, end, whether small), in order.
    """
    run: list[tuple[int, int, bool]] = []
    for segment in segments:
        if not segment[2]:
            run = []
            continue
        if run and run[-1][1] != segment[0]:
            # Between them are group numbers that another node of the cluster assigned.
            run = []
        run.append(segment)
        if len(run) == JOINED:
            return run[0][0], run[-1][1]
    return None


def _record(db: sqlite_file.Connection, work: Work, segment: dict[str, object] | None, document: bytes) -> None:
    """In one commit, moves the groups into the new segment, from other segments and the tail."""
    logstore, first, end = work
    if db.execute("SELECT 1 FROM logstores WHERE id = ?", (logstore,)).fetchone() is None:
        return
    db.execute(
        "DELETE FROM segments WHERE logstore = ? AND first_group >= ? AND end_group <= ?", (logstore, first, end)
    )
    if segment is not None:
        received = db.execute(
            "SELECT max(received_s) FROM groups WHERE logstore = ? AND number >= ? AND number < ?", work
        ).fetchone()
        db.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*work, received[0] or 0, segment["first_s"], segment["last_s"], segment["rows"], document),
        )
    db.execute("UPDATE logstores SET sealed = max(sealed, ?) WHERE id = ?", (end, logstore))
    recount_tail(db, logstore)


def damaged_segments(file: Path, folder: Path) -> Iterator[Path]:
    """Segments in the file whose checksum does not match; reads all of them, and blocks."""
    if not file.exists():
        return
    files = SegmentFiles(folder)
    with Reader(file).connection() as db:
        rows = db.execute(
            "SELECT logstore, first_group, end_group, document FROM segments WHERE document IS NOT NULL"
        ).fetchall()
    for logstore, first, end, document in rows:
        if not files.is_intact(logstore, first, end, msgspec.json.decode(document).get("checksum")):
            yield files.path(logstore, first, end)
