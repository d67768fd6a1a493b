"""Runs single calls of given snapshots, each on an instance of its own that is ended afterwards.

Called by the operations that replay recorded calls and compare runtimes. A trial's instance counts against the caps
like any other. Trials and callers never share instances, because a trial's snapshot has its own key.
"""

import asyncio

import msgspec

from sesame.engine.dispatcher import Dispatcher
from sesame.engine.environment import CredentialsOf
from sesame.engine.interface import Trial
from sesame.engine.pool import Pool
from sesame.engine.resolver import OneSnapshot
from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.model.invocation import Credentials, Invocation, Outcome
from sesame.model.snapshot import Snapshot

# POLICY: trials are seldom urgent, so only this many take capacity from calls at a time; others wait.
TRIALS_AT_ONCE = 2


class LocalTrials:
    """Implements `interface.Trials`. `pool` is the engine's."""

    def __init__(self, pool: Pool, clocks: Clocks, credentials: CredentialsOf) -> None:
        self._pool = pool
        self._clocks = clocks
        self._credentials = credentials
        self._turns = asyncio.Semaphore(TRIALS_AT_ONCE)

    async def run(self, snapshot: Snapshot, invocation: Invocation) -> Trial:
        async with self._turns:
            apart = OneSnapshot(msgspec.structs.replace(snapshot, trial=True))
            seen = _Seen()
            dispatcher = Dispatcher(apart, self._pool, self._clocks, self._credentials, recorder=seen)
            outcome = await dispatcher.invoke(invocation)
            if seen.credentials is None:
                raise PlatformError("the trial has ended without its credentials")
            return Trial(outcome, seen.credentials)


class _Seen:
    """A recorder that requests the complete log, and keeps the credentials."""

    credentials: Credentials | None = None

    def wants(self, _snapshot: Snapshot) -> bool:
        return True

    async def record(
        self, _invocation: Invocation, _snapshot: Snapshot, credentials: Credentials, _outcome: Outcome
    ) -> None:
        self.credentials = credentials
