"""Asynchronous invocations: what is accepted, leased, recorded and listed, and the legal moves of their states.

Plain frozen values without behaviour. Kept by `store.queue`, run by `engine.async_invoker`, shown by `control`.
All times are Unix seconds of the wall clock.
"""

import enum
from collections.abc import Mapping

import msgspec

from sesame.model import limits
from sesame.model.invocation import Target


class State(enum.StrEnum):
    """The words of the API (api.md §3.6), and RETRYING for an invocation that waits for its next attempt."""

    ENQUEUED = "Enqueued"
    DEQUEUED = "Dequeued"
    RUNNING = "Running"
    RETRYING = "Retrying"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"


# A final state never changes. A leased invocation goes back to ENQUEUED or RETRYING when its holder gives it back or is
# gone, and to DEQUEUED when another claim takes it after its lease. STOPPING → SUCCEEDED or FAILED: the function ended
# before it could be stopped.
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
# Held by a lease; every other state that is not final waits to be claimed.
LEASED = frozenset({State.DEQUEUED, State.RUNNING, State.STOPPING})


class InvocationMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What accompanies the payload. `tracing` and `http_params` are as in `model.invocation.Invocation`.

    `chain` names the functions ("service/function") that led to this call, the oldest first. The others are what was
    configured when the invocation was accepted: how often a function error is tried again, how old it may become, and
    the destinations (ARNs or URLs, "" for none).
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
    """What is to be accepted. `invocation_id` is the stateful id, else the request id.

    Only of stateful invocations, a function and qualifier has each id once.
    `source` says what asked for it: api, timer:NAME, oss:NAME, destination, fire or replay. `not_before` in the past
    means now.
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
    """A record for a destination that is not a function.

    `destination` is an ARN or a URL, `record` the JSON document to send, `condition` Success or Failure.
    """

    destination: str
    record: bytes
    condition: str


class Leased(msgspec.Struct, frozen=True, kw_only=True):
    """An invocation that the holder alone may run, until its lease ends or another one gets a higher `epoch`.

    `attempts` counts function errors so far, `throttles` the attempts that found no capacity; `last_error` is of the
    last one of either kind.
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
    """How a leased invocation ended. `state` is one of `FINAL`; `destination_status` is kept as it is given.

    `started_at` is None where its function was not called under this lease: what is known of the attempt before stays.
    `return_bytes` is the size of the whole result where `return_payload` is only the beginning of it.
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
    """One step of an invocation's life. `event_id` counts from 1; `status` is a state's word."""

    event_id: int
    status: str
    timestamp: float
    detail: str = ""


class AsyncInvocation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is kept about one invocation. `payload` is None where it was not asked for.

    `next_at` is when a waiting invocation may next be claimed, or when a lease ends; None once it has ended.
    `return_bytes` as in `Ending`.
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
    """Which invocations to list, in the order in which they were accepted.

    `target` None means all functions. `started_from` and `started_to` (inclusive) bound `enqueued_at`, which does not
    change while pages are read. `start` is "" or the `next_token` of the page before.
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
    """STOPPED: it will never start. STOPPING: it runs, and is told to end. FINISHED: it had ended before."""

    NOT_FOUND = "not found"
    STOPPED = "stopped"
    STOPPING = "stopping"
    FINISHED = "finished"


class LeasedDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A record that the holder alone may send, with the invocation that it tells of. `attempts` counts failures.

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
    """A record that could not be delivered, with the invocation that it tells of."""

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
