"""Reads a request's body up to a limit, and gives what prevents it the API's codes.

Called by `fc.invoke`, `fc.web.http_functions` and the routes, after the caller is known.
Never looks at what the body says, nor at Content-MD5: clients disagree on its form (reference/api.md §0, rule 9).
A body whose SHA-256 was signed must have it.
"""

import asyncio
import hmac
from hashlib import sha256

from sesame.fc.auth.request_head import head_of
from sesame.fc.auth.verifier import BODY_SHA256
from sesame.fc.refusals import ApiError, EntityTooLarge, SignatureNotMatch
from sesame.http.interface import BodyTooLarge, Exchange, TooManyBodies

# A digest over more is computed in a thread.
DIGESTED_AT_ONCE_BYTES = 256 * 1024


async def read_body(exchange: Exchange, limit_bytes: int) -> bytes:
    """The whole body, in chunks or not.

    Raises `EntityTooLarge` as soon as the limit is passed, before the rest is read; an error of status 503 where the
    bodies under way leave no memory for this one; `SignatureNotMatch` for a body that is not the one that was signed;
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
    """As `Exchange.body_if_here`. Raises `SignatureNotMatch` for a body that is not the one that was signed."""
    body = exchange.body_if_here()
    if body is not None:
        _check(exchange, body)
    return body


class BodyPieces:
    """A body that is passed on as it comes, however long."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._digest = _signed_digest(exchange)
        self._found = sha256()
        # Of a body whose digest was signed: what comes next, once a piece was asked for.
        self._held: bytes | None = None

    async def receive(self) -> bytes:
        """The next piece, b"" at the end.

        Raises `SignatureNotMatch` in place of the last piece of a body that is not the signed one: it is never given
        whole.
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
    """Of the body, in hex; None where the caller signed none."""
    digest: bytes | None = head_of(exchange.request).memory.get(BODY_SHA256)
    return digest


def _check(exchange: Exchange, body: bytes) -> None:
    digest = _signed_digest(exchange)
    if digest is not None and not hmac.compare_digest(sha256(body).hexdigest().encode(), digest):
        raise SignatureNotMatch
