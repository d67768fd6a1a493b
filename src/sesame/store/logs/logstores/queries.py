"""Has queries answered on threads, a few at a time, each within its deadline. What they look at is `answering`.

Used by `store`.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgspec

from sesame.model.clocks import Clocks
from sesame.store.logs.logstores import interface
from sesame.store.logs.logstores.metadata import Known
from sesame.store.logs.logstores.reading import Reader
from sesame.store.logs.logstores.segment_files import SegmentFiles

if TYPE_CHECKING:
    from sesame.store.logs.logstores.answering import Answers, Interrupt

T = TypeVar("T")

# The others wait for their turn, and their deadlines count meanwhile.
QUERIES_AT_ONCE = 2


class Queries:
    """Belongs to one event loop."""

    def __init__(self, reader: Reader, files: SegmentFiles, clocks: Clocks) -> None:
        self._reader = reader
        self._files = files
        self._clocks = clocks
        self._threads = ThreadPoolExecutor(QUERIES_AT_ONCE, "log-query")
        self._loaded: Answers | None = None
        self._running: set[Interrupt] = set()

    async def close(self) -> None:
        """Ends what runs; nothing may be asked afterwards."""
        for interrupt in self._running:
            interrupt.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self._loaded is not None:
            self._loaded.close()

    async def query(self, known: Known, query: interface.Query) -> interface.Result:
        began, now_s = self._clocks.monotonic(), self._clocks.wall()
        answers = await self._answers()
        result = await self._in_time(query.deadline_s, lambda interrupt: answers.query(known, query, now_s, interrupt))
        return msgspec.structs.replace(result, elapsed_ms=int((self._clocks.monotonic() - began) * 1000))

    async def histogram(self, known: Known, query: interface.Query) -> Sequence[interface.Bar]:
        answers, now_s = await self._answers(), self._clocks.wall()
        return await self._in_time(
            query.deadline_s, lambda interrupt: answers.histogram(known, query, now_s, interrupt)
        )

    async def context(
        self, known: Known, pack_id: str, pack_meta: str, back: int, forward: int
    ) -> interface.Surroundings:
        answers = await self._answers()
        return await self._in_time(
            interface.QUERY_DEADLINE_S,
            lambda interrupt: answers.context(known, pack_id, pack_meta, back, forward, interrupt),
        )

    async def _answers(self) -> "Answers":
        if self._loaded is None:
            self._loaded = await self._on_thread(self._load)
        return self._loaded

    def _load(self) -> "Answers":
        from sesame.store.logs.logstores.answering import Answers

        return Answers(self._reader, self._files)

    async def _in_time(self, deadline_s: float, answer: "Callable[[Interrupt], T]") -> T:
        from sesame.store.logs.logstores.answering import Interrupt

        interrupt = Interrupt()
        self._running.add(interrupt)
        deadline = self._clocks.call_later(deadline_s, interrupt.set)
        try:
            return await self._on_thread(lambda: answer(interrupt))
        finally:
            # Also when the caller is gone: then no thread is kept busy for nobody.
            interrupt.set()
            deadline.cancel()
            self._running.discard(interrupt)

    async def _on_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)
