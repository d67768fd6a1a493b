"""The head of the response that a function's web server gave last: the same bytes again are not parsed again.

Shared by the connections to one instance (`web.channel`), used by `web.connection`. Never reads HTTP itself: what a
head says is what the parser found in the same bytes (as `http.head_cache` for requests).
"""

from collections.abc import Sequence

import msgspec

# Longer heads are not worth their memory.
HEAD_BYTES_MAX = 4096

_END = b"\r\n\r\n"


class Head(msgspec.Struct, frozen=True):
    """`length` is that of the body, None where it is not announced; `upgraded`: what follows is no HTTP.

    `first` has the first header of each name, which is in lower case.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    first: dict[bytes, bytes]
    length: int | None
    upgraded: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, which is in lower case."""
        return self.first.get(name)


class LastHead:
    """`head` is what the parser found in `data`; a connection on which it came may take another request."""

    __slots__ = ("data", "head")

    def __init__(self) -> None:
        self.data = b""
        self.head: Head | None = None

    def learn(self, data: bytes, head: Head, body_bytes: int) -> None:
        """Takes the head of `data`, the first bytes of a response, in which the parser found so much of its body.

        Not unless the bytes after the first blank line are exactly those of the body: so the head is what is before
        them, and nothing of another response.
        """
        end = data.find(_END) + len(_END)
        if end < len(_END) or end > HEAD_BYTES_MAX or len(data) - end != body_bytes:
            return
        self.data, self.head = data[:end], head
