"""The log writer process: receives batches from a socket, splits them into lines and writes them to the file.

Started by `store.logs.writer`. It is a separate process so that no call waits for the disk or for the interpreter's
lock. It uses the times in the batches. When Sesame ends, for whatever reason, it writes what is in the socket and ends.
"""

import contextlib
import os
import select
import socket
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.store.logs.file import ROWS_DELETED_TOGETHER, LogWriter, Row, SourceKey
from sesame.store.logs.lines import Chunk, Splitter, joined_chunk, whole_chunk
from sesame.store.logs.logstores.function_logs import FunctionLogs
from sesame.store.logs.routes import Route
from sesame.store.logs.shared.sealing import Sealing
from sesame.store.logs.shared.segment import Damaged, joined
from sesame.store.logs.wire import Asked, Batch, Begin, Frames, Join, Output, Seal, Take, Tried, Whole, frame
from sesame.store.sql import sqlite_file

RETRY_EVERY_S = 0.15
# Calls have priority: logs may wait a little longer.
NICENESS = 10
# Between two retention checks, about this share of the allowed size is written.
EXPIRE_SHARE = 16
_READ_BYTES = 1024 * 1024
# Linux reports that the other side has closed even while there is data left to read.
_HUNG_UP = getattr(select, "POLLRDHUP", select.POLLHUP)


class OpenLine(NamedTuple):
    """A call whose last line has no newline yet."""

    source: SourceKey
    request_id: str
    splitter: Splitter


class BatchWriter:
    """Turns batches into rows. Between batches it holds only the calls whose last line has no newline yet."""

    def __init__(
        self, writer: LogWriter, total_bytes: int, age_s: float, function_logs: FunctionLogs | None = None
    ) -> None:
        """`age_s` 0: nothing is kept, and lines only go to logstores."""
        self._writer = writer
        self._function_logs = function_logs
        # Routes of the last batch, and of the calls whose last line has no newline yet.
        self._routes: dict[SourceKey, Route] = {}
        self._total_bytes = total_bytes
        self._age_ms = int(age_s * 1000)
        self._open_lines: dict[int, OpenLine] = {}
        self._now_ms = 0
        self._unwritten: list[Row] = []
        self._came_bytes = 0
        self.expiring = False

    def take(self, batch: Batch) -> None:
        """Turns a batch into rows, which `write` writes."""
        self._now_ms = batch.now_ms
        open_sources = {line.source for line in self._open_lines.values()}
        self._routes = {key: route for key, route in self._routes.items() if key in open_sources} | dict(batch.routes)
        for output in batch.outputs:
            if isinstance(output, Whole):
                chunks = [joined_chunk(output.at_ms, output.line, output.data_at_ms, output.data)]
            else:
                chunks = self._chunks(output)
            self._came_bytes += sum(len(chunk.data) for chunk in chunks)
            self._keep(output.source, output.request_id, chunks)
        if batch.expire or self._came_bytes >= self._total_bytes // EXPIRE_SHARE:
            self._came_bytes = 0
            self.expiring = True

    def _chunks(self, output: Output) -> list[Chunk]:
        open_line, pieces = self._open_lines.pop(output.call, None), output.pieces
        if open_line is None:
            chunk = whole_chunk(pieces) if pieces else None
            if chunk is not None:
                return [chunk]
            open_line = OpenLine(output.source, output.request_id, Splitter())
        splitter = open_line.splitter
        chunks = splitter.cut(pieces) if pieces else []
        if output.cut:
            return chunks + splitter.end()
        if splitter.waits:
            self._open_lines[output.call] = open_line
        return chunks

    def _keep(self, source: SourceKey, request_id: str, chunks: list[Chunk]) -> None:
        if self._age_ms:
            self._unwritten += [Row(source, request_id, chunk) for chunk in chunks]
        route = self._routes.get(source)
        if route is not None and self._function_logs is not None:
            self._function_logs.take(route, source, chunks)

    def write_to_logstores(self) -> tuple[list[int], str]:
        """As `FunctionLogs.write`."""
        return self._function_logs.write(self._now_ms) if self._function_logs is not None else ([], "")

    def write(self) -> int:
        """Writes all taken rows in one transaction; returns their number. May be retried after a sqlite_file.Error."""
        count = len(self._unwritten)
        if count:
            self._writer.write(self._unwritten, self._now_ms)
            self._unwritten = []
        return count

    def give_up(self) -> None:
        """Drops all unwritten rows, because taking or writing them cannot succeed."""
        self._unwritten = []
        self._open_lines = {}

    def expire(self) -> None:
        """One step of retention; `expiring` says whether there is more to do. Raises sqlite_file.Error."""
        self.expiring = False
        if self._age_ms:
            self.expiring = self._writer.expire(self._now_ms - self._age_ms, self._total_bytes)

    def end(self) -> None:
        """Takes the lines that wait for a newline, because none will come."""
        for line in self._open_lines.values():
            self._keep(line.source, line.request_id, line.splitter.end())
        self._open_lines = {}


