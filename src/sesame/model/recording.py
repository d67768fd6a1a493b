"""The recording of a call, from which it can be run again: event, context, environment names, outcome, log.

Created by `control.recorder`, stored by `store.recordings`. Contains no secret that the platform knows.
"""

import msgspec

NONE, FAILED, ALL = "none", "failed", "all"
MODES = (NONE, FAILED, ALL)
"""Which calls are recorded."""

# POLICY: a larger event or result is not stored, only its size.
PART_BYTES_MAX = 1024 * 1024
# POLICY: only the end of a longer log is stored, as it shows how the call failed.
LOG_BYTES_MAX = 1024 * 1024
MASK = "***"


class RecordingConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Kind `recording_config`, parent the service, name the function. `mode` overrides the server's setting."""

    mode: str


class RecordedOutcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a call ended. `result` is None if it was too large; `http_result` is the status and headers of an HTTP
    function, as JSON, else empty. `log` lacks the call's first `log_cut_bytes` bytes.
    """

    error_type: str
    error_reason: str
    result: bytes | None
    result_bytes: int
    http_result: bytes
    log: bytes
    duration_ms: float
    memory_mb: float
    cold: bool
    log_cut_bytes: int = 0


class Recording(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`event` is None if it was too large. `code` and `layers` are the SHA-256 of packages.

    `environment` has the names of the function's own variables without their values. `environment_digests` has a keyed
    digest of each value, which reveals a change but not the value. `role` is an ARN, or empty.
    `http_params` is the request of an HTTP function, as JSON, else empty.
    """

    request_id: str
    recorded_at: float
    service: str
    function: str
    qualifier: str
    version_id: str
    runtime: str
    handler: str
    initializer: str
    timeout_s: int
    memory_size_mb: int
    code: str
    code_checksum: str
    layers: tuple[str, ...]
    environment: tuple[str, ...]
    event: bytes | None
    event_bytes: int
    http_params: bytes
    retry_count: int
    outcome: RecordedOutcome
    role: str = ""
    environment_digests: tuple[str, ...] = ()


class RecordingSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of a list. `seq` rises with each recording."""

    seq: int
    request_id: str
    recorded_at: float
    service: str
    function: str
    qualifier: str
    runtime: str
    error_type: str
    duration_ms: float
    size_bytes: int
