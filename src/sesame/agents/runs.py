"""Asynchronous calls that the writer has handed over to a follower, which runs each as one of its own calls.

Used by `agents.follower`. A call belongs to the link that it came over: it ends with that, and nothing is told of it to
another writer, which may have given the invocation to somebody else by then.
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

# After the patience of `close`, calls that are cut get so long to end their instances.
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
    """Belongs to one event loop. `use` what was built, before the writer is there."""

    def __init__(self, clocks: Clocks) -> None:
        self._running: dict[int, asyncio.Task[m.Ran]] = {}
        # Of links before: they have been cancelled, and their instances end.
        self._ending: set[asyncio.Task[m.Ran]] = set()
        self._wait = LastWait(clocks, lambda: self._running or self._ending)
        self._link: Link | None = None
        self._engine: RunsEngine | None = None
        self._own: OwnInstances | None = None
        self._load = HostLoad()
        self._cores = psutil.cpu_count() or 1
        # Of what has ended, how many were of these calls.
        self._ended = 0
        self._told = (0, 0)
        self._is_new = True
        self._closed = False

    def use(self, engine: RunsEngine, own: OwnInstances) -> None:
        self._engine, self._own = engine, own

    def met(self, link: Link) -> None:
        """There is a new link."""
        self._link, self._is_new = link, True

    def lost(self) -> None:
        """The link has ended. The next one counts from one again."""
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
            # A place was kept for it.
            own.idle.came(run.key)
            own.idle.joins(snapshot, task)
        self._running[run.n] = task
        task.add_done_callback(lambda _task: self._over(run.n, task, link))

    def _over(self, n: int, task: "asyncio.Task[m.Ran]", link: Link) -> None:
        if self._running.get(n) is task:
            del self._running[n]
        self._ending.discard(task)
        try:
            # One that is cancelled before its first step says nothing.
            link.send(_cut(n) if task.cancelled() else self._with_rest(task.result()))
        except Exception as error:
            # The writer waits for an answer as long as this agent lives.
            log.exception("what came of an asynchronous invocation cannot be told")
            link.send(
                m.Ran(n, None, kind_of(error), "its agent cannot tell what came of it; its log says why", idle=False)
            )
        self._wait.look()

    def tell(self) -> None:
        """Has the writer know how busy it is here, where anything is.

        The first that is told over a new link says that nothing is left of what came over the one before.
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
        """No further ones from here on; those that run have `patience_s` to end, and are cut then."""
        self._closed = True
        await self._wait.patiently(patience_s)
        for task in list(self._running.values()):
            task.cancel()
        await self._wait.at_most(CUT_WITHIN_S)

    def hurry(self) -> None:
        """Ends the patience of `close`; also before it comes to that."""
        self._wait.hurry()

    def _served(self, run: m.Run) -> Snapshot | None:
        """None for what is not run here; nor is anything while this agent ends, which may take as long as its calls."""
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
                # The writer is told no more than its text.
                log.exception("an asynchronous invocation was not run", request_id=run.invocation.request_id)
            return m.Ran(run.n, None, kind_of(error), str(error), idle=False)
        self._ended += 1
        return m.Ran(run.n, outcome, "", "", idle=False)

    def _with_rest(self, ran: m.Ran) -> m.Ran:
        """With whether its instance is idle now: another call may have taken it since this one ended."""
        assert self._engine is not None
        assert self._own is not None
        instance = None if ran.outcome is None else self._engine.pool.instance(ran.outcome.instance_id)
        if instance is None or instance.state is not State.IDLE:
            return ran
        self._own.held.is_idle(instance.instance_id)
        return msgspec.structs.replace(ran, idle=True)


def _cut(n: int) -> m.Ran:
    return m.Ran(n, None, kind_of(asyncio.CancelledError()), "the agent that ran it has cut it off", idle=False)
