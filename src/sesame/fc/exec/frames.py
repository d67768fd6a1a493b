"""The messages of `instances/{id}/exec` (reference/api.md §3.6): one byte for the kind, then the data.

Used by `fc.exec.session`; pure functions. docs/compatibility.md describes what the reference leaves open. A message
without a known kind is input, because one official client sends input without the byte.
"""

from typing import Any, TypeGuard

import msgspec

STDIN, STDOUT, STDERR, SERVER_ERROR, RESIZE, SERVER_CLOSE = range(6)
_END_OF_INPUT = b"\x04"
_SIZE_MAX = 0xFFFF
_COLUMNS, _ROWS = ("width", "cols", "columns"), ("height", "rows", "lines")


class Input(msgspec.Struct, frozen=True):
    data: bytes


class Resize(msgspec.Struct, frozen=True):
    columns: int
    rows: int


class EndOfInput(msgspec.Struct, frozen=True):
    """Only for a command without a terminal; a terminal receives the same byte as a key."""


def received(message: str | bytes, *, tty: bool) -> Input | Resize | EndOfInput:
    """What a message from the client means."""
    data = message.encode() if isinstance(message, str) else message
    if data[:1] == bytes([STDIN]):
        return Input(data[1:])
    if data == _END_OF_INPUT and not tty:
        return EndOfInput()
    if data[:1] == bytes([RESIZE]) and (size := _size(data[1:])) is not None:
        return size
    return Input(data)


def _size(data: bytes) -> Resize | None:
    """`{"Width": 80, "Height": 24}`, in any case, or with `cols` and `rows`; None for anything else."""
    try:
        given = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    named = {name.lower(): value for name, value in given.items()}
    columns = next((named[name] for name in _COLUMNS if name in named), None)
    rows = next((named[name] for name in _ROWS if name in named), None)
    return Resize(columns, rows) if _is_side(columns) and _is_side(rows) else None


def _is_side(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _SIZE_MAX


def to_send(kind: int, data: bytes) -> str | bytes:
    """A message to the client: text if it is valid UTF-8, since one official client accepts only text; else bytes."""
    framed = bytes([kind]) + data
    try:
        return framed.decode()
    except UnicodeDecodeError:
        return framed


class Characters:
    """Holds back the bytes of an incomplete UTF-8 character at the end of a piece until the next piece completes it."""

    def __init__(self) -> None:
        self._begun = b""

    def whole(self, piece: bytes) -> bytes:
        data = self._begun + piece
        end = len(data) - _begun_bytes(data)
        self._begun = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        started, self._begun = self._begun, b""
        return started


def _begun_bytes(data: bytes) -> int:
    """The number of bytes at the end that are an incomplete UTF-8 character."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if back < length and byte < 0xF8 else 0
    return 0
