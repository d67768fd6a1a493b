"""The result of one asynchronous invocation, the function's policy for it, and the work that follows from both.

`AsyncPolicy` comes from `control.async_configs`, `AsyncResult` from `engine.async_calls`, `Following` from
`destinations`.
"""

import msgspec

from sesame.model import limits
from sesame.model.async_invocation import Leased, NewDelivery, NewInvocation, State


class AsyncPolicy(msgspec.Struct, frozen=True):
    """`max_retries` bounds the retries after a function error. Destinations are ARNs or URLs, "" for none."""

    max_retries: int = limits.ASYNC_RETRIES_DEFAULT
    max_age_s: int = limits.ASYNC_EVENT_AGE_S_DEFAULT
    stateful: bool = False
    on_success: str = ""
    on_failure: str = ""


NO_CONFIG = AsyncPolicy()


class AsyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """The final result of an invocation.

    `condition` is "Success" or an error code. `status_code` is that of the last call (200 also for a function error),
    `function_error` the type of the function's own failure. `executions` counts the calls that reached the function.
    `started_at` is when the last of them began, or None if there was none.
    """

    lease: Leased
    state: State
    condition: str
    status_code: int
    executions: int
    ended_at: float
    started_at: float | None = None
    function_error: str = ""
    response: bytes = b""


class Following(msgspec.Struct, frozen=True):
    """Rows to commit together with a final state, and the invocation's `destinationStatus`."""

    then: tuple[NewInvocation | NewDelivery, ...] = ()
    destination_status: str = ""
