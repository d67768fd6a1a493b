"""Caches the head of a web server's last response: identical bytes are not parsed again.

Shared by the connections to one instance (`web.channel`), used by `web.connection`. Never interprets HTTP itself: a
head means what the parser found in the same bytes (like `http.head_cache` for requests).
"""

from collections.abc import Sequence

import msgspec

# Longer heads are not worth the memory.
HEAD_BYTES_MAX = 4096

_END = b"\r\n\r\n"


class Head(msgspec.Struct, frozen=True):
    """`length` is the body's, None if it is not announced. If `upgraded`, what follows is not HTTP.

    `first` maps each header name, in lower case, to its first value.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    first: dict[bytes, bytes]
    length: int | None
    upgraded: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, which must be in lower case."""
        return self.first.get(name)


class LastHead:
    """`head` is the parser's result for `data`. Its connection may take another request."""

    __slots__ = ("data", "head")

    def __init__(self) -> None:
        self.data = b""
        self.head: Head | None = None

    def learn(self, data: bytes, head: Head, body_bytes: int) -> None:
        """Remembers the head of `data`, the start of a response in which the parser found `body_bytes` of the body.

        Does nothing unless exactly that many bytes follow the first blank line: then what precedes them is the head,
        and no other response has begun.
        """
        end = data.find(_END) + len(_END)
        if end < len(_END) or end > HEAD_BYTES_MAX or len(data) - end != body_bytes:
            return
        self.data, self.head = data[:end], head
