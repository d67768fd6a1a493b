"""Caches the head that a connection sent last: identical bytes are not parsed again (docs/adr/0007).

Used by `http.connection`. Never interprets HTTP itself: a head means what the parser found in the same bytes.
"""

from sesame.http.request import Request

# Longer heads are not worth the memory.
HEAD_BYTES_MAX = 4096

_END = b"\r\n\r\n"


class KnownHead:
    """A head, the request that the parser found in it, and the length of a complete request with it."""

    __slots__ = ("_head", "_head_bytes", "_request_bytes", "request")

    def __init__(self, head: bytes, request_bytes: int, request: Request) -> None:
        self._head = head
        self._head_bytes = len(head)
        self._request_bytes = request_bytes
        self.request = request

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if `data` is exactly one request with this head; otherwise None."""
        if len(data) != self._request_bytes or not data.startswith(self._head):
            return None
        return data[self._head_bytes :]


def learn(data: bytes, request: Request, body_bytes: int | None) -> KnownHead | None:
    """The head of `data`, in which the parser found one or more complete requests; `request` is the last of them.

    `body_bytes` is its Content-Length, None for a chunked body. Returns None unless `data` is exactly one request,
    that is, unless the bytes after the first blank line number exactly Content-Length.
    """
    end = data.find(_END) + len(_END)
    if body_bytes is None or end < len(_END) or end > HEAD_BYTES_MAX or len(data) - end != body_bytes:
        return None
    return KnownHead(data[:end], len(data), request)
