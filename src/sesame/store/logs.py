"""Keeps every line that functions write: taken in without waiting, written in batches by a thread of its own.

Given to the engine by `app` as the sink of its journals; read by whoever shows logs.
Never makes a call wait for the disk: what does not fit is cut by a stated rule, and a line in the log says so.
"""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sesame.store.logs_file import LogLine, LogReader, LogWriter, Query, Row, SourceKey
from sesame.store.logs_lines import Chunk, Piece, Splitter, whole_chunk

FLUSH_EVERY_S = 0.15
SWEEP_EVERY_S = 30.0
# Between two sweeps at most about this share of the allowed size comes in.
SWEEP_SHARE = 16
# POLICY: what may wait for the disk. When it is full the newest is cut.
WAITING_BYTES_MAX = 64 * 1024 * 1024
# What one piece costs beside its bytes.
PIECE_OVERHEAD_BYTES = 200
# POLICY: of what a call writes beyond its share, so much of the end is kept: it tells how the call ended.
END_BYTES = 4 * 1024
# A call that has written nothing for so long has, as far as its log goes, ended.
QUIET_S = 1.0
# An instance that has written nothing for so long is forgotten here; should it write again, it is known anew.
FORGET_AFTER_S = 60.0
REMEMBERED_MIN = 256
BATCH_BYTES = 4 * 1024 * 1024

log = structlog.get_logger(__name__)


