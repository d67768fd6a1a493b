"""`sesame start`: runs Sesame in the foreground until SIGTERM or SIGINT, and prints where it listens.

A second signal ends it without waiting for calls. `app` builds the components.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click
import uvloop

from sesame.app import Sesame, Substitutes
from sesame.cli import ending, output, own_log, restarting
from sesame.cli.call_lines import to_stderr
from sesame.cli.cluster_options import with_cluster
from sesame.cli.delegated import enter_scope, is_the_program
from sesame.cli.options import settle, with_settings
from sesame.engine.interface import Observer
from sesame.http.handover import Handover
from sesame.model.clocks import SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.model.exit_codes import EXIT_INTERRUPTED
from sesame.sandbox import descriptors
from sesame.settings import TABLE, Settings

# The modules for agents are imported only if several agents are requested.
if TYPE_CHECKING:
    from sesame._node import OfCluster
    from sesame.agents.this_agent import ThisAgent
    from sesame.cluster.members import Members

# The interval after which a running thread yields to a waiting one, a tenth of the default. The database's thread
# releases the interpreter with each statement, and until it gets it back, all callers whose change is in the commit
# wait (docs/adr/0013-a-queue-of-leases.md).
SWITCH_INTERVAL_S = 0.0005
# A constant of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 1024 * 1024


class StoppedAtOnce(Exception):
    """Everything has ended without waiting for running calls, as a second signal requested."""


@click.command()
@with_cluster
@with_settings()
def start(**flags: Any) -> None:
    """Starts Sesame: endpoints on --host, everything else in the data directory."""
    settings = settle(flags)
    enter_scope(settings.sandbox)
    handover = restarting.received() if is_the_program() else None
    own_log.configure()
    prepare()
    if settings.agents != "1" or restarting.AGENTS_KEPT in os.environ:
        from sesame.cli import agents

        if agents.count(settings) > 1 or restarting.AGENTS_KEPT in os.environ:
            sys.exit(
                agents.supervise(
                    settings, lambda this_agent: ending.run(lambda: _be_agent(settings, this_agent)), handover
                )
            )
    try:
        uvloop.run(serve(settings, handover))
    except (StoppedAtOnce, asyncio.CancelledError):
        output.note("Stopped at once.")
        sys.exit(EXIT_INTERRUPTED)
    if handover is not None and handover.begun:
        raise ConfigurationError(restarting.begin_anew(handover))


def prepare() -> None:
    """Configures this process, and those forked from it, to run a Sesame."""
    _allow_many_descriptors()
    _map_large_blocks()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _be_agent(settings: Settings, this_agent: "ThisAgent") -> int:
    """Runs one of several agents in its own process until it ends; returns the exit code."""
    try:
        if this_agent.is_writer:
            uvloop.run(serve(settings, None, this_agent))
        else:
            uvloop.run(follow(settings, this_agent))
    except (StoppedAtOnce, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    return 0


def _allow_many_descriptors() -> None:
    """Raises the soft limit on open files, often 1,024, to the hard limit: connections and instances need them."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for soft in (hard, descriptors.OPEN_MAX):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            return


def _map_large_blocks() -> None:
    """Makes the C library map each block of 1 MiB or more separately, and unmap it when it is freed.

    By default, glibc stops doing so after the first large block: a growing body of 100 MB is then copied repeatedly,
    which blocks the event loop, and freed memory stays with the process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


async def follow(settings: Settings, this_agent: "ThisAgent", of_cluster: "OfCluster | None" = None) -> None:
    """Like `serve`, for an agent beside the writer, or a node's follower."""
    from sesame._follower import FollowerSesame

    follower = FollowerSesame(settings, SystemClocks(), this_agent, of_cluster)
    signals = _Signals(None)
    this_agent.stop_by(signals.stop)

    def started() -> None:
        this_agent.ready()
        signals.hurry_by(follower.hurry)

    try:
        await _until(signals.stopping, follower.start(), started)
    finally:
        await follower.stop()
        this_agent.end()
    signals.check_hurry()


async def _until(stopping: asyncio.Event, start: Coroutine[Any, Any, None], started: Callable[[], None]) -> None:
    """Runs `start`, then calls `started`, and waits until `stopping` is set, which also cancels an unfinished start."""
    starting = asyncio.ensure_future(start)
    waiting = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            # Objects created by the start live as long as the process: exempt them from garbage collection.
            gc.collect()
            gc.freeze()
            started()
            await waiting
        else:
            starting.cancel()
            await asyncio.wait({starting})
    finally:
        waiting.cancel()


