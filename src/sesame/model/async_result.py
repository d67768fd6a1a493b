"""How one asynchronous invocation fared, what its function's configuration wants done with that, and what follows.

`AsyncPolicy` comes from `control.async_configs`, `AsyncResult` from `engine.async_calls`, `Following` from
`destinations`.
"""

import msgspec

from sesame.model import limits
from sesame.model.async_invocation import Leased, NewDelivery, NewInvocation, State


class AsyncPolicy(msgspec.Struct, frozen=True):
    """`max_retries` is how often a function error is tried again. Destinations are ARNs or URLs, "" for none."""

    max_retries: int = limits.ASYNC_RETRIES_DEFAULT
    max_age_s: int = limits.ASYNC_EVENT_AGE_S_DEFAULT
    stateful: bool = False
    on_success: str = ""
    on_failure: str = ""


NO_CONFIG = AsyncPolicy()


class AsyncResult(msgspec.Struct, frozen=True, kw_only=True):
    """The final result of an invocation.

    `condition` is "Success" or the code of what went wrong, `status_code` that of the last call (200 also for a
    function error), `function_error` the type of the function's own failure. `executions` counts the calls that
    reached the function. `started_at` is when the last of them began, or None when there was none.
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
    """What is committed together with a final state, and what the invocation shows as `destinationStatus`."""

    then: tuple[NewInvocation | NewDelivery, ...] = ()
    destination_status: str = ""
