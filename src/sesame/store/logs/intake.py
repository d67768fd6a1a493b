"""Collects the output of functions and sends it in batches to the log writer process. Calls never wait for it.

The engine passes invocation logs to `Logs.append`. Output beyond a limit is cut by the rules of docs/logs.md, and a
line in the log states how much is missing.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from sesame.model.clocks import SYSTEM_CLOCKS, Clocks, Timer
from sesame.store.logs.file import SourceKey
from sesame.store.logs.lag import Lag
from sesame.store.logs.lines import CHUNK_BYTES_MAX, Piece
from sesame.store.logs.openings import Opening, Openings, Source
from sesame.store.logs.reader import LogLine, LogReader, Query
from sesame.store.logs.routing import Router
from sesame.store.logs.wire import Batch, Output, Whole
from sesame.store.logs.writer import LogWriterProcess

FLUSH_EVERY_S = 0.15
EXPIRE_EVERY_S = 30.0
# POLICY: maximum output that may wait for the disk. Beyond it, new output is dropped.
WAITING_BYTES_MAX = 64 * 1024 * 1024
# Estimated memory of a piece besides its bytes.
PIECE_OVERHEAD_BYTES = 200
# POLICY: of the output beyond a call's limit, the last bytes are kept, because they show how the call ended.
END_BYTES = 4 * 1024
# After this silence, the kept end of a call beyond its limit is written, as if the call had ended.
QUIET_S = 1.0
# After this silence, an instance's state is dropped; it is created anew if the instance writes again.
FORGET_AFTER_S = 60.0
REMEMBERED_MIN = 256

log = structlog.get_logger(__name__)


class Writer(Protocol):
    """The part of `LogWriterProcess` that is used here."""

    @property
    def notices(self) -> list[str]: ...
    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def send(self, batch: Batch, weight: int) -> None: ...
    async def tried(self) -> None: ...
    async def expired(self) -> None: ...


class Retention(msgspec.Struct, frozen=True):
    """Limits of what is kept, for each call and for all calls together. The oldest lines are deleted first."""

    call_bytes: int = 8 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    age_s: float = 7 * 86400.0
    waiting_bytes: int = WAITING_BYTES_MAX


class _Call:
    """The state of one call's log. Defaults are class attributes, because most calls never change them."""

    written_at = 0.0
    taken = 0
    whole = True
    lost = 0
    over = False
    unkept = 0
    end = b""

    def __init__(self, number: int, given: Source, source: SourceKey, request_id: str) -> None:
        self.number = number
        self.given = given
        self.source = source
        self.request_id = request_id
        self.pieces: list[Piece] = []


