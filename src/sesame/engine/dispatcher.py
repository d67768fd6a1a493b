"""Runs an invocation: resolves the function, leases an instance, initializes it if new, calls it, returns the outcome.

Called through `engine.interface.Engine.invoke`. Independent of HTTP and of the wall clock. A function's failure is part
of the outcome, never an exception.
"""

from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Protocol

import msgspec

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.instance import BUSY, State
from sesame.engine.leasing import Lease
from sesame.engine.pool import Pool
from sesame.engine.resolver import Snapshots
from sesame.engine.startup import initialize
from sesame.engine.steps import Ended, Steps, is_usable_after
from sesame.model.clocks import Clocks
from sesame.model.invocation import Credentials, Invocation, Outcome, Phases, of_version
from sesame.model.recording import LOG_BYTES_MAX
from sesame.model.recursion import Chain, extended, require_below
from sesame.model.snapshot import Snapshot
from sesame.model.stream import Stream

# States of an instance that has not served a call yet.
_UNUSED = (State.STARTING, State.INITIALIZING)


class Recorder(Protocol):
    def wants(self, snapshot: Snapshot) -> bool:
        """Whether calls of this snapshot may be recorded, so that their complete logs must be held."""

    async def record(
        self, invocation: Invocation, snapshot: Snapshot, credentials: Credentials, outcome: Outcome
    ) -> None:
        """Records a call that ran. The caller gets its answer when this returns. Raises nothing."""


