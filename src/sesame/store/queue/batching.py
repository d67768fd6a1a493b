"""Combines concurrent operations on a queue into one request to the writer.

Used by both queues. Operations of one loop iteration form one request; operations that arrive while that request waits
for the commit before it join it. Patient operations wait for others, because a commit costs more than its content.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from sesame.store.sql.database import Database

Op = TypeVar("Op")
Note = TypeVar("Note")
Asked = tuple[Op, "asyncio.Future[Any]"]

# How long patient operations wait for others, and how many may wait.
COMPANY_S, COMPANY_MAX = 0.003, 64

log = structlog.get_logger(__name__)


class Applied(msgspec.Struct, Generic[Note], frozen=True):
    """The result of each op, in order, and a note for the queue after the commit."""

    results: list[Any]
    note: Note


class Doubt(Exception):
    """Raised by `apply` if an assumption was wrong: `again` must be called in another transaction."""

    def __init__(self, again: Callable[[sa.Connection], Applied[Any]]) -> None:
        super().__init__()
        self.again = again


class Batch(Generic[Op, Note]):
    """`apply(connection, ops)` runs on the writer's thread, and may raise `Doubt`.

    On the loop, in order of commit and before the callers continue, `committed(note)` is called, and `dropped(op,
    result)` for each caller that was cancelled meanwhile: its change is committed nevertheless.
    """

    def __init__(
        self,
        database: Database,
        apply: Callable[[sa.Connection, list[Op]], Applied[Note]],
        committed: Callable[[Note], None],
        dropped: Callable[[Op, Any], None],
    ) -> None:
        self._database = database
        self._apply = apply
        self._committed = committed
        self._dropped = dropped
        # Both threads use these. `_coming`: a request is queued at the writer and will take everything waiting then.
        self._lock = threading.Lock()
        self._waiting: list[Asked[Op]] = []
        self._coming = False
        self._company: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def ask(self, op: Op, *, patient: bool = False) -> "asyncio.Future[Any]":
        """The result of `op`, once it is committed. Raises `PlatformError` if that failed.

        A `patient` op is sent with the next one, or after `COMPANY_S`. The op is added before this returns.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting.append((op, future))
            wait = self._coming or (patient and len(self._waiting) < COMPANY_MAX)
            self._coming = self._coming or not wait
        if not wait:
            loop.call_soon(self._send_soon)
        elif patient and self._company is None:
            self._company = loop.call_later(COMPANY_S, self._hurry)
        return future

    def order(self, op: Op) -> "asyncio.Future[Any]":
        """Sends `op` without waiting; a failure is logged."""
        future = self.ask(op)
        future.add_done_callback(_log_failure)
        return future

    def _hurry(self) -> None:
        """Sends the ops that wait for others."""
        self._company = None
        with self._lock:
            send = bool(self._waiting) and not self._coming
            self._coming = self._coming or send
        if send:
            self._send_soon()

    async def settle(self) -> None:
        """Returns when every op has its result."""
        if self._company is not None:
            self._company.cancel()
        self._hurry()
        while self._sending or self._waiting:
            await asyncio.sleep(0)
            await asyncio.gather(*self._sending, return_exceptions=True)

    def _send_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self._send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self) -> None:
        batch: list[Asked[Op]] = []

        def run(connection: sa.Connection) -> Applied[Note]:
            if not batch:
                batch.extend(self._take())
            return self._apply(connection, [op for op, _ in batch])

        def answer(applied: Applied[Note]) -> None:
            self._committed(applied.note)
            for (op, future), result in zip(batch, applied.results, strict=True):
                if future.done():
                    self._dropped(op, result)
                else:
                    future.set_result(result)

        try:
            try:
                await self._database.write(run, on_commit=answer)
            except Doubt as doubt:
                await self._database.write(doubt.again, on_commit=answer)
        except BaseException as error:
            for _, future in batch or self._take():
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def _take(self) -> list[Asked[Op]]:
        with self._lock:
            taken, self._waiting, self._coming = self._waiting, [], False
        return taken


def _log_failure(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a change of the queue that no caller waits for failed", error=str(error))
