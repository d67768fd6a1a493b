"""Sesame's side of the log writer process: starts it, sends batches, receives results, restarts it when it dies.

Used by `store.logs.intake`; the process itself is `store.logs.writer_process`. A batch is held until the process has
written it or given it up.
"""

import asyncio
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from sesame.model.errors import ConfigurationError, PlatformError
from sesame.own_files import OWN_FILES
from sesame.store.logs.shared.segment import Damaged, Range, Sealed, Segment
from sesame.store.logs.wire import Asked, Batch, Begin, Frames, Join, Seal, Take, Tried, WhatIsHere, frame

RESTART_AFTER_S = 1.0
DEATHS_MAX = 3
# Twice SQLite's timeout for a locked file, plus a margin.
END_TIMEOUT_S = 25.0
_MODULE = "sesame.store.logs.writer_process"

log = structlog.get_logger(__name__)
_decode = msgspec.msgpack.Decoder(Tried).decode


class _Sent(NamedTuple):
    number: int
    weight: int
    frame: bytes


class Numbering(NamedTuple):
    """In a cluster: new rows have ids from `next_id` on, and times that are not before `after_ms`."""

    next_id: int = 0
    after_ms: int = 0


_OF_ITS_OWN = Numbering()


class Logstores(NamedTuple):
    """The file of the logstores, and a callback with the numbers of those that got lines."""

    path: Path
    on_written: Callable[[list[int]], None]


class _Progress:
    """An increasing number, and futures that wait for it."""

    def __init__(self) -> None:
        self._number = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def reached(self, number: int) -> None:
        if self._number < number:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((number, waiter))
            await waiter

    def reach(self, number: int) -> None:
        self._number = max(self._number, number)
        for wanted, waiter in self._waiters:
            if wanted <= self._number and not waiter.done():
                waiter.set_result(None)
        self._waiters = [each for each in self._waiters if each[0] > self._number]


