"""Extracts the message from a function's error body, which may have any content.

Used to report the error elsewhere: as the reason of a failed start or of a failed asynchronous call.
"""

import msgspec


def message_of(body: bytes) -> str:
    """The message, if the body has the usual form (reference/runtime.md §6), else the whole body as text."""
    try:
        # SAFETY: a function can send anything: invalid UTF-8, endlessly nested values, a message that is not a string.
        return str(msgspec.json.decode(body)["errorMessage"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body.decode(errors="replace")
