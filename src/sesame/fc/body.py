"""Reads a request's body up to a limit, without copying what comes in one piece.

Called by `fc.invoke` and the routes, after the caller is known.
Never looks at what the body says, nor at Content-MD5: clients disagree on its form (reference/api.md §0, rule 9).
"""

from starlette.types import Receive

from sesame.fc.refusals import EntityTooLarge
from sesame.model.errors import SesameError


class ClientGone(SesameError):
    """The client closed its connection; there is nobody left to answer."""


async def read_body(receive: Receive, content_length: bytes, limit_bytes: int) -> bytes:
    """The whole body, chunked or not.

    Raises `EntityTooLarge` as soon as the limit is passed, before the rest is read, and `ClientGone`.
    """
    if content_length and int(content_length) > limit_bytes:
        raise EntityTooLarge(limit_bytes)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit_bytes:
            raise EntityTooLarge(limit_bytes)
        return body
    chunks, size = [body], len(body)
    while message.get("more_body", False):
        if size > limit_bytes:
            raise EntityTooLarge(limit_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if size > limit_bytes:
        raise EntityTooLarge(limit_bytes)
    return b"".join(chunks)
