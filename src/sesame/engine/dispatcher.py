"""The road of an invocation: resolve, lease an instance, initialize it if it is new, call it, say how it ended.

Called by the doors with an Invocation, answers with an Outcome. Knows neither HTTP nor the clock on the wall.
Never lets a function's failure become an exception.
"""

import asyncio
import math
from collections import Counter
from typing import Any

import msgspec

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.instance import CallFailed, Instance, State
from sesame.engine.pool import Lease, Pool
from sesame.engine.resolver import Snapshots
from sesame.model import limits
from sesame.model.clocks import Clocks
from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Snapshot
from sesame.sandbox.interface import Reply

UNHANDLED = "UnhandledInvocationError"


class _Ended(msgspec.Struct):
    """How one call to the shim ended, before it is an Outcome."""

    payload: bytes
    error: FunctionError | None
    duration_ms: float
    http: dict[str, object] | None = None
    last_line: bytes = b""


class _InstanceLost(Exception):
    """Has the lease kill the instance; carries the outcome out through it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Dispatcher:
    """One for each Sesame. `invoke` may run as often at a time as the caps allow.

    POLICY: what was sent to an instance is not sent again. An instance that was found dead is not leased, and a start
    that failed is tried anew; but from the moment of the write nobody can tell whether the function saw the event, so
    a death is the outcome (`exit`) and whoever calls decides.
    """

    def __init__(self, resolver: Snapshots, pool: Pool, clocks: Clocks, credentials: CredentialsOf) -> None:
        self._resolver = resolver
        self._pool = pool
        self._clocks = clocks
        self._credentials = credentials
        # Calls that ran, by how they ended: "" for well, else the reason of the error.
        self.ended: Counter[str] = Counter()

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Raises the API's errors for what cannot be called; how the function itself fared is in the Outcome."""
        snapshot = self._resolver.resolve(invocation.target)
        function = snapshot.function
        validity_s = function.timeout + function.initialization_timeout + CREDENTIALS_MARGIN_S
        credentials = self._credentials(snapshot.service, validity_s)
        try:
            async with self._pool.lease(snapshot) as lease:
                call = _CallOfOne(
                    invocation, snapshot, lease, call_meta(invocation, snapshot, credentials), self._clocks
                )
                outcome, usable = await call.run()
                self.ended[outcome.error.reason if outcome.error is not None else ""] += 1
                if not usable:
                    raise _InstanceLost(outcome)
                return outcome
        except _InstanceLost as lost:
            return lost.outcome

    async def close(self) -> None:
        await self._pool.close()


