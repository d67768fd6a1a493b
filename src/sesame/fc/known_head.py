"""The head that a connection sent last: the same head again is not read again (docs/adr/0007).

Used by `fc.http_protocol`; whoever answers keeps in the scope's `REPEATED` what follows from the head alone.
Never reads HTTP itself: what a head says is what the parser found in the same bytes.
"""

from typing import Any

from starlette.types import Scope

# A dict in the scope of a repeated head, the same one each time.
REPEATED = "sesame.repeated"
# Longer heads are not worth their memory.
HEAD_BYTES_MAX = 4096

_END = b"\r\n\r\n"


class KnownHead:
    """What was read in `head`, and how long a request with it is."""

    __slots__ = ("_head", "_request_bytes", "_said")

    def __init__(self, head: bytes, request_bytes: int, said: dict[str, Any]) -> None:
        self._head = head
        self._request_bytes = request_bytes
        self._said = said

    def body_of(self, data: bytes) -> bytes | None:
        """The body, where the data is one request, whole, with this head; None for any other data."""
        if len(data) != self._request_bytes or not data.startswith(self._head):
            return None
        return data[len(self._head) :]

    def scope(self) -> Scope:
        """For one request of its own."""
        return {**self._said, "headers": self._said["headers"].copy()}


def learn(data: bytes, said: dict[str, Any]) -> KnownHead | None:
    """The head of data in which the parser found one request or several, all whole; `said` is the scope that it made
    of the last.

    None where it is in doubt whether that is the only one, and where its head ends. It is beyond doubt when what is
    behind the first empty line is just as long as the body that the head speaks of.
    """
    head, mark, body = data.partition(_END)
    headers = dict(said["headers"])
    if not mark or len(head) > HEAD_BYTES_MAX or b"transfer-encoding" in headers:
        return None
    if len(body) != int(headers.get(b"content-length", b"0")):
        return None
    return KnownHead(head + mark, len(data), {**said, "headers": said["headers"].copy(), REPEATED: {}})
