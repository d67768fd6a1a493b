"""An invocation and its outcome: what an endpoint asks of the engine, and how it ended.

Plain frozen values without behaviour. What is run is described in `model.snapshot`.
"""

from collections.abc import Mapping

import msgspec

from sesame.model.session import SessionKey
from sesame.model.stream import Stream


class Target(msgspec.Struct, frozen=True):
    """Which function a caller means: `service.qualifier/function`; the qualifier as written, LATEST when none was."""

    service: str
    qualifier: str
    function: str


def of_version(target: Target, version: str) -> Target:
    """What a call of an alias calls for which this version was drawn; "" where nothing is."""
    return Target(target.service, version, target.function) if version else target


class Credentials(msgspec.Struct, frozen=True):
    """Temporary keys of the service's role; three empty strings for a service without one (runtime.md §4.1)."""

    access_key_id: str = ""
    access_key_secret: str = ""
    security_token: str = ""


class Invocation(msgspec.Struct, frozen=True):
    """One call. `event` is passed on uninterpreted; `http_params` is set for HTTP functions only. `tracing` is what the
    function finds in `context.tracing`: `span_context` (Jaeger's form) and `span_baggages`.

    `chain` names the functions that led to it (`model.recursion`). `asynchronous`: it is an attempt at an invocation
    of the queue. With a `stream`, `event` is empty: request and response pass through it. `version` is what was drawn
    for the call already, where its target is an alias with weights. With a `session` it runs on that session's
    instance.
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
    """Where the time of a call went, in milliseconds of the host's clock; zero for what did not happen.

    `steps` parts `start_ms` as the sandbox's driver counts it, in order.
    """

    queue_ms: float = 0.0
    start_ms: float = 0.0
    initialize_ms: float = 0.0
    invoke_ms: float = 0.0
    steps: Mapping[str, float] = {}

    @property
    def total_ms(self) -> float:
        """From when the call asked for an instance until its handler had ended."""
        return self.queue_ms + self.start_ms + self.initialize_ms + self.invoke_ms


class FunctionError(msgspec.Struct, frozen=True):
    """The function's own failure: `type` goes to X-Fc-Error-Type, `reason` to metrics and logs.

    `reason` is one of unhandled, initializer, timeout, exit, out_of_memory, disk, protocol, killed, response_too_large.
    """

    type: str
    reason: str


class HeldLog(msgspec.Struct, frozen=True):
    """The log of a call; `cut_bytes` were written before it and are not in it."""

    data: bytes
    cut_bytes: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. With `error` set, `payload` is the JSON error body (runtime.md §6).

    `trace` is the traceback of a failure as the function's Python prints it, "" where there is none; callers do not get
    it. `log` is held where the call is recorded. `provisioned`: it ran on an instance that is kept ahead of calls.
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
