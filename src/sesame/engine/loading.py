"""Loads a function's handler without calling it, to find errors in new code at once.

Used by `engine.running` for `sesame dev`. An instance that loaded the handler is kept warm for the next call.
"""

import msgspec

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.instance import State
from sesame.engine.pool import Pool
from sesame.engine.resolver import Snapshots
from sesame.engine.steps import Ended, Steps
from sesame.model.clocks import Clocks
from sesame.model.invocation import Invocation, Outcome, Phases


class _NotKept(Exception):
    """Makes the lease end its instance, and carries the outcome past it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Loading:
    """One per engine."""

    def __init__(self, resolver: Snapshots, pool: Pool, clocks: Clocks, credentials: CredentialsOf) -> None:
        self._resolver = resolver
        self._pool = pool
        self._clocks = clocks
        self._credentials = credentials

    async def load(self, invocation: Invocation, code: str = "") -> Outcome | None:
        """Loads the handler of the invocation's target. None if a warm instance has loaded it already.

        `code` is the SHA-256 of a package to load instead of the function's own; that instance never serves a call.
        Raises as a call does if the function cannot be called.
        """
        snapshot = self._resolver.resolve(invocation.target)
        if code:
            snapshot = msgspec.structs.replace(snapshot, code=code, key=f"{snapshot.key} with {code}")
        limit_s = snapshot.limits.timeout_s
        credentials = self._credentials(snapshot.role, snapshot.service, limit_s + CREDENTIALS_MARGIN_S, ())
        try:
            async with self._pool.lease(snapshot) as lease:
                if not lease.cold:
                    return None
                instance = lease.instance
                meta = call_meta(invocation, snapshot, credentials)
                steps = Steps(instance, invocation.request_id, meta, credentials, self._clocks)
                ended = await steps.run("load", "Load", b"", limit_s)
                steps.log.line(ended.last_line)
                phases = Phases(lease.queue_ms, lease.start_ms, 0.0, ended.duration_ms, instance.phases())
                outcome = _outcome(steps, ended, phases)
                # An initializer must run before anything else, so the first call will start a new instance.
                if code or ended.error is not None or not instance.initialized:
                    raise _NotKept(outcome)
                instance.move(State.BUSY)
                return outcome
        except _NotKept as loaded:
            return loaded.outcome


def _outcome(steps: Steps, ended: Ended, phases: Phases) -> Outcome:
    instance = steps.instance
    return Outcome(
        payload=ended.payload,
        error=ended.error,
        duration_ms=ended.duration_ms,
        memory_mb=instance.memory_mb(),
        log_tail=steps.log.tail(),
        instance_id=instance.instance_id,
        version_id=instance.snapshot.version_id,
        code_checksum=instance.snapshot.code_checksum,
        cold=True,
        phases=phases,
        trace=ended.trace,
    )
