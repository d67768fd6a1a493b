"""Group commit: one thread runs the requests of many callers, and all requests waiting at a time share a commit.

Used by `store.sql.database` and by the logstores (`store.logs.logstores.commits`), which run the transaction.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import structlog

C = TypeVar("C")
T = TypeVar("T")

# POLICY: how many requests may share one commit, which limits how long the first of them waits.
REQUESTS_PER_COMMIT = 256

log = structlog.get_logger(__name__)


class Request(msgspec.Struct, Generic[C], frozen=True):
    """One caller's change. `on_commit` runs on the event loop, in order of commit, before the caller continues."""

    fn: Callable[[C], Any]
    on_commit: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Done(msgspec.Struct, Generic[C], frozen=True):
    request: Request[C]
    result: Any
    error: BaseException | None


class GroupCommit(Generic[C]):
    """`commit` runs on the thread, answers every request that it is given, in order, and raises nothing.

    `probe` runs there too, whenever there was no request for `probe_every_s`.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[Sequence[Request[C]]], Sequence[Done[C]]],
        probe: Callable[[], None] | None = None,
        probe_every_s: float | None = None,
    ) -> None:
        self._name = name
        self._commit = commit
        self._probe = probe
        self._probe_every_s = probe_every_s
        self._requests: queue.SimpleQueue[Request[C] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_open(self) -> bool:
        return self._thread is not None

    def open(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Finishes earlier requests; idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._requests.put(None)
            await asyncio.to_thread(thread.join)

    def ask(self, fn: Callable[[C], T], on_commit: Callable[[T], None] | None = None) -> "asyncio.Future[T]":
        """The result once it is committed. If the caller is cancelled, its change may happen or not, never in part.

        Call it only while this is open.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._requests.put(Request(fn, on_commit, loop, future))
        return future

    def _run(self) -> None:
        """Serves requests until the end. If a commit fails, its requests get the error and later ones are served."""
        last = False
        while not last:
            batch, last = self._next_batch()
            if batch:
                _answer(self._commit(batch))
            elif not last and self._probe is not None:
                self._probe()

    def _next_batch(self) -> tuple[list[Request[C]], bool]:
        """The waiting requests, at least one unless none came for a while; and whether the end was requested."""
        batch: list[Request[C]] = []
        try:
            request = self._requests.get(timeout=self._probe_every_s)
            while request is not None:
                batch.append(request)
                if len(batch) == REQUESTS_PER_COMMIT:
                    return batch, False
                request = self._requests.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True


def _answer(done: Sequence[Done[Any]]) -> None:
    """Wakes the callers, in order of commit, with one wake-up for consecutive answers to the same loop."""
    start = 0
    for end in range(1, len(done) + 1):
        if end == len(done) or done[end].request.loop is not done[start].request.loop:
            try:
                done[start].request.loop.call_soon_threadsafe(_resolve, done[start:end])
            except RuntimeError:
                log.warning("a loop was closed before its changes were answered", answers=end - start)
            start = end


def _resolve(done: Sequence[Done[Any]]) -> None:
    for answer in done:
        future = answer.request.future
        if answer.error is not None:
            if not future.done():
                future.set_exception(answer.error)
            continue
        # Also if the caller was cancelled, because the change is committed.
        if answer.request.on_commit is not None:
            try:
                answer.request.on_commit(answer.result)
            except Exception as error:
                # Raised only to this caller: the callers after it must get their results.
                log.exception("a committed change could not be passed on")
                if not future.done():
                    future.set_exception(error)
                continue
        if not future.done():
            future.set_result(answer.result)
