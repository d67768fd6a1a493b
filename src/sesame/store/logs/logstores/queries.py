"""Runs queries in processes, each within its deadline: a query that exceeds it is interrupted, then killed.

Used by `store`.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sesame.model.clocks import Clocks
from sesame.model.durations import Durations
from sesame.model.errors import CallerError, Invalid, NotFound, PlatformError
from sesame.model.logstore import LOG_INDEX
from sesame.store.logs.logstores import interface
from sesame.store.logs.logstores.known import Known
from sesame.store.logs.logstores.measuring import ANSWERED, FAILED, REFUSED
from sesame.store.logs.logstores.query_processes import (
    PROCESSES_MAX,
    QueryProcess,
    QueryProcessEnded,
    QueryProcesses,
)
from sesame.store.logs.logstores.query_protocol import (
    Answer,
    Around,
    Bars,
    ContextAsked,
    Failed,
    Found,
    HistogramAsked,
    Place,
    ProjectSql,
    ProjectSqlAsked,
    Question,
    Refused,
    Said,
    SearchAsked,
    Wrong,
)
from sesame.store.logs.query.refusals import QueryRefused, ended_abnormally, too_long

# A query that continues for this long after an interrupt is killed with its process.
KILLED_AFTER_S = 3.0


OnDamage = Callable[[Sequence[tuple[int, int, int]]], None]


class _Running:
    """One question, from the time it is asked. The event loop can end it while a thread waits for a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: QueryProcess | None = None
        self.is_late = False

    def begin(self, process: QueryProcess) -> None:
        """Raises `QueryRefused` if the deadline has already passed."""
        with self._lock:
            self._process = process
        if self.is_late:
            raise too_long(interface.QUERY_DEADLINE_S)

    def end(self) -> None:
        """After this, the process may answer another question."""
        with self._lock:
            self._process = None

    def interrupt(self) -> None:
        self.is_late = True
        with self._lock:
            if self._process is not None:
                self._process.interrupt()

    def kill(self) -> None:
        self.is_late = True
        with self._lock:
            if self._process is not None:
                self._process.kill()


class Queries:
    """Belongs to one event loop. The caller closes `processes`, after this.

    `on_damage` is called with segments that queries found damaged (logstore, first group, end). `durations`, by
    outcome, get the time of each query, including waiting.
    """

    def __init__(
        self,
        file: Path,
        segments: Path,
        clocks: Clocks,
        processes: QueryProcesses,
        on_damage: OnDamage,
        durations: Mapping[str, Durations],
    ) -> None:
        self._on_damage = on_damage
        self._durations = durations
        self._place = Place(str(file), str(segments))
        self._clocks = clocks
        self._processes = processes
        self._threads = ThreadPoolExecutor(PROCESSES_MAX, "log-query")
        self._running: set[_Running] = set()

    async def close(self) -> None:
        """Ends running queries; nothing may be asked afterwards."""
        for running in self._running:
            running.kill()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def keep_ready(self) -> None:
        """Keeps a process ready, so that the first query does not wait for one to start."""
        await asyncio.to_thread(self._processes.keep_ready)

    async def query(self, known: Known, query: interface.Query) -> interface.Result:
        _require_index(known)
        began = self._clocks.monotonic()
        said = await self._ask(SearchAsked(known, query, self._clocks.wall()), query.deadline_s)
        assert isinstance(said, Found)
        return msgspec.structs.replace(said.result, elapsed_ms=int((self._clocks.monotonic() - began) * 1000))

    async def histogram(self, known: Known, query: interface.Query) -> Sequence[interface.Bar]:
        _require_index(known)
        said = await self._ask(HistogramAsked(known, query, self._clocks.wall()), query.deadline_s)
        assert isinstance(said, Bars)
        return said.bars

    async def context(
        self, known: Known, pack_id: str, pack_meta: str, back: int, forward: int
    ) -> interface.Surroundings:
        said = await self._ask(ContextAsked(known, pack_id, pack_meta, back, forward), interface.QUERY_DEADLINE_S)
        assert isinstance(said, Around)
        return said.surroundings

    async def project_sql(self, sql: str) -> tuple[str, str]:
        said = await self._ask(ProjectSqlAsked(sql), interface.QUERY_DEADLINE_S)
        assert isinstance(said, ProjectSql)
        return said.logstore, said.text

    async def _ask(self, question: Question, deadline_s: float) -> Said:
        """Raises the error that the answer contains."""
        began, outcome = self._clocks.monotonic(), FAILED
        try:
            said = await self._said(question, deadline_s)
            outcome = ANSWERED
        except CallerError:
            outcome = REFUSED
            raise
        finally:
            self._durations[outcome].add(self._clocks.monotonic() - began)
        return said

    async def _said(self, question: Question, deadline_s: float) -> Said:
        running = _Running()
        self._running.add(running)
        timers = [
            self._clocks.call_later(deadline_s, running.interrupt),
            self._clocks.call_later(deadline_s + KILLED_AFTER_S, running.kill),
        ]
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._answer, running, question)

        def ended(asked: "asyncio.Future[Answer]") -> None:
            self._running.discard(running)
            for timer in timers:
                timer.cancel()
            if not asked.cancelled():
                # Retrieved here, because the caller may be gone.
                asked.exception()

        asked.add_done_callback(ended)
        try:
            answer = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # No process stays busy for a caller that is gone.
            running.interrupt()
            timers.append(self._clocks.call_later(KILLED_AFTER_S, running.kill))
            raise
        if answer.damaged:
            self._on_damage(answer.damaged)
        match said := answer.said:
            case Refused(message, part):
                raise QueryRefused(message, part)
            case Wrong(field, allowed, actual):
                raise Invalid(field, allowed, actual)
            case Failed(traceback):
                raise PlatformError(f"a query failed: {traceback}")
        return said

    def _answer(self, running: _Running, question: Question) -> Answer:
        """Runs on a thread."""
        process = self._processes.take()
        try:
            running.begin(process)
            return process.ask(self._place, question)
        except QueryProcessEnded as ended:
            raise (too_long(interface.QUERY_DEADLINE_S) if running.is_late else ended_abnormally(str(ended))) from ended
        finally:
            running.end()
            self._processes.give_back(process)


def _require_index(known: Known) -> None:
    if known.index is None:
        raise NotFound(LOG_INDEX, known.logstore.name, (known.logstore.project,))