class Logs:
    """One for each data directory. Belongs to one event loop."""

    def __init__(
        self,
        path: Path,
        retention: Retention,
        clocks: Clocks = SYSTEM_CLOCKS,
        writer: Callable[[Path, int, float, Callable[[int], None]], Writer] = LogWriterProcess,
    ) -> None:
        self._call_bytes = retention.call_bytes
        # Maximum size of a call whose first and last lines are taken in at once.
        self._whole_bytes = min(CHUNK_BYTES_MAX, retention.call_bytes)
        self._waiting_bytes = retention.waiting_bytes
        self._clocks, self._now = clocks, clocks.wall
        self._reader = LogReader(path)
        # Also decides which lines go to logstores; None: none do.
        self.router: Router | None = None
        self._writer = writer(path, retention.total_bytes, retention.age_s, self._settled)
        # Sent with the next batch at the latest.
        self._openings = Openings()
        # By instance: the call that it last wrote for.
        self._calls: dict[str, _Call] = {}
        self._calls_begun = 0
        self._forget_beyond = REMEMBERED_MIN
        self._over: dict[int, _Call] = {}
        # The next batch: calls with pieces, outputs that are already closed, and the weight of both.
        self._written: list[_Call] = []
        self._outputs: list[Output | Whole] = []
        self._weight = 0
        # The weight of all output that was taken in and is not yet in the file.
        self._waiting = 0
        self.lag = Lag(clocks)
        self._unnamed_loss = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: Timer | None = None
        self._expiring: Timer | None = None

    async def open(self) -> None:
        """Raises `ConfigurationError` if the file cannot be used."""
        await self._writer.open()
        self._loop = asyncio.get_running_loop()
        self._expire_soon()

    @property
    def notices(self) -> list[str]:
        """Messages for the operator about the file, one line each."""
        return self._writer.notices

    @property
    def waiting_bytes(self) -> int:
        """Estimated memory of the output that was taken in and is not yet in the file."""
        return self._waiting

    @property
    def unreported_loss_bytes(self) -> int:
        """Output that was dropped since the last warning and that no line of a call's log mentions."""
        return self._unnamed_loss

    @property
    def remembered_instances(self) -> int:
        return len(self._calls)

    async def close(self) -> None:
        """Writes everything that was taken in; idempotent."""
        if self._loop is None:
            return
        self._loop = None
        for timer in (self._flushing, self._expiring):
            if timer is not None:
                timer.cancel()
        for call in list(self._over.values()):
            self._close_share(call)
        self._send()
        await self._writer.close()

    def append(self, source: Source, request_id: str, data: bytes, more: bool = False) -> None:
        """Takes in output of a call. `more`: further lines of the same call will follow. Never blocks."""
        if more and request_id:
            # Keeping the first line back lets the last one be taken in with it.
            before = self._openings.put((source, request_id, data, self._now()))
            if before is not None:
                self._take(*before)
            if self._flushing is None:
                self._flush_soon()
            return
        if not request_id:
            # It may belong to any call of the instance.
            for opening in self._openings.pop_of(source.instance_id):
                self._take(*opening)
        elif (own := self._openings.pop(source.instance_id, request_id)) is not None:
            if self._whole(own, data):
                return
            self._take(*own)
        self._take(source, request_id, data, self._now())

    def _whole(self, opening: Opening, data: bytes) -> bool:
        """Takes in the first and last line of a simple call at once; False if the call needs the general path."""
        source, request_id, line, at = opening
        before = self._calls.get(source.instance_id)
        if before is None or before.given is not source:
            return False
        if before.lost or before.over or not before.whole:
            return False
        size = len(line) + len(data)
        if request_id == before.request_id or not data.endswith(b"\n"):
            return False
        if size > self._whole_bytes or self._waiting + size > self._waiting_bytes:
            return False
        if self._written:
            # It must follow the output that was taken in before.
            self._close_pieces()
        before.written_at = now = self._now()
        self._outputs.append(Whole(before.source, request_id, int(at * 1000), line, int(now * 1000), data))
        self._weigh(size + 2 * PIECE_OVERHEAD_BYTES)
        return True

    def _take(self, source: Source, request_id: str, data: bytes, now: float) -> None:
        call = self._calls.get(source.instance_id)
        if call is None or call.request_id != request_id:
            call = self._begin(source, request_id)
        size = len(data)
        call.taken = taken = call.taken + size
        call.written_at = now
        if taken > self._call_bytes:
            data = self._beyond_share(call, data)
            size = len(data)
            if not size:
                return
        if self._waiting + size > self._waiting_bytes:
            self._lose(call, size)
            return
        call.whole = data.endswith(b"\n")
        self._add(call, now, data)

    async def read(self, query: Query) -> list[LogLine]:
        """Lines in the file. Output gets there a fraction of a second after it was taken in."""
        return await asyncio.to_thread(self._reader.read, query)

    async def flush(self) -> None:
        """Returns when all complete lines taken in before are in the file, or the write has failed."""
        self._close_quiet()
        self._send()
        await self._writer.tried()

    async def end_lines(self) -> None:
        """As `flush`, when no more output comes: also writes last lines without a newline."""
        for call in self._calls.values():
            if call.over or not call.whole:
                self._close(call)
                call.whole = True
        await self.flush()

    async def expire(self) -> None:
        """Deletes lines beyond the retention limits now; also happens every `EXPIRE_EVERY_S`."""
        self._send(expire=True)
        await self._writer.expired()

    def _begin(self, source: Source, request_id: str) -> _Call:
        before = self._calls.get(source.instance_id)
        if before is not None and (before.over or not before.whole):
            self._close(before)
        if before is not None and before.given is source:
            key = before.source
        else:
            key = SourceKey(*(getattr(source, name) for name in SourceKey._fields))
            if len(self._calls) > self._forget_beyond:
                self._forget_silent()
        self._calls_begun += 1
        call = self._calls[source.instance_id] = _Call(self._calls_begun, source, key, request_id)
        return call

    def _add(self, call: _Call, at: float, data: bytes) -> None:
        if not call.pieces:
            self._written.append(call)
        call.pieces.append((int(at * 1000), data))
        self._weigh(len(data) + PIECE_OVERHEAD_BYTES)

    def _cut(self, call: _Call) -> None:
        """Closes the call's last line although it has no newline."""
        self._outputs.append(self._output(call, cut=True))
        self._weigh(PIECE_OVERHEAD_BYTES)

    def _weigh(self, weight: int) -> None:
        """Adds to the weight of the next batch, and schedules the batch."""
        if not self._weight:
            # The oldest output of the batch counts.
            self.lag.taken()
        self._weight += weight
        self._waiting += weight
        if self._flushing is None:
            self._flush_soon()

    def _output(self, call: _Call, *, cut: bool = False) -> Output:
        pieces, call.pieces = call.pieces, []
        if call.lost:
            # The loss precedes the pieces.
            pieces = [self._note_of_loss(call), *pieces]
        return Output(call.number, call.source, call.request_id, pieces, cut)

    def _flush_soon(self) -> None:
        if self._loop is not None:
            self._flushing = self._clocks.call_later(FLUSH_EVERY_S, self._on_flush)

    def _on_flush(self) -> None:
        self._flushing = None
        self._close_quiet()
        self._send()
        if self._over:
            self._flush_soon()

    def _expire_soon(self) -> None:
        assert self._loop is not None
        self._expiring = self._clocks.call_later(EXPIRE_EVERY_S, self._on_expire)

    def _on_expire(self) -> None:
        if self._unnamed_loss:
            log.warning("lines of functions were lost: the disk is too slow", bytes=self._unnamed_loss)
            self._unnamed_loss = 0
        self._send(expire=True)
        self._expire_soon()

    def _send(self, *, expire: bool = False) -> None:
        for opening in self._openings.pop_all():
            self._take(*opening)
        self._close_pieces()
        outputs = self._outputs
        if outputs or expire:
            self.lag.sent()
            now_ms = int(self._now() * 1000)
            routes = self.router.route(outputs, now_ms) if self.router is not None else []
            self._writer.send(Batch(now_ms, outputs, expire, routes), self._weight)
        self._outputs, self._weight = [], 0

    def _close_pieces(self) -> None:
        self._outputs += [self._output(call) for call in self._written if call.pieces or call.lost]
        self._written = []

    def _settled(self, weight: int) -> None:
        self.lag.settled()
        self._waiting -= weight

    def _forget_silent(self) -> None:
        """Drops the state of silent instances. Doubling the threshold keeps the cost per instance constant."""
        long_ago = self._now() - FORGET_AFTER_S
        for key, call in [item for item in self._calls.items() if item[1].written_at < long_ago]:
            del self._calls[key]
            if call.over or not call.whole:
                self._close(call)
        self._forget_beyond = max(REMEMBERED_MIN, 2 * len(self._calls))

    def _beyond_share(self, call: _Call, data: bytes) -> bytes:
        """Returns the part of `data` within the call's limit; keeps the end of the rest, and counts what is dropped."""
        within = max(len(data) - (call.taken - self._call_bytes), 0)
        beyond = len(call.end) + len(data) - within
        call.end = (call.end + data[max(within, len(data) - END_BYTES) :])[-END_BYTES:]
        call.unkept += beyond - len(call.end)
        if not call.over:
            call.over = True
            self._over[call.number] = call
        if self._flushing is None:
            self._flush_soon()
        return data[:within]

    def _lose(self, call: _Call, size: int) -> None:
        if call.lost:
            call.lost += size
        elif self._waiting > 2 * self._waiting_bytes:
            # Notes of a loss are taken in up to twice the limit for output; beyond that, losses are only counted.
            self._unnamed_loss += size
        else:
            self._cut(call)
            self._written.append(call)
            call.lost = size

    def _note_of_loss(self, call: _Call) -> Piece:
        lost, call.lost = call.lost, 0
        log.warning("lines of a function were lost: the disk is too slow", function=call.source.function, bytes=lost)
        text = f"{lost} bytes of this call's log were lost here: they came faster than the disk could take them"
        return int(call.written_at * 1000), _said(text)

    def _close_quiet(self) -> None:
        """Writes the kept ends of calls that are beyond their limit and have been silent for `QUIET_S`."""
        now = self._now()
        for call in [call for call in self._over.values() if now - call.written_at >= QUIET_S]:
            self._close_share(call)

    def _close(self, call: _Call) -> None:
        """Closes the call's last line and, if the call exceeded its limit, writes the note and the kept end."""
        if call.over:
            self._close_share(call)
        else:
            self._cut(call)

    def _close_share(self, call: _Call) -> None:
        end, unkept = call.end, call.unkept
        del self._over[call.number]
        call.over, call.end, call.unkept = False, b"", 0
        self._cut(call)
        if unkept:
            # Let the kept end begin at a line's start if it contains one.
            start = end.find(b"\n") + 1
            if start == len(end):
                start = 0
            unkept, end = unkept + start, end[start:]
            text = (
                f"{unkept} bytes of this call's log were not kept: it wrote more than the "
                f"{self._call_bytes} bytes that are kept of a call; the end of it follows"
            )
            self._add(call, call.written_at, _said(text))
        self._add(call, call.written_at, end)
        self._cut(call)


def _said(text: str) -> bytes:
    return f"[sesame] {text}\n".encode()
