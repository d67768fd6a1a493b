"""Tells from a response whether the function failed (reference/runtime.md §14).

Used by `web.channel` for events and by `web.streams` for requests of the web.
"""

from sesame.sandbox.web.connection import Head

_FAILED_FROM = 400


def says_failed(response: Head) -> bool:
    """By the header with which a function gives its own result a status."""
    said = response.header(b"x-fc-status")
    return said is not None and said.isdigit() and int(said) >= _FAILED_FROM


def has_failed(response: Head) -> bool:
    """As `says_failed`; where the function says nothing, by the response's status."""
    if response.header(b"x-fc-status") is not None:
        return says_failed(response)
    return response.status >= _FAILED_FROM
