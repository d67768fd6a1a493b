"""Runs the asynchronous calls that the writer hands over to a follower, each like one of the follower's own calls.

Used by `agents.follower`. A call belongs to the link that it came over and is cancelled when that ends. Its result is
never reported to a later writer, which may have started the invocation elsewhere by then.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import psutil
import structlog

from sesame.agents import messages as m
from sesame.agents.calls import OwnInstances
from sesame.agents.endings import kind_of
from sesame.agents.link import Link
from sesame.engine.host_load import HostLoad
from sesame.engine.instance import State
from sesame.engine.pool import Pool
from sesame.engine.steps import STOPPED
from sesame.model.clocks import Clocks
from sesame.model.errors import SesameError
from sesame.model.invocation import Outcome, of_version
from sesame.model.last_wait import LastWait
from sesame.model.snapshot import Snapshot

# How long calls that `close` has cancelled get to end their instances.
CUT_WITHIN_S = 5.0

log = structlog.get_logger("sesame.agents")


class RunsEngine(Protocol):
    """The part of `engine.running.LocalEngine` that is used here."""

    pool: Pool
    invoke: Callable[..., Awaitable[Outcome]]

    @property
    def calls_in_flight(self) -> int: ...

    @property
    def calls_ended(self) -> int: ...


class Runs:
    """Must be used in one event loop. Before `use`, every call is declined."""

    def __init__(self, clocks: Clocks) -> None:
        self._running: dict[int, asyncio.Task[m.Ran]] = {}
        # Calls of previous links: they have been cancelled, and their instances are ending.
        self._ending: set[asyncio.Task[m.Ran]] = set()
        self._wait = LastWait(clocks, lambda: self._running or self._ending)
        self._link: Link | None = None
        self._engine: RunsEngine | None = None
        self._own: OwnInstances | None = None
        self._load = HostLoad()
        self._cores = psutil.cpu_count() or 1
        # How many of these calls have returned an outcome.
        self._ended = 0
        self._told = (0, 0)
        self._is_new = True
        self._closed = False

    def use(self, engine: RunsEngine, own: OwnInstances) -> None:
        self._engine, self._own = engine, own

    def met(self, link: Link) -> None:
        """There is a new link to a writer."""
        self._link, self._is_new = link, True

    def lost(self) -> None:
        """The link has ended: cancels its calls. Numbers over the next link start from 1 again."""
        self._link = None
        for task in self._running.values():
            task.cancel()
        self._ending.update(self._running.values())
        self._running.clear()

    def take(self, message: m.Run | m.EndRun) -> None:
        if isinstance(message, m.Run):
            assert self._link is not None
            self._begin(message, self._link)
        elif (running := self._running.get(message.n)) is not None:
            running.cancel(STOPPED if message.stopped else None)

    def _begin(self, run: m.Run, link: Link) -> None:
        own, snapshot = self._own, self._served(run)
        if own is None or snapshot is None:
            link.send(m.Ran(run.n, None, m.NOT_HERE, "", idle=False))
            if run.instance_id:
                link.send(m.Gone(run.instance_id))
            return
        task = asyncio.get_running_loop().create_task(self._called(run, link))
        if run.instance_id:
            own.credits.grant(run.key, run.instance_id, task)
        elif snapshot.limits.concurrency > 1:
            # A place was reserved for the call.
            own.idle.came(run.key)
            own.idle.joins(snapshot, task)
        self._running[run.n] = task
        task.add_done_callback(lambda _task: self._over(run.n, task, link))

    def _over(self, n: int, task: "asyncio.Task[m.Ran]", link: Link) -> None:
        if self._running.get(n) is task:
            del self._running[n]
        self._ending.discard(task)
        try:
            # A task cancelled before its first step has no result.
            link.send(_cut(n) if task.cancelled() else self._with_idle(task.result()))
        except Exception as error:
            # Send an answer in any case: the writer waits for one as long as this agent lives.
            log.exception("what came of an asynchronous invocation cannot be told")
            link.send(
                m.Ran(n, None, kind_of(error), "its agent cannot tell what came of it; its log says why", idle=False)
            )
        self._wait.look()

    def tell(self) -> None:
        """Reports this agent's load to the writer, unless it is idle and nothing has changed.

        The first report over a new link also confirms that no call of the previous link is left.
        """
        engine = self._engine
        if engine is None or self._link is None or self._ending:
            return
        others = max(engine.calls_in_flight - len(self._running), 0)
        told = others, engine.calls_ended - self._ended
        if self._is_new or self._running or others or told != self._told:
            self._is_new, self._told = False, told
            self._link.send(m.Loaded(self._load.sample(), self._cores, *told))

    async def close(self, patience_s: float) -> None:
        """Declines further calls. Running ones have `patience_s` seconds to end and are then cancelled."""
        self._closed = True
        await self._wait.patiently(patience_s)
        for task in list(self._running.values()):
            task.cancel()
        await self._wait.at_most(CUT_WITHIN_S)

    def hurry(self) -> None:
        """Ends the waiting of `close` at once, also if called before it."""
        self._wait.hurry()

    def _served(self, run: m.Run) -> Snapshot | None:
        """The call's snapshot if it is run here. None if not, and while this agent shuts down."""
        called = of_version(run.invocation.target, run.invocation.version)
        snapshot = None if self._closed or self._own is None else self._own.served.of(called)
        return snapshot if snapshot is not None and snapshot.key == run.key else None

    async def _called(self, run: m.Run, link: Link) -> m.Ran:
        engine, own = self._engine, self._own
        assert engine is not None
        assert own is not None

        def began(instance_id: str) -> None:
            own.held.are_busy((instance_id,))
            link.send(m.Began(run.n, instance_id), soon=False)

        try:
            outcome = await engine.invoke(run.invocation, began)
        except asyncio.CancelledError:
            return _cut(run.n)
        except Exception as error:
            if not isinstance(error, SesameError):
                # The writer gets only the error's text, so log the traceback here.
                log.exception("an asynchronous invocation was not run", request_id=run.invocation.request_id)
            return m.Ran(run.n, None, kind_of(error), str(error), idle=False)
        self._ended += 1
        if outcome.log is not None:
            # It was held to be recorded here.
            outcome = msgspec.structs.replace(outcome, log=None)
        return m.Ran(run.n, outcome, "", "", idle=False)

    def _with_idle(self, ran: m.Ran) -> m.Ran:
        """Adds whether the instance is idle now: another call may have taken it since this one ended."""
        assert self._engine is not None
        assert self._own is not None
        instance = None if ran.outcome is None else self._engine.pool.instance(ran.outcome.instance_id)
        if instance is None or instance.state is not State.IDLE:
            return ran
        self._own.held.is_idle(instance.instance_id)
        return msgspec.structs.replace(ran, idle=True)


def _cut(n: int) -> m.Ran:
    return m.Ran(n, None, kind_of(asyncio.CancelledError()), "the agent that ran the call has cut it off", idle=False)
