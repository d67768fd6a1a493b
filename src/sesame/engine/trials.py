"""Runs single calls of given snapshots, each on an instance of its own that ends with it.

Called by the operations that replay recorded calls and compare runtimes. Apart from the pool: no instance of a trial
ever serves a caller, and no caller's instance a trial.
"""

import asyncio

import msgspec

from sesame.engine.dispatcher import Record
from sesame.engine.interface import Observer, Trial
from sesame.engine.invocation_log import LogSource
from sesame.engine.policies import Caps
from sesame.engine.resolver import OneSnapshot
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model.errors import PlatformError
from sesame.model.invocation import Credentials, Invocation, Outcome
from sesame.model.snapshot import Snapshot

# POLICY: the memory of trials does not count among that of calls, so few run at a time; others wait for their turn.
TRIALS_AT_ONCE = 2


class LocalTrials:
    """As `interface.Trials` says. One for each engine, which is given the same."""

    def __init__(self, given: EngineDependencies) -> None:
        self._given = given
        self._turns = asyncio.Semaphore(TRIALS_AT_ONCE)
        self._engines: set[LocalEngine] = set()
        self._closed = False

    async def run(self, snapshot: Snapshot, invocation: Invocation) -> Trial:
        async with self._turns:
            if self._closed:
                raise PlatformError("the server is stopping")
            caps = Caps(instances_per_function=1, memory_mb=snapshot.limits.memory_mb, starts_at_once=1, keep_alive_s=1)
            given = msgspec.structs.replace(
                self._given,
                resolver=OneSnapshot(snapshot),
                caps=caps,
                sink=_nowhere,
                observer=Observer(),
                recursion_limit=0,
                debuggable=False,
            )
            engine = LocalEngine(given)
            seen: list[Credentials] = []
            engine.dispatcher.record = _noting(seen)
            self._engines.add(engine)
            try:
                outcome = await engine.invoke(invocation)
                return Trial(outcome, seen[0])
            finally:
                await engine.drain(0.0)
                self._engines.discard(engine)

    async def close(self) -> None:
        """Ends what runs."""
        self._closed = True
        await asyncio.gather(*(engine.drain(0.0) for engine in self._engines))


def _noting(seen: list[Credentials]) -> Record:
    def note(_invocation: Invocation, _snapshot: Snapshot, credentials: Credentials, _outcome: Outcome) -> None:
        seen.append(credentials)

    return note


def _nowhere(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
    """The log of a trial is in its outcome."""
