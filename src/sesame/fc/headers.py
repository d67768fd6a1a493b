"""Header names, dates and request ids of the endpoint's answers.

Used by `fc.app` and `fc.invoke`.
"""

import os
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate

Headers = list[tuple[bytes, bytes]]

_HEX = b"0123456789abcdefABCDEF"
_MAX_CACHED_NAMES = 512

REQUEST_ID = b"X-Fc-Request-Id"
# The header that clients of versions after 2016-08-15 read as well.
ACS_REQUEST_ID = b"x-acs-request-id"
DATE = b"Date"
CONTENT_TYPE = b"Content-Type"
CONTENT_LENGTH = b"Content-Length"

JSON_TYPE = (CONTENT_TYPE, b"application/json")

# Ids are generated in batches, because a system call for random bytes per id would dominate the cost.
_RANDOM_DIGITS = 20
_IDS_AT_ONCE = 32
# Maps a random hex digit to a variant digit: two random bits below the variant's fixed ones.
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

_names: dict[bytes, bytes] = {}
_ids: list[str] = []


def canonical(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Spells header names like Go: `etag` becomes `Etag`, `x-fc-log-result` becomes `X-Fc-Log-Result`.

    Official clients look names up case-sensitively in this spelling.
    """
    return [(_names.get(name) or _spell(name), value) for name, value in headers]


def _spell(name: bytes) -> bytes:
    spelled = b"-".join(part.capitalize() for part in name.split(b"-"))
    if len(_names) < _MAX_CACHED_NAMES:
        _names[name] = spelled
    return spelled


class DateHeader:
    """The Date header, formatted once a second."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._text = ""
        self._header = (DATE, b"")

    def __call__(self) -> tuple[bytes, bytes]:
        self.text()
        return self._header

    def text(self) -> str:
        """The header's value."""
        second = int(self._wall_clock())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True)
            self._header = (DATE, self._text.encode())
        return self._text


def request_id_of(trace_id: bytes) -> str:
    """The caller's trace id (`x-fc-trace-id`) if it is a UUID, else a new UUID; always 36 characters.

    According to the documentation the request id equals the trace id (reference/api.md §2), but clients match it with
    `.{36}`, so only trace ids in UUID form are adopted.
    """
    return trace_id.decode() if trace_id and _is_uuid(trace_id) else new_request_id()


def new_request_id() -> str:
    """A version 7 UUID: milliseconds since 1970, then 74 random bits.

    Consecutive ids have a common prefix, so that the index of asynchronous invocation ids grows at its end: random ids
    would modify a different page of a large index with each invocation.
    """
    if not _ids:
        _ids.extend(_fresh_ids())
    return _ids.pop()


def _fresh_ids() -> list[str]:
    fresh = os.urandom(_RANDOM_DIGITS // 2 * _IDS_AT_ONCE).hex()
    ms = f"{time.time_ns() // 1_000_000:012x}"
    head = f"{ms[:8]}-{ms[8:]}-7"
    return [
        f"{head}{fresh[at + 1 : at + 4]}-{_VARIANTS[fresh[at]]}{fresh[at + 4 : at + 7]}-{fresh[at + 8 : at + 20]}"
        for at in range(0, len(fresh), _RANDOM_DIGITS)
    ]


def _is_uuid(value: bytes) -> bool:
    return (
        len(value) == 36
        and value[8] == value[13] == value[18] == value[23] == 0x2D
        and value.translate(None, _HEX) == b"----"
    )
