"""Header names, dates and request ids of the endpoint's answers.

Used by `fc.app` and `fc.invoke`.
"""

import os
from collections.abc import Callable, Iterable
from email.utils import formatdate

Headers = list[tuple[bytes, bytes]]

_HEX = b"0123456789abcdefABCDEF"
_MAX_CACHED_NAMES = 512

REQUEST_ID = b"X-Fc-Request-Id"
DATE = b"Date"
CONTENT_TYPE = b"Content-Type"
CONTENT_LENGTH = b"Content-Length"

JSON_TYPE = (CONTENT_TYPE, b"application/json")
BYTES_TYPE = (CONTENT_TYPE, b"application/octet-stream")

# Ids are generated in batches: a system call for random bytes per id would cost more than all other work on it.
_ID_DIGITS = 32
_IDS_AT_ONCE = 32

_names: dict[bytes, bytes] = {}
_ids: list[str] = []


def canonical(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The same headers with their names in Go's spelling: `etag` as `Etag`, `x-fc-log-result` as `X-Fc-Log-Result`.

    Official clients look names up in this spelling, case and all.
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
        self._header = (DATE, b"")

    def __call__(self) -> tuple[bytes, bytes]:
        second = int(self._wall_clock())
        if second != self._second:
            self._second = second
            self._header = (DATE, formatdate(second, usegmt=True).encode())
        return self._header


def request_id_of(trace_id: bytes) -> str:
    """The caller's own trace id (`x-fc-trace-id`) where it is a UUID, else a new UUID; always 36 characters.

    By the documentation the request id equals the trace id (reference/api.md §2), but clients match it with `.{36}`.
    So only a trace id in the form of a UUID is used.
    """
    return trace_id.decode() if trace_id and _is_uuid(trace_id) else new_request_id()


def new_request_id() -> str:
    """A random UUID of version 4."""
    if not _ids:
        fresh = os.urandom(_ID_DIGITS // 2 * _IDS_AT_ONCE).hex()
        _ids.extend(_version_4(fresh[at : at + _ID_DIGITS]) for at in range(0, len(fresh), _ID_DIGITS))
    return _ids.pop()


def _version_4(digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _is_uuid(value: bytes) -> bool:
    return (
        len(value) == 36
        and value[8] == value[13] == value[18] == value[23] == 0x2D
        and value.translate(None, _HEX) == b"----"
    )
