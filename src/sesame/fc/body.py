"""Reads a request's body up to a limit, and maps failures to the API's error codes.

Called by `fc.invoke`, `fc.web.http_functions` and the routes, after the caller has been authenticated. Ignores the
content as well as Content-MD5, on whose format clients disagree (reference/api.md §0, rule 9). A body whose SHA-256 was
signed must match it.
"""

import asyncio
import hmac
from hashlib import sha256

from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import BODY_SHA256
from sesame.fc.refusals import ApiError, EntityTooLarge, SignatureNotMatch
from sesame.http.interface import BodyTooLarge, Exchange, TooManyBodies

# The digest of a larger body is computed in a thread.
DIGESTED_AT_ONCE_BYTES = 256 * 1024


async def read_body(exchange: Exchange, limit_bytes: int) -> bytes:
    """Reads the whole body, chunked or not.

    Raises `EntityTooLarge` as soon as the limit is passed, before reading the rest; an error with status 503 if other
    bodies take all the memory; `SignatureNotMatch` if the body is not the signed one; and
    `http.interface.Disconnected`.
    """
    try:
        body = await exchange.read_body(limit_bytes)
    except BodyTooLarge as error:
        raise EntityTooLarge(error.limit_bytes) from error
    except TooManyBodies as error:
        text = "the requests under way take all the memory that there is for bodies; try again later"
        raise ApiError(503, "ResourceThrottled", text) from error
    if len(body) > DIGESTED_AT_ONCE_BYTES and _signed_digest(exchange) is not None:
        await asyncio.to_thread(_check, exchange, body)
    else:
        _check(exchange, body)
    return body


def body_if_here(exchange: Exchange) -> bytes | None:
    """See `Exchange.body_if_here`. Raises `SignatureNotMatch` if the body is not the signed one."""
    body = exchange.body_if_here()
    if body is not None:
        _check(exchange, body)
    return body


class BodyPieces:
    """A body of any length that is passed on as it arrives."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._digest = _signed_digest(exchange)
        self._found = sha256()
        # If the digest was signed: the piece read ahead, once the first piece was requested.
        self._held: bytes | None = None

    async def receive(self) -> bytes:
        """The next piece, b"" at the end.

        Raises `SignatureNotMatch` instead of returning the last piece of a body that does not match its signed digest,
        so that such a body is never delivered completely.
        """
        if self._digest is None:
            return await self._exchange.receive()
        piece = await self._next() if self._held is None else self._held
        self._held = await self._next() if piece else b""
        return piece

    async def _next(self) -> bytes:
        piece = await self._exchange.receive()
        if self._digest is not None:
            self._found.update(piece)
            if not piece and not hmac.compare_digest(self._found.hexdigest().encode(), self._digest):
                raise SignatureNotMatch
        return piece


def _signed_digest(exchange: Exchange) -> bytes | None:
    """The signed digest of the body in hexadecimal; None if none was signed."""
    digest: bytes | None = head_of(exchange.request).memory.get(BODY_SHA256)
    return digest


def _check(exchange: Exchange, body: bytes) -> None:
    digest = _signed_digest(exchange)
    if digest is not None and not hmac.compare_digest(sha256(body).hexdigest().encode(), digest):
        raise SignatureNotMatch