class Source(Protocol):
    """Whose log it is."""

    @property
    def service(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def log_project(self) -> str: ...
    @property
    def logstore(self) -> str: ...
    @property
    def qualifier(self) -> str: ...


class Keeping(msgspec.Struct, frozen=True):
    """How much is kept: of one call, of all together, and for how long. What is older or more goes, oldest first."""

    call_bytes: int = 8 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    age_s: float = 7 * 86400.0
    waiting_bytes: int = WAITING_BYTES_MAX


class _Call:
    """What is known of one call's log. The loop's thread counts; the flusher's thread splits."""

    __slots__ = (
        "end", "given", "lost", "over", "pieces", "request_id", "source", "splitter", "taken", "unkept", "whole",
        "written_at",
    )  # fmt: skip

    def __init__(self, given: Source, source: SourceKey, request_id: str) -> None:
        self.given = given
        self.source = source
        self.request_id = request_id
        self.taken = 0
        self.written_at = 0.0
        self.whole = True
        # For the flusher alone.
        self.pieces: list[Piece] | None = None
        self.splitter: Splitter | None = None
        # The rest is changed only with the lock held.
        self.lost = 0
        self.over = False
        self.unkept = 0
        self.end = b""


# In the queue in place of bytes: here something was lost; here the call's log ends.
_LOST, _END = object(), object()


class Logs:
    """One for each data directory. `append` is for one thread, the event loop's; the rest may come from any."""

    def __init__(self, path: Path, keeping: Keeping, now: Callable[[], float] = time.time) -> None:
        self._keeping = keeping
        self._now = now
        self._writer = LogWriter(path)
        self._reader = LogReader(path)
        self._queue: deque[tuple[float, _Call, bytes | object]] = deque()
        # The call that each instance wrote for last.
        self._calls: dict[str, _Call] = {}
        self._forget_beyond = REMEMBERED_MIN
        # Bytes that came in and bytes that left: each is changed by one thread only, so that neither needs a lock.
        self._came = 0
        self._left = 0
        self._lock = threading.Lock()
        self._over: dict[int, _Call] = {}
        self._unnamed_loss = 0
        self._round_lock = threading.Lock()
        self._unwritten: list[Row] = []
        self._unwritten_bytes = 0
        self._since_sweep = 0
        self._swept_at = now()
        self._failing = False
        self._stopping = threading.Event()
        self._flusher: threading.Thread | None = None

    async def open(self) -> None:
        """Raises `ConfigurationError` when the file cannot be used."""
        await asyncio.to_thread(self._writer.open)
        self._flusher = threading.Thread(target=self._flush_forever, name="sesame-logs", daemon=True)
        self._flusher.start()

    async def close(self) -> None:
        """Writes all that came in; idempotent."""
        flusher, self._flusher = self._flusher, None
        if flusher is None:
            return
        self._stopping.set()
        await asyncio.to_thread(flusher.join)
        await asyncio.to_thread(self._finish)

    def append(self, source: Source, request_id: str, data: bytes) -> None:
        """Takes in what a call wrote. Costs about a microsecond, and never waits."""
        call = self._calls.get(source.instance_id)
        if call is None or call.request_id != request_id:
            call = self._begin(source, request_id)
        size = len(data)
        call.taken += size
        call.written_at = now = self._now()
        if call.taken > self._keeping.call_bytes:
            data = self._beyond_share(call, data)
            size = len(data)
            if not size:
                return
        if self._came - self._left + size > self._keeping.waiting_bytes:
            self._lose(call, size, now)
            return
        self._came += size + PIECE_OVERHEAD_BYTES
        call.whole = data.endswith(b"\n")
        self._queue.append((now, call, data))

    async def read(self, query: Query) -> list[LogLine]:
        """What has been written to the file so far, a fraction of a second after it came in."""
        return await asyncio.to_thread(self._reader.read, query)

    async def flush(self) -> None:
        """Afterwards all whole lines that came in before are in the file."""
        await asyncio.to_thread(self._round)

    def _begin(self, source: Source, request_id: str) -> _Call:
        before = self._calls.get(source.instance_id)
        if before is not None and (before.over or not before.whole):
            self._note(before, _END, before.written_at)
        if before is not None and before.given is source:
            key = before.source
        else:
            key = SourceKey(*(getattr(source, name) for name in SourceKey._fields))
            if len(self._calls) > self._forget_beyond:
                self._forget_silent()
        call = self._calls[source.instance_id] = _Call(source, key, request_id)
        return call

    def _forget_silent(self) -> None:
        """Of instances that are gone or idle; each forgetting of many pays for the looking."""
        long_ago = self._now() - FORGET_AFTER_S
        for key, call in [item for item in self._calls.items() if item[1].written_at < long_ago]:
            del self._calls[key]
            if call.over or not call.whole:
                self._note(call, _END, call.written_at)
        self._forget_beyond = max(REMEMBERED_MIN, 2 * len(self._calls))

    def _beyond_share(self, call: _Call, data: bytes) -> bytes:
        """What of `data` is still within the call's share; of the rest only the end is held, and all is counted."""
        room = max(len(data) - (call.taken - self._keeping.call_bytes), 0)
        with self._lock:
            beyond = len(call.end) + len(data) - room
            call.end = (call.end + data[max(room, len(data) - END_BYTES) :])[-END_BYTES:]
            call.unkept += beyond - len(call.end)
            if not call.over:
                call.over = True
                self._over[id(call)] = call
        return data[:room]

    def _lose(self, call: _Call, size: int, now: float) -> None:
        with self._lock:
            first, call.lost = not call.lost, call.lost + size
        if first:
            self._note(call, _LOST, now)

    def _note(self, call: _Call, what: object, now: float) -> None:
        """Notes find room when bytes do not, yet not endlessly."""
        if self._came - self._left > 2 * self._keeping.waiting_bytes:
            with self._lock:
                self._unnamed_loss, call.lost = self._unnamed_loss + call.lost, 0
            return
        self._came += PIECE_OVERHEAD_BYTES
        self._queue.append((now, call, what))

    def _flush_forever(self) -> None:
        while not self._stopping.wait(FLUSH_EVERY_S):
            try:
                self._round()
                self._sweep()
            except Exception:
                # A defect. What was at hand may be its cause: that is given up, and what comes next is kept.
                log.exception("log lines of functions could not be taken in and are lost")
                self._give_up()

    def _give_up(self) -> None:
        with self._round_lock:
            self._unwritten, self._unwritten_bytes = [], 0
            waiting = [data for _now, _call, data in tuple(self._queue)]
            waiting_bytes = sum(PIECE_OVERHEAD_BYTES + (len(d) if isinstance(d, bytes) else 0) for d in waiting)
            self._left = self._came - waiting_bytes

    def _round(self) -> None:
        """Writes all that waits. What cannot be written now is tried again in the next round."""
        with self._round_lock:
            quiet = self._quiet()
            while self._unwritten or self._queue:
                if not self._unwritten:
                    self._take()
                if not self._write():
                    return
            rows = [row for call in quiet for row in self._ended(call)]
            if rows:
                self._unwritten = rows
                self._write()

    def _take(self) -> None:
        """Moves up to a batch from the queue to rows."""
        queue, taken = self._queue, 0
        touched: list[_Call] = []
        rows: list[Row] = []
        while queue and taken < BATCH_BYTES:
            now, call, data = queue.popleft()
            taken += PIECE_OVERHEAD_BYTES
            if isinstance(data, bytes):
                taken += len(data)
                if call.pieces is None:
                    call.pieces = []
                    touched.append(call)
                call.pieces.append((int(now * 1000), data))
            elif data is _END:
                rows += _split(call)
                rows += self._ended(call)
            else:
                rows += _split(call)
                rows += self._loss(call, now)
        for call in touched:
            rows += _split(call)
        self._unwritten, self._unwritten_bytes = rows, taken

    def _write(self) -> bool:
        try:
            if self._unwritten:
                self._writer.write(self._unwritten, int(self._now() * 1000))
        except sqlite3.Error as error:
            if not self._failing:
                log.error("the log of functions cannot be written; trying again", error=str(error))
            self._failing = True
            return False
        self._failing = False
        self._since_sweep += self._unwritten_bytes
        self._left += self._unwritten_bytes
        self._unwritten, self._unwritten_bytes = [], 0
        return True

    def _quiet(self) -> list[_Call]:
        """Calls beyond their share that have written nothing for a while."""
        if not self._over:
            return []
        now = self._now()
        with self._lock:
            return [call for call in self._over.values() if now - call.written_at >= QUIET_S]

    def _ended(self, call: _Call) -> list[Row]:
        """What a call's log closes with: the line without a newline, and what is known of what was not kept."""
        rows = _end_line(call)
        with self._lock:
            self._over.pop(id(call), None)
            end, unkept = call.end, call.unkept
            call.over, call.end, call.unkept = False, b"", 0
        if not end:
            return rows
        if unkept:
            # The end begins with a whole line, if there is one.
            start = end.find(b"\n") + 1
            if start == len(end):
                start = 0
            unkept, end = unkept + start, end[start:]
            rows.append(
                self._say(
                    call,
                    f"{unkept} bytes of this call's log were not kept: it wrote more than the "
                    f"{self._keeping.call_bytes} bytes that are kept of a call; the end of it follows",
                    call.written_at,
                )
            )
        ending = Splitter()
        for chunk in ending.cut([(int(call.written_at * 1000), end)]) + ending.end():
            rows.append(Row(call.source, call.request_id, chunk))
        return rows

    def _loss(self, call: _Call, now: float) -> list[Row]:
        with self._lock:
            lost, call.lost = call.lost, 0
        if not lost:
            return []
        log.warning("lines of a function were lost: the disk is too slow", function=call.source.function, bytes=lost)
        text = f"{lost} bytes of this call's log were lost here: they came faster than the disk could take them"
        return [*_end_line(call), self._say(call, text, now)]

    def _say(self, call: _Call, text: str, now: float) -> Row:
        return Row(call.source, call.request_id, Chunk(int(now * 1000), None, f"[sesame] {text}\n".encode()))

    def _sweep(self) -> None:
        """Retention, in small steps between which the waiting lines are written."""
        now, keeping = self._now(), self._keeping
        if now - self._swept_at < SWEEP_EVERY_S and self._since_sweep < keeping.total_bytes // SWEEP_SHARE:
            return
        self._swept_at, self._since_sweep = now, 0
        with self._lock:
            lost, self._unnamed_loss = self._unnamed_loss, 0
        if lost:
            log.warning("lines of functions were lost: the disk is too slow", bytes=lost)
        while not self._stopping.is_set() and self._expire(now):
            self._round()

    def _expire(self, now: float) -> bool:
        with self._round_lock:
            try:
                return self._writer.expire(int((now - self._keeping.age_s) * 1000), self._keeping.total_bytes)
            except sqlite3.Error as error:
                log.error("old log lines cannot be deleted", error=str(error))
                return False

    def _finish(self) -> None:
        self._round()
        with self._round_lock:
            if self._queue or self._unwritten:
                log.error("log lines could not be written and are lost", bytes=self._came - self._left)
            else:
                self._unwritten = [row for call in self._calls.values() for row in self._ended(call)]
                self._write()
            self._writer.close()


def discard(path: Path) -> None:
    """Removes what was kept, as when nothing is to be kept any more."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _split(call: _Call) -> list[Row]:
    pieces, call.pieces = call.pieces, None
    if not pieces:
        return []
    if call.splitter is None:
        chunk = whole_chunk(pieces)
        if chunk is not None:
            return [Row(call.source, call.request_id, chunk)]
        call.splitter = Splitter()
    return [Row(call.source, call.request_id, chunk) for chunk in call.splitter.cut(pieces)]


def _end_line(call: _Call) -> list[Row]:
    """The line that has no newline, if there is one."""
    if call.splitter is None:
        return []
    return [Row(call.source, call.request_id, chunk) for chunk in call.splitter.end()]
