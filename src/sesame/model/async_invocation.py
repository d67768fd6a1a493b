"""Asynchronous invocations: values for accepting, leasing, finishing and listing them, and their legal state changes.

Plain frozen values without behaviour. Stored by `store.queue`, run by `engine.async_invoker`, shown by `control`.
All times are Unix seconds of the wall clock.
"""

import enum
from collections.abc import Mapping

import msgspec

from sesame.model import limits
from sesame.model.invocation import Target


class State(enum.StrEnum):
    """The API's states (api.md §3.6), and RETRYING for an invocation that waits for its next attempt."""

    ENQUEUED = "Enqueued"
    DEQUEUED = "Dequeued"
    RUNNING = "Running"
    RETRYING = "Retrying"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"


# A final state never changes. A leased invocation returns to ENQUEUED or RETRYING when its holder gives it back or is
# lost, and to DEQUEUED when another holder claims it after the lease has expired. STOPPING → SUCCEEDED or FAILED: the
# function ended before it could be stopped.
LEGAL_MOVES: Mapping[State, frozenset[State]] = {
    State.ENQUEUED: frozenset({State.DEQUEUED, State.STOPPED, State.EXPIRED}),
    State.DEQUEUED: frozenset(
        {
            State.ENQUEUED,
            State.DEQUEUED,
            State.RUNNING,
            State.RETRYING,
            State.STOPPING,
            State.SUCCEEDED,
            State.FAILED,
            State.EXPIRED,
            State.STOPPED,
        }
    ),
    State.RUNNING: frozenset(
        {
            State.ENQUEUED,
            State.DEQUEUED,
            State.RETRYING,
            State.STOPPING,
            State.SUCCEEDED,
            State.FAILED,
            State.EXPIRED,
            State.STOPPED,
        }
    ),
    State.RETRYING: frozenset({State.DEQUEUED, State.STOPPED, State.EXPIRED}),
    State.STOPPING: frozenset({State.STOPPED, State.SUCCEEDED, State.FAILED, State.EXPIRED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.EXPIRED: frozenset(),
    State.STOPPED: frozenset(),
}
FINAL = frozenset(state for state, moves in LEGAL_MOVES.items() if not moves)
# States held under a lease; an invocation in any other state that is not final waits to be claimed.
LEASED = frozenset({State.DEQUEUED, State.RUNNING, State.STOPPING})


class InvocationMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Data stored with the payload. `tracing` and `http_params`: see `model.invocation.Invocation`.

    `chain` names the functions ("service/function") that led to this call, the oldest first. The other fields hold the
    configuration at acceptance: how often a function error is retried, the maximum age in seconds, and the destinations
    (ARNs or URLs, "" for none).
    """

    tracing: Mapping[str, object] | None = None
    http_params: dict[str, object] | None = None
    chain: tuple[str, ...] = ()
    max_retries: int = limits.ASYNC_RETRIES_DEFAULT
    max_age_s: int = limits.ASYNC_EVENT_AGE_S_DEFAULT
    on_success: str = ""
    on_failure: str = ""


NO_META = InvocationMeta()


class NewInvocation(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation to accept. `invocation_id` is the stateful id, else the request id.

    Stateful ids are unique per function and qualifier. `source` names the origin: api, timer:NAME, oss:NAME,
    destination, fire or replay. A `not_before` in the past means now.
    """

    target: Target
    invocation_id: str
    request_id: str
    payload: bytes
    stateful: bool
    source: str
    not_before: float
    expires_at: float
    meta: InvocationMeta = NO_META


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A record to deliver to a destination other than a function.

    `destination` is an ARN or a URL, `record` the JSON document to send, `condition` Success or Failure.
    """

    destination: str
    record: bytes
    condition: str


class Leased(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation that only the holder may run, until the lease expires or a later claim raises `epoch`.

    `attempts` counts function errors so far, `throttles` the attempts that found no capacity; `last_error` is the most
    recent error of either kind.
    """

    seq: int
    epoch: int
    target: Target
    invocation_id: str
    request_id: str
    payload: bytes
    stateful: bool
    source: str
    attempts: int
    throttles: int
    enqueued_at: float
    expires_at: float
    last_error: str = ""
    meta: InvocationMeta = NO_META


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a leased invocation ended. `state` is one of `FINAL`; `destination_status` is stored unchanged.

    `started_at` is None if the function was not called under this lease; the start time of an earlier attempt is then
    kept. `return_bytes` is the size of the whole result if `return_payload` was truncated.
    """

    state: State
    ended_at: float
    started_at: float | None = None
    error: str = ""
    return_payload: bytes = b""
    return_bytes: int | None = None
    instance_id: str = ""
    duration_ms: float = 0.0
    destination_status: str = ""


class InvocationEvent(msgspec.Struct, frozen=True):
    """One event in an invocation's history. `event_id` counts from 1; `status` is a value of `State`."""

    event_id: int
    status: str
    timestamp: float
    detail: str = ""


class AsyncInvocation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything stored about one invocation. `payload` is None if it was not requested.

    `next_at` is when a waiting invocation may be claimed, or when the lease of a running one expires; None after the
    end. `return_bytes`: see `Ending`.
    """

    seq: int
    target: Target
    invocation_id: str
    request_id: str
    payload: bytes | None
    stateful: bool
    source: str
    state: State
    enqueued_at: float
    expires_at: float
    next_at: float | None
    attempts: int = 0
    throttles: int = 0
    epoch: int = 0
    holder: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    return_payload: bytes = b""
    return_bytes: int | None = None
    instance_id: str = ""
    duration_ms: float = 0.0
    destination_status: str = ""
    events: tuple[InvocationEvent, ...] = ()
    meta: InvocationMeta = NO_META


class AsyncQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects the invocations to list, in order of acceptance.

    A `target` of None selects all functions. `started_from` and `started_to` (inclusive) bound `enqueued_at`, which
    does not change between pages. `start` is "" or the previous page's `next_token`.
    """

    target: Target | None = None
    stateful_only: bool = True
    status: State | None = None
    started_from: float | None = None
    started_to: float | None = None
    id_prefix: str = ""
    newest_first: bool = True
    with_payload: bool = False
    start: str = ""
    limit: int = 20


class AsyncPage(msgspec.Struct, frozen=True):
    """`next_token` is None on the last page."""

    items: tuple[AsyncInvocation, ...]
    next_token: str | None


class StopResult(enum.Enum):
    """STOPPED: it will never start. STOPPING: it is running and is being stopped. FINISHED: it had already ended."""

    NOT_FOUND = "not found"
    STOPPED = "stopped"
    STOPPING = "stopping"
    FINISHED = "finished"


class LeasedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A record that only the holder may send, with the invocation that it reports. `attempts` counts failures.

    `chain` names the functions that led to that invocation, as in `InvocationMeta`.
    """

    seq: int
    epoch: int
    invocation_seq: int
    target: Target
    invocation_id: str
    request_id: str
    destination: str
    record: bytes
    condition: str
    attempts: int
    created_at: float
    chain: tuple[str, ...] = ()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be delivered, with the invocation that it reports."""

    id: int
    destination: str
    record: bytes
    condition: str
    target: Target
    invocation_id: str
    request_id: str
    attempts: int
    error: str
    created_at: float
    buried_at: float


class DeadLetterPage(msgspec.Struct, frozen=True):
    """`next_token` is None on the last page."""

    items: tuple[DeadLetter, ...]
    next_token: str | None
