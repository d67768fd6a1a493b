"""Starts an instance ahead of calls, including initializer and import, in the same way as for a call.

Used for provisioned instances, and for those that are started by prediction.
"""

import asyncio
import uuid

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.error_bodies import message_of
from sesame.engine.instance import Instance, State
from sesame.engine.pool import Pool
from sesame.engine.startup import initialize
from sesame.engine.steps import Ended, Steps
from sesame.model.clocks import Clocks
from sesame.model.invocation import Invocation, Target
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import KillReason


class NotReady(Exception):
    """The initializer failed or the handler could not be loaded; the message is the function's error."""


class Readying:
    """One per engine."""

    def __init__(self, pool: Pool, clocks: Clocks, credentials: CredentialsOf) -> None:
        self._pool = pool
        self._clocks = clocks
        self._credentials = credentials

    async def bring_up(
        self, snapshot: Snapshot, target: Target, *, provisioned: bool = False, runs_idle: bool = False
    ) -> None:
        """Returns when there is one more idle instance, for any call or, if `provisioned`, for `target`.

        Raises the errors of a call that gets no instance, and `NotReady`; the instance has then been removed.
        """
        limits = snapshot.limits
        valid_s = limits.timeout_s + limits.initialization_timeout_s + CREDENTIALS_MARGIN_S
        credentials = self._credentials(snapshot.role, snapshot.service, valid_s, ())
        invocation = Invocation(str(uuid.uuid4()), target, b"")
        meta = call_meta(invocation, snapshot, credentials)
        pool = self._pool
        lease = await pool.warm_or_cold(snapshot, target if provisioned else None)
        instance = lease.instance
        if not lease.cold:
            # A call has ended and left its instance, which may be serving other calls now.
            pool.release(instance)
            return
        instance.runs_idle = runs_idle
        try:
            await self._load(instance, Steps(instance, invocation.request_id, meta, credentials, self._clocks))
        except BaseException:
            await asyncio.shield(pool.end(instance, KillReason.FAILED))
            raise
        if instance.state is State.DEAD:
            return
        if provisioned:
            pool.counts.provisioned += 1
            instance.ready_at = self._clocks.monotonic()
        else:
            pool.counts.prewarmed += 1
        pool.release(instance)

    async def _load(self, instance: Instance, steps: Steps) -> None:
        if not instance.initialized:
            _require(steps, await initialize(steps))
        if instance.state is not State.BUSY:
            instance.move(State.BUSY)
        ended = await steps.run("load", "Load", b"", instance.snapshot.limits.timeout_s)
        _require(steps, ended)
        steps.log.line(ended.last_line)


def _require(steps: Steps, ended: Ended) -> None:
    if ended.error is None:
        return
    steps.log.line(ended.last_line)
    raise NotReady(f"{ended.error.reason}: {message_of(ended.payload)}")
