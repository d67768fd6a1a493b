"""Names, dates and request ids that stand in every answer of this door.

Used by `gateway.app`, `gateway.invoke` and `gateway.server`.
Never decides what an answer says.
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

# To ask the kernel for each id costs more than all the rest of it.
_ID_BYTES = 16
_IDS_AT_ONCE = 256

_names: dict[bytes, bytes] = {}
_random: list[bytes] = []


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
    """The Date header, made once a second."""

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


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own trace id where it is a UUID, else a new UUID; always 36 characters.

    The documentation has the answer's request id equal the trace id (reference/api.md §2), and clients match `.{36}`:
    so only what looks like one of ours is taken over.
    """
    for name, value in headers:
        if name == b"x-fc-trace-id":
            if _is_uuid(value):
                return value.decode()
            break
    return new_request_id()


def new_request_id() -> str:
    """A random UUID of version 4."""
    if not _random:
        fresh = os.urandom(_ID_BYTES * _IDS_AT_ONCE)
        _random.extend(fresh[start : start + _ID_BYTES] for start in range(0, len(fresh), _ID_BYTES))
    digits = _random.pop().hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _is_uuid(value: bytes) -> bool:
    return (
        len(value) == 36
        and value[8] == value[13] == value[18] == value[23] == 0x2D
        and value.translate(None, _HEX) == b"----"
    )
