"""What the error of a function says, whatever the function has sent as its body.

Used where an error is told on: in the reason of a start that failed, and in that of an asynchronous call.
"""

import msgspec


def message_of(body: bytes) -> str:
    """The message in a body of the usual form (reference/runtime.md §6), else the body as text."""
    try:
        # SAFETY: A function can send anything: no UTF-8, values nested without end, a message that is no text.
        return str(msgspec.json.decode(body)["errorMessage"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body.decode(errors="replace")