class _Conversation:
    """Reads batches and sends their results until Sesame closes the socket."""

    def __init__(self, sock: socket.socket, writer: LogWriter, batches: BatchWriter) -> None:
        self._sock = sock
        self._writer = writer
        self._batches = batches
        self._frames = Frames()
        self._number = 0
        self._sealing = Sealing(writer)
        self._decode = msgspec.msgpack.Decoder(Batch | Asked).decode

    def run(self) -> None:
        """Raises sqlite_file.Error if, after the end, the last lines cannot be written."""
        while True:
            if self._batches.expiring and not self._readable(0):
                self._expire()
                continue
            piece = self._receive()
            if not piece:
                break
            for number, body in self._frames.add(piece):
                self._number = number
                self._keep(number, body)
        self._batches.end()
        try:
            self._batches.write()
        finally:
            _logstores, problem = self._batches.write_to_logstores()
            if problem:
                sys.stderr.write(f"sesame: {problem}\n")

    def _receive(self) -> bytes:
        """Empty at the end; also after a reset, if Sesame was killed before it had read all results."""
        try:
            return self._sock.recv(_READ_BYTES)
        except ConnectionResetError:
            return b""

    def _keep(self, number: int, body: bytes) -> None:
        """Writes one batch, retrying until that succeeds or Sesame is gone. Answers other requests."""
        try:
            batch = self._decode(body)
            if not isinstance(batch, Batch):
                self._say(number, self._answer(batch))
                return
            self._batches.take(batch)
            while isinstance(written := self._try_to_write(), sqlite_file.Error):
                if sqlite_file.is_damage(written):
                    self._say(0, Tried(notice=self._writer.replace()))
                    continue
                self._say(number, Tried(str(written)))
                if self._hung_up():
                    return
        except Exception:  # noqa: BLE001 - a defect: this batch may be its cause, and is given up
            self._batches.give_up()
            self._say(number, Tried(traceback.format_exc(), given_up=True))
            return
        logstores, notice = self._batches.write_to_logstores()
        if notice:
            self._say(0, Tried(notice=notice))
        self._say(number, Tried(logstores=logstores))
        # Old lines are deleted as fast as new ones come.
        for _step in range(1 + written // ROWS_DELETED_TOGETHER):
            if self._batches.expiring:
                self._expire()

    def _answer(self, asked: Asked) -> Tried:
        try:
            if isinstance(asked, Begin):
                self._sealing.begin(asked.known)
                return Tried()
            if isinstance(asked, Seal):
                self._sealing.mark(asked.done)
                return Tried(sealed=self._sealing.next())
            if isinstance(asked, Join):
                return Tried(sealed=joined(asked.segments, asked.data))
            if isinstance(asked, Take):
                return Tried(notice=self._sealing.take(asked.segment, asked.data))
            return Tried(here=self._sealing.here())
        except Damaged as damage:
            return Tried(notice=str(damage))
        except sqlite_file.Error as error:
            if sqlite_file.is_damage(error):
                self._say(0, Tried(notice=self._writer.replace()))
            return Tried(str(error))

    def _try_to_write(self) -> int | sqlite_file.Error:
        try:
            return self._batches.write()
        except sqlite_file.Error as error:
            return error

    def _expire(self) -> None:
        try:
            self._batches.expire()
        except sqlite_file.Error as error:
            if sqlite_file.is_damage(error):
                self._say(0, Tried(notice=self._writer.replace()))
            else:
                self._say(0, Tried(f"old lines cannot be deleted: {error}"))
        if not self._batches.expiring:
            self._say(self._number, Tried(expired=True))

    def _hung_up(self) -> bool:
        """Waits a moment, or less if the other side closes."""
        poll = select.poll()
        poll.register(self._sock, _HUNG_UP)
        return bool(poll.poll(RETRY_EVERY_S * 1000))

    def _readable(self, timeout_s: float) -> bool:
        # Not `select`, which refuses descriptors from 1,024 on: this one has the same number as in the server.
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def _say(self, number: int, tried: Tried) -> None:
        try:
            self._sock.sendall(frame(number, tried))
        except OSError:
            # Sesame is gone; the data that it sent before are still read and written.
            return


def main(fd: str, path: str, total_bytes: str, age_s: str, next_id: str, after_ms: str, logstores: str = "") -> int:
    os.nice(NICENESS)
    sock = socket.socket(fileno=int(fd))
    writer = LogWriter(Path(path), int(next_id), int(after_ms))
    try:
        notice = writer.open() if float(age_s) else ""
    except ConfigurationError as error:
        sock.sendall(frame(0, Tried(str(error), given_up=True)))
        return 2
    # If Sesame is gone, the data that it sent before are still read and written.
    with contextlib.suppress(ConnectionError):
        sock.sendall(frame(0, Tried(notice=notice)))
    function_logs = FunctionLogs(Path(logstores)) if logstores else None
    try:
        batches = BatchWriter(writer, int(total_bytes), float(age_s), function_logs)
        _Conversation(sock, writer, batches).run()
    except sqlite_file.Error as error:
        sys.stderr.write(f"sesame: the last lines of functions could not be written and are lost: {error}\n")
        return 1
    finally:
        writer.close()
        if function_logs is not None:
            function_logs.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