class LogWriterProcess(asyncio.Protocol):
    """One process at a time. `on_settled(weight)` is called for each batch that was written or given up.

    POLICY: when the process dies, the next one is sent the batches without a result. A batch whose result was lost is
    written twice; an unfinished last line of an earlier batch is lost.
    """

    def __init__(
        self,
        path: Path,
        total_bytes: int,
        age_s: float,
        on_settled: Callable[[int], None],
        logstores: Logstores | None = None,
        numbering: Numbering = _OF_ITS_OWN,
    ) -> None:
        self._path = path
        self._limits = str(total_bytes), str(age_s)
        self._numbering = numbering
        self._logstores = logstores
        self._on_settled = on_settled
        self._child: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._frames = Frames()
        self._sent: deque[_Sent] = deque()
        self._number = 0
        self._tried = _Progress()
        self._expired = _Progress()
        self._failing = False
        self._died_at = 0
        self._deaths = 0
        self._closing = False
        self._opened: asyncio.Future[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._notices: list[str] = []
        # Open requests, by number.
        self._asked: dict[int, asyncio.Future[Tried]] = {}

    @property
    def notices(self) -> list[str]:
        """Messages for the operator about the file, one line each."""
        return self._notices

    @property
    def pid(self) -> int:
        return self._child.pid if self._child is not None else 0

    async def open(self) -> None:
        """Raises `ConfigurationError` if the file cannot be used."""
        self._opened = asyncio.get_running_loop().create_future()
        await self._connect(self._spawn())
        await self._opened

    def send(self, batch: Batch, weight: int) -> None:
        """`weight` is passed to `on_settled`."""
        self._send(batch, weight)

    def _send(self, message: Batch | Asked, weight: int) -> None:
        self._number += 1
        sent = _Sent(self._number, weight, frame(self._number, message))
        self._sent.append(sent)
        if self._transport is not None:
            self._transport.write(sent.frame)

    async def _ask(self, message: Asked) -> Tried:
        if self._closing:
            raise PlatformError("the log writer process has ended")
        self._send(message, 0)
        answer: asyncio.Future[Tried] = asyncio.get_running_loop().create_future()
        self._asked[self._number] = answer
        tried = await answer
        if tried.error:
            raise PlatformError(f"{self._path} cannot be used: {tried.error}")
        return tried

    async def begin(self, known: list[Range]) -> None:
        """Reports that exactly these rows, in order, are in the bucket. Raises `PlatformError`."""
        await self._ask(Begin(known))

    async def seal(self, done: list[Range]) -> Sealed | None:
        """The oldest rows that are in no segment, after recording that those of `done` are. Raises `PlatformError`."""
        # A file that replaces a damaged one continues from there.
        next_id = max((self._numbering.next_id, *(each.end for each in done)))
        self._numbering = self._numbering._replace(next_id=next_id)
        return (await self._ask(Seal(done))).sealed

    async def take(self, segment: Segment, data: bytes | None) -> str:
        """Copies another node's segment; returns why it is lost, or "". Raises `PlatformError`."""
        return (await self._ask(Take(segment, data))).notice

    async def join(self, segments: Sequence[Segment], data: Sequence[bytes]) -> tuple[Segment, bytes]:
        """As `shared.segment.joined`. Raises `Damaged`, `PlatformError`."""
        tried = await self._ask(Join(list(segments), list(data)))
        if tried.sealed is None:
            raise Damaged(tried.notice)
        return tried.sealed.segment, tried.sealed.data

    async def here(self) -> list[Range]:
        """The bucket's rows that were written, or copied, here, in order. Raises `PlatformError`."""
        return (await self._ask(WhatIsHere())).here

    async def tried(self) -> None:
        """Returns when every batch sent so far was tried: it is in the file, or Sesame's log says why not."""
        await self._tried.reached(self._number)

    async def expired(self) -> None:
        """Returns when the requested deletions are done; the last sent batch must have requested them."""
        await self._expired.reached(self._number)

    async def close(self) -> None:
        """Makes the process write every batch and end; idempotent."""
        self._closing = True
        if self._restart is not None:
            self._restart.cancel()
        transport, child = self._transport, self._child
        if transport is None or child is None:
            if self._sent:
                log.error("log lines of functions are lost: the log writer process has ended")
            self._refuse_all()
            return
        transport.write_eof()
        try:
            status = await asyncio.to_thread(child.wait, END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            status = await asyncio.to_thread(child.wait)
        transport.abort()
        self._transport = None
        self._refuse_all()
        if status:
            log.error("log lines could not be written and are lost", status=status)

    def data_received(self, data: bytes) -> None:
        for number, body in self._frames.add(data):
            self._hear(number, _decode(body))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._closing:
            return
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(ConfigurationError("the log writer process ended while it started"))
            return
        log.error("the log writer process has ended; starting it again")
        self._restart = asyncio.get_running_loop().create_task(self._start_anew())

    def _spawn(self) -> socket.socket:
        """Starts a process; returns Sesame's end of the socket pair."""
        OWN_FILES.warn("the log writer process")
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), *self._arguments()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # So that the terminal's Ctrl-C does not reach it. Not a session of its own: the scheduler would give
                # that as large a share as all of Sesame.
                process_group=0,
            )
        return ours

    def _arguments(self) -> list[str]:
        logstores = [str(self._logstores.path)] if self._logstores is not None else []
        return [str(self._path), *self._limits, *map(str, self._numbering), *logstores]

    async def _connect(self, ours: socket.socket) -> asyncio.WriteTransport:
        self._frames = Frames()
        self._transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        return self._transport

    def _give_up_what_kills(self) -> None:
        """POLICY: a batch at which several processes in a row have died is not sent again."""
        first = self._sent[0].number if self._sent else 0
        self._deaths = self._deaths + 1 if first == self._died_at else 1
        self._died_at = first
        if self._sent and self._deaths >= DEATHS_MAX:
            log.error(
                f"log lines of functions are lost: each process that takes them dies{OWN_FILES.hint}",
                deaths=self._deaths,
            )
            self._settle(first)

    async def _start_anew(self) -> None:
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)
        self._give_up_what_kills()
        while True:
            await asyncio.sleep(RESTART_AFTER_S)
            try:
                transport = await self._connect(self._spawn())
            except Exception as error:  # noqa: BLE001 - until it starts, lines of functions wait in memory
                log.error("the log writer process does not start; trying again", error=str(error))
                continue
            for sent in self._sent:
                transport.write(sent.frame)
            return

    def _hear(self, number: int, tried: Tried) -> None:
        if not number:
            self._hear_of_opening(tried)
            return
        if tried.expired:
            self._expired.reach(number)
            return
        if (asked := self._asked.pop(number, None)) is not None:
            if not asked.done():
                asked.set_result(tried)
            self._settle(number)
            return
        if tried.error and not tried.given_up:
            if not self._failing:
                log.error("the log of functions cannot be written; trying again", error=tried.error)
            self._failing = True
            # Later batches wait behind it.
            self._tried.reach(self._number)
            return
        if tried.given_up:
            log.error("log lines of functions could not be taken in and are lost", error=tried.error)
        self._failing = False
        if tried.logstores and self._logstores is not None:
            self._logstores.on_written(tried.logstores)
        self._settle(number)

    def _hear_of_opening(self, tried: Tried) -> None:
        if tried.notice:
            log.warning(tried.notice)
            self._notices.append(tried.notice)
        if self._opened is None or self._opened.done():
            if tried.error:
                log.error("the log writer process has a problem", error=tried.error)
        elif tried.error:
            self._closing = True
            self._opened.set_exception(ConfigurationError(tried.error))
        else:
            self._opened.set_result(None)

    def _settle(self, number: int) -> None:
        while self._sent and self._sent[0].number <= number:
            sent = self._sent.popleft()
            self._on_settled(sent.weight)
            self._refuse(sent.number)
        self._tried.reach(number)

    def _refuse_all(self) -> None:
        for number in list(self._asked):
            self._refuse(number)

    def _refuse(self, number: int) -> None:
        """Fails a request that is still open."""
        asked = self._asked.pop(number, None)
        if asked is not None and not asked.done():
            asked.set_result(Tried("the log writer process has ended"))
