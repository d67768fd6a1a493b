"""An invocation and its outcome: the endpoint's request to the engine, and the result.

Plain frozen values without behaviour. `model.snapshot` describes the code to run.
"""

from collections.abc import Mapping

import msgspec

from sesame.model.session import SessionKey
from sesame.model.stream import Stream


class Target(msgspec.Struct, frozen=True):
    """The function to call: `service.qualifier/function`. The qualifier is as written, or LATEST if none was given."""

    service: str
    qualifier: str
    function: str


def of_version(target: Target, version: str) -> Target:
    """`target` with the version that was drawn for a call of an alias; unchanged if `version` is ""."""
    return Target(target.service, version, target.function) if version else target


class Credentials(msgspec.Struct, frozen=True):
    """Temporary keys of the service's role; three empty strings if the service has no role (runtime.md §4.1)."""

    access_key_id: str = ""
    access_key_secret: str = ""
    security_token: str = ""


class Invocation(msgspec.Struct, frozen=True):
    """One call. `event` is passed on uninterpreted; `http_params` is set for HTTP functions only. `tracing` becomes the
    function's `context.tracing`: `span_context` (Jaeger's form) and `span_baggages`.

    `chain` names the functions that led to the call (`model.recursion`). `asynchronous` marks an attempt at a queued
    invocation. With a `stream`, `event` is empty: request and response pass through the stream. `version` is the
    version already drawn for the call if its target is an alias with weights. With a `session`, the call runs on that
    session's instance.
    """

    request_id: str
    target: Target
    event: bytes
    retry_count: int = 0
    tracing: Mapping[str, object] | None = None
    http_params: dict[str, object] | None = None
    chain: tuple[str, ...] = ()
    asynchronous: bool = False
    stream: Stream | None = None
    version: str = ""
    session: SessionKey | None = None


class Phases(msgspec.Struct, frozen=True):
    """The parts of a call's duration, in milliseconds of the host's clock; zero for a phase that did not happen.

    `steps` splits `start_ms` as the sandbox's driver measured it, in order.
    """

    queue_ms: float = 0.0
    start_ms: float = 0.0
    initialize_ms: float = 0.0
    invoke_ms: float = 0.0
    steps: Mapping[str, float] = {}

    @property
    def total_ms(self) -> float:
        """From the request for an instance to the end of the handler."""
        return self.queue_ms + self.start_ms + self.initialize_ms + self.invoke_ms


class FunctionError(msgspec.Struct, frozen=True):
    """The function's own failure: `type` is sent as X-Fc-Error-Type, `reason` is for metrics and logs.

    `reason` is one of unhandled, initializer, timeout, exit, out_of_memory, disk, protocol, killed, response_too_large.
    """

    type: str
    reason: str


class HeldLog(msgspec.Struct, frozen=True):
    """A call's log without its first `cut_bytes` bytes."""

    data: bytes
    cut_bytes: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. With `error` set, `payload` is the JSON error body (runtime.md §6).

    `trace` is the traceback that the function's Python printed, or ""; callers do not get it. `log` is set if the call
    is recorded. `provisioned`: the call ran on a provisioned instance.
    """

    payload: bytes
    error: FunctionError | None
    duration_ms: float
    memory_mb: float
    log_tail: bytes
    instance_id: str
    version_id: str
    code_checksum: str
    cold: bool
    phases: Phases
    http_params: dict[str, object] | None = None
    trace: str = ""
    log: HeldLog | None = None
    provisioned: bool = False
