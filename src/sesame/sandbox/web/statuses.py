"""Determines from a response whether the function failed (reference/runtime.md §14).

Used by `web.channel` for events and by `web.streams` for web requests.
"""

from sesame.sandbox.web.last_head import Head

_FAILED_FROM = 400
_ERROR_TYPE, _HANDLED = b"x-fc-error-type", b"HandledInvocationError"


def says_failed(response: Head) -> bool:
    """Whether the header by which a function sets its own result's status declares a failure."""
    status = response.header(b"x-fc-status")
    return status is not None and status.isdigit() and int(status) >= _FAILED_FROM


def has_failed(response: Head) -> bool:
    """Like `says_failed`, but falls back to the response's status if that header is missing."""
    if response.header(b"x-fc-status") is not None:
        return says_failed(response)
    return response.status >= _FAILED_FROM


def is_error(response: Head) -> bool:
    """Whether the body is an error of the function (reference/runtime.md §6) rather than an intended response."""
    return says_failed(response) and response.header(_ERROR_TYPE) is not None


def has_handled(response: Head) -> bool:
    """Whether the function returned its error as a value."""
    return response.header(_ERROR_TYPE) == _HANDLED
