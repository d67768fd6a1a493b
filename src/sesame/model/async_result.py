"""How one asynchronous invocation fared, and what its function's configuration wants done with that.

Made by `engine.async_calls`; read by `destinations`, which turns a result into a record. `AsyncPolicy` comes from
`control.async_configs`.
"""

import msgspec

from sesame.model.async_invocation import Leased, State

RETRIES_DEFAULT = 3


class AsyncPolicy(msgspec.Struct, frozen=True):
    """`max_retries` is how often a function error is tried again. Destinations are ARNs or URLs, "" for none."""

    max_retries: int = RETRIES_DEFAULT
    on_success: str = ""
    on_failure: str = ""


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