class _InstanceLost(Exception):
    """Makes the lease end its instance, and carries the outcome past it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Dispatcher:
    """One per engine. The caps bound how many calls of `invoke` run concurrently.

    POLICY: an event is sent to at most one instance. Dead instances are not leased, and failed starts may be retried;
    but once the event has been written, nobody knows whether the function has seen it, so the death of the process is
    the outcome (`exit`) and the caller decides about a retry.
    """

    def __init__(
        self,
        resolver: Snapshots,
        pool: Pool,
        clocks: Clocks,
        credentials: CredentialsOf,
        *,
        recursion_limit: int = 0,
        on_end: Callable[[Invocation, Outcome | BaseException], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """`recursion_limit` is how often a function may call itself through others (`model.recursion`); 0: no limit.

        `on_end` is as in `engine.interface.Observer.ended`.
        """
        self._recursion_limit = recursion_limit
        self._resolver = resolver
        self._pool = pool
        self._clocks = clocks
        self._credentials = credentials
        # Ended calls by the reason of their error, "" for success.
        self.ended: Counter[str] = Counter()
        self._on_end = on_end
        self._recorder = recorder
        self._measure: Callable[[Invocation, Snapshot, Outcome], None] | None = None
        self._watch_instances: Callable[[], None] | None = None

    def record_with(self, recorder: Recorder | None) -> None:
        """From now on `recorder` gets each call that runs; with None, none is recorded."""
        self._recorder = recorder

    def measure_with(
        self, measure: Callable[[Invocation, Snapshot, Outcome], None], watch_instances: Callable[[], None]
    ) -> None:
        """From now on `measure` gets each ended call of services with request metrics.

        `watch_instances` is called before each call of services with instance metrics. Both must return at once and
        raise nothing.
        """
        self._measure, self._watch_instances = measure, watch_instances

    async def invoke(self, invocation: Invocation, began: Callable[[str], None] | None = None) -> Outcome:
        """Raises the API's errors if the function cannot be called; the function's own failure is part of the outcome.

        `began(instance_id)` is called before the call goes to an instance.
        """
        try:
            target, session = invocation.target, invocation.session
            if invocation.version:
                target = of_version(target, invocation.version)
            snapshot = self._resolver.resolve(target, "" if session is None else session.session_id)
            limits = snapshot.limits
            validity_s = limits.timeout_s + limits.initialization_timeout_s + CREDENTIALS_MARGIN_S
            chain: Chain = ()
            if self._recursion_limit:
                require_below(self._recursion_limit, invocation.chain, invocation.target)
                chain = extended(invocation.chain, invocation.target)
            credentials = self._credentials(snapshot.role, snapshot.service, validity_s, chain)
            async with self._pool.lease(snapshot, session if snapshot.affinity is not None else None) as lease:
                if began is not None:
                    began(lease.instance.instance_id)
                if snapshot.log_target.instance_metrics and self._watch_instances is not None:
                    self._watch_instances()
                meta = call_meta(invocation, snapshot, credentials)
                steps = Steps(lease.instance, invocation.request_id, meta, credentials, self._clocks)
                recorder = self._recorder
                # A streamed call is passed through without being held, so it cannot be recorded.
                recorded = recorder is not None and invocation.stream is None and recorder.wants(snapshot)
                if recorded:
                    steps.log.hold(LOG_BYTES_MAX)
                outcome, usable = await self._call(steps, lease, invocation.stream or invocation.event)
                if recorded:
                    outcome = msgspec.structs.replace(outcome, log=steps.log.whole())
                self.ended[outcome.error.reason if outcome.error is not None else ""] += 1
                if not usable:
                    raise _InstanceLost(outcome)
        except _InstanceLost as lost:
            outcome = lost.outcome
        except BaseException as error:
            if self._on_end is not None:
                self._on_end(invocation, error)
            raise
        if self._on_end is not None:
            self._on_end(invocation, outcome)
        if snapshot.log_target.request_metrics and self._measure is not None:
            self._measure(invocation, snapshot, outcome)
        if recorder is not None and recorded:
            await recorder.record(invocation, snapshot, credentials, outcome)
        return outcome

    async def _call(self, steps: Steps, lease: Lease, event: bytes | Stream) -> tuple[Outcome, bool]:
        """Returns the outcome, and whether the instance may serve further calls."""
        instance = lease.instance
        initialize_ms = 0.0
        if not instance.initialized:
            ended = await initialize(steps)
            initialize_ms = ended.duration_ms
            if ended.error is not None:
                return _outcome(steps, lease, ended, Phases(lease.queue_ms, lease.start_ms, initialize_ms, 0.0)), False
        if instance.state in _UNUSED:
            instance.move(BUSY)
        if instance.shared:
            self._pool.readied(instance)
        ended = await steps.run("invoke", "Invoke", event, instance.snapshot.limits.timeout_s)
        if not instance.serves_on:
            instance.spent = True
        phases = Phases(lease.queue_ms, lease.start_ms, initialize_ms, ended.duration_ms)
        return _outcome(steps, lease, ended, phases), ended.error is None or is_usable_after(ended.error)


def _outcome(steps: Steps, lease: Lease, ended: Ended, phases: Phases) -> Outcome:
    """Writes the last lines of the call's log and summarizes the call."""
    instance, log = lease.instance, steps.log
    snapshot: Snapshot = instance.snapshot
    memory_mb = instance.memory_mb()
    took_ms = ended.duration_ms
    log.write(
        (
            f"{ended.last_line}\r\n\nDuration: {took_ms:.2f} ms, Billed Duration: {ceil(took_ms)} ms, "
            f"Memory Size: {snapshot.limits.memory_mb} MB, Max Memory Used: {memory_mb:.2f} MB\n"
        ).encode()
    )
    if lease.cold:
        phases = Phases(phases.queue_ms, phases.start_ms, phases.initialize_ms, phases.invoke_ms, instance.phases())
        log.write(_cold_start_line(phases))
    return Outcome(
        payload=ended.payload,
        error=ended.error,
        duration_ms=took_ms,
        memory_mb=memory_mb,
        log_tail=log.tail(),
        instance_id=instance.instance_id,
        version_id=snapshot.version_id,
        code_checksum=snapshot.code_checksum,
        cold=lease.cold,
        phases=phases,
        http_params=ended.http,
        trace=ended.trace,
        provisioned=instance.provisioned_for is not None,
    )


def _cold_start_line(phases: Phases) -> bytes:
    """The log line that breaks down the time of a cold call."""
    steps = ", ".join(f"{name.removesuffix('_ms')} {ms:.2f}" for name, ms in phases.steps.items())
    return (
        f"Cold start: queue {phases.queue_ms:.2f} ms, start {phases.start_ms:.2f} ms ({steps}), "
        f"initialize {phases.initialize_ms:.2f} ms, invoke {phases.invoke_ms:.2f} ms\n"
    ).encode()