class _CallOfOne:
    """One invocation on one leased instance."""

    def __init__(
        self, invocation: Invocation, snapshot: Snapshot, lease: Lease, meta: dict[str, Any], clocks: Clocks
    ) -> None:
        self._invocation = invocation
        self._snapshot = snapshot
        self._lease = lease
        self._meta = meta
        self._clocks = clocks

    async def run(self) -> tuple[Outcome, bool]:
        """The outcome, and whether the instance may serve again."""
        instance, request_id = self._lease.instance, self._invocation.request_id
        journal, function = instance.journal, self._snapshot.function
        journal.begin(request_id, self._invocation.target.qualifier)
        initialize_ms = 0.0
        if not instance.initialized:
            instance.move(State.INITIALIZING)
            ended = await self._step("initialize", "Initialize", b"", function.initialization_timeout)
            initialize_ms = ended.duration_ms
            if ended.error is not None:
                ended.error = FunctionError(UNHANDLED, "initializer")
                return self._outcome(ended, initialize_ms), False
            journal.write(ended.last_line)
            instance.initialized = True
        if instance.state in (State.STARTING, State.INITIALIZING):
            instance.move(State.BUSY)
        ended = await self._step("invoke", "Invoke", self._invocation.event, function.timeout)
        usable = ended.error is None or ended.error.reason == "unhandled"
        return self._outcome(ended, initialize_ms), usable

    async def _step(self, kind: str, name: str, payload: bytes, timeout_s: int) -> _Ended:
        """One call to the shim, after its Start line; its End line is left to the caller to write."""
        instance, request_id = self._lease.instance, self._invocation.request_id
        journal = instance.journal
        journal.line(f"FC {name} Start RequestId: {request_id}", more=True)
        started_at = self._clocks.monotonic()
        try:
            reply = await instance.call(kind, request_id, self._meta, payload, timeout_s)
        except BaseException as error:
            took_ms = (self._clocks.monotonic() - started_at) * 1000
            canceled = isinstance(error, asyncio.CancelledError)
            journal.ensure_new_line()
            journal.line(
                f"FC {name} End RequestId: {request_id}, "
                f"Error: {'Invocation canceled by client' if canceled else 'Internal error'} "
                f"(duration: {took_ms:.0f}ms, maxMemoryUsage: {instance.memory_mb():.2f}MB)"
            )
            raise
        took_ms = (self._clocks.monotonic() - started_at) * 1000
        ended = _ended(reply, took_ms, timeout_s, instance)
        journal.ensure_new_line()
        failed = ", Error: Unhandled function error" if ended.error is not None else ""
        ended.last_line = f"FC {name} End RequestId: {request_id}{failed}\r\n".encode()
        return ended

    def _outcome(self, ended: _Ended, initialize_ms: float) -> Outcome:
        lease, instance, snapshot = self._lease, self._lease.instance, self._snapshot
        memory_mb = instance.memory_mb()
        invoke_ms = 0.0 if ended.error is not None and ended.error.reason == "initializer" else ended.duration_ms
        instance.journal.write(
            b"%b\nDuration: %.2f ms, Billed Duration: %d ms, Memory Size: %d MB, Max Memory Used: %.2f MB\n"
            % (
                ended.last_line,
                ended.duration_ms,
                math.ceil(ended.duration_ms),
                snapshot.function.memory_size,
                memory_mb,
            )
        )
        phases = Phases(
            lease.queue_ms, lease.start_ms, initialize_ms, invoke_ms, instance.phases() if lease.cold else {}
        )
        if lease.cold:
            instance.journal.write(_told(phases))
        return Outcome(
            payload=ended.payload,
            error=ended.error,
            duration_ms=ended.duration_ms,
            memory_mb=memory_mb,
            log_tail=instance.journal.tail(),
            instance_id=instance.instance_id,
            version_id=snapshot.version_id,
            code_checksum=snapshot.function.package.checksum,
            cold=lease.cold,
            phases=phases,
            http_params=ended.http,
        )


def _ended(reply: Reply | CallFailed, took_ms: float, timeout_s: int, instance: Instance) -> _Ended:
    if isinstance(reply, Reply):
        size = len(reply.payload)
        if size > limits.RESPONSE_PAYLOAD_BYTES:
            # The shim refuses these itself: this one was forged.
            return _failed(
                f"response payload size {size} bytes exceeds maximum allowed size "
                f"({limits.RESPONSE_PAYLOAD_BYTES} bytes)",
                FunctionError(UNHANDLED, "response_too_large"),
                took_ms,
            )
        error = None if reply.ok else FunctionError(UNHANDLED, "unhandled")
        return _Ended(reply.payload, error, took_ms, reply.http)
    memory_mb = instance.memory_mb()
    if reply.reason == "timeout":
        text = f"Function timed out after {timeout_s} seconds (maxMemoryUsage: {memory_mb:.2f}MB)"
    else:
        text = (
            "Process exited unexpectedly before completing request "
            f"(duration: {took_ms:.0f}ms, maxMemoryUsage: {memory_mb:.2f}MB)"
        )
    return _failed(text, FunctionError(UNHANDLED, reply.reason), took_ms)


def _failed(text: str, error: FunctionError, took_ms: float) -> _Ended:
    return _Ended(msgspec.json.encode({"errorMessage": text}), error, took_ms)


def _told(phases: Phases) -> bytes:
    """The line of the summary that parts the time of a cold call."""
    steps = ", ".join(f"{name.removesuffix('_ms')} {ms:.2f}" for name, ms in phases.steps.items())
    return (
        f"Cold start: queue {phases.queue_ms:.2f} ms, start {phases.start_ms:.2f} ms ({steps}), "
        f"initialize {phases.initialize_ms:.2f} ms, invoke {phases.invoke_ms:.2f} ms\n"
    ).encode()