async def serve(
    settings: Settings,
    handover: Handover | None,
    this_agent: "ThisAgent | None" = None,
    members: "Members | None" = None,
) -> None:
    """Starts Sesame, waits for a signal, and stops. Afterwards the program restarts if `handover` has begun.

    `handover` is None if another program embeds this one. With `this_agent`, this is the writer among several agents;
    with `members`, the writer of a cluster.
    """
    signals = _Signals(handover)
    clocks = SystemClocks()
    calls = to_stderr(clocks, failures_only=settings.calls == "failed")
    shown = settings.calls != "none"
    given = Substitutes(
        handover=handover if this_agent is None else this_agent.handover, this_agent=this_agent, members=members
    )
    sesame = Sesame(settings, clocks, Observer(ended=calls.take) if shown else None, given)
    if this_agent is not None:
        this_agent.stop_by(signals.stop)
    if shown:
        calls.open()
    output.note(f"Starting Sesame on {sesame.data_dir.path} …")

    def started() -> None:
        greet(sesame, settings)
        if this_agent is not None:
            this_agent.refuse_by(sesame.refuse_restart)
            this_agent.ready()
        signals.hurry_by(sesame.hurry)
        signals.restart_by(sesame.refuse_restart)

    try:
        await _until(signals.stopping, sesame.start(), started)
        time_left = f"running ones get {settings.drain_s:g} s to end"
        if handover is not None and handover.begun:
            output.note(f"Restarting: new calls wait; {time_left} …")
        elif this_agent is not None and this_agent.handover.begun:
            output.note(f"Agent {this_agent.agent} is replaced: {time_left} …")
        else:
            output.note(f"Stopping: no new calls; {time_left}, or less by another signal …")
    finally:
        await sesame.stop()
        calls.close()
        if this_agent is not None:
            this_agent.end()
    signals.check_hurry()
    if handover is not None and handover.begun:
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(restarting.ASKS)
        restarting.ignore_requests()
    elif this_agent is None or not this_agent.handover.begun:
        output.note("Stopped.")


class _Signals:
    """Sets `stopping` on a signal to stop or to restart. Another signal to stop then ends running calls, at any step of
    the stop; a third one, or one before Sesame has started, cancels the task that created this object.

    The first signal to stop during a restart turns it into a stop: running calls keep their time.
    """

    def __init__(self, handover: Handover | None) -> None:
        self.stopping = asyncio.Event()
        self._handover = handover
        self._refuse: Callable[[str], None] | None = None
        self._hurry: Callable[[], None] | None = None
        self._hurried = False
        self._asked_early = False
        self._trying: asyncio.Task[None] | None = None
        main, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert main is not None
        self._main = main
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        if handover is not None:
            loop.add_signal_handler(restarting.ASKS, self._on_restart)

    def restart_by(self, refuse: Callable[[str], None]) -> None:
        """Enables restarts, after the start. `refuse` reports to the requester why a restart does not happen."""
        self._refuse = refuse
        if self._asked_early:
            self._on_restart()

    def hurry_by(self, hurry: Callable[[], None]) -> None:
        """After the start, calls may run; `hurry` stops waiting for them."""
        self._hurry = hurry

    def check_hurry(self) -> None:
        """Raises `StoppedAtOnce` if running calls were not waited for."""
        if self._hurried:
            raise StoppedAtOnce

    def stop(self) -> None:
        """Handles a signal to stop; a repeated one leaves running calls no time."""
        if self._handover is not None and self._handover.begun:
            self._handover.give_up()
            output.note("Stopping in place of restarting: no new calls; running ones keep their time …")
        elif self.stopping.is_set():
            if self._hurry is None or self._hurried:
                self._main.cancel()
            else:
                self._hurried = True
                self._hurry()
        self.stopping.set()

    def _on_restart(self) -> None:
        if self._refuse is None:
            self._asked_early = True
            return
        if self.stopping.is_set() or self._handover is None or self._trying is not None:
            return
        self._trying = asyncio.create_task(self._try_and_begin(self._handover))

    async def _try_and_begin(self, handover: Handover) -> None:
        problem = await restarting.why_not()
        self._trying = None
        if self.stopping.is_set():
            return
        if problem:
            self._go_on(problem)
            return
        handover.begun = True
        self.stopping.set()

    def _go_on(self, why: str) -> None:
        output.note(f"Not restarted: {why}")
        assert self._refuse is not None
        self._refuse(why)


def greet(sesame: Sesame, settings: Settings) -> None:
    endpoints = sesame.endpoints
    output.note(f"Sesame is ready. Data in {sesame.data_dir.path}, account {endpoints.account_id}, {endpoints.region}.")
    output.note(f"  Function Compute  {endpoints.fc}")
    for name, url in (
        ("FC over TLS", endpoints.fc_https),
        ("OSS", endpoints.oss),
        ("Log Service", endpoints.sls),
        ("STS", endpoints.sts),
        ("Metrics", endpoints.metrics),
    ):
        if url:
            output.note(f"  {name:<17} {url}")
    output.note(f"Sandbox {endpoints.sandbox}:")
    for held in sesame.enforcement():
        output.note(f"  {'enforced    ' if held.enforced else 'NOT enforced'}  {held.what}: {held.by}")
    for line in sesame.notices():
        output.note(line)
    option = (
        "" if settings.data_dir == TABLE["data_dir"].default else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    )
    output.note(f'Next: eval "$({output.own_name()} env{option})"; stop with Ctrl-C.')
