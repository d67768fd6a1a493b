"""Reads a request's body up to a limit, and gives what prevents it the API's codes.

Called by `fc.invoke`, `fc.web.http_functions` and the routes, after the caller is known.
Never looks at what the body says, nor at Content-MD5: clients disagree on its form (reference/api.md §0, rule 9).
"""

from sesame.fc.refusals import ApiError, EntityTooLarge
from sesame.http.interface import BodyTooLarge, Exchange, TooManyBodies


async def read_body(exchange: Exchange, limit_bytes: int) -> bytes:
    """The whole body, in chunks or not.

    Raises `EntityTooLarge` as soon as the limit is passed, before the rest is read; an error of status 503 where the
    bodies under way leave no memory for this one; `http.interface.Disconnected`.
    """
    try:
        return await exchange.read_body(limit_bytes)
    except BodyTooLarge as error:
        raise EntityTooLarge(error.limit_bytes) from error
    except TooManyBodies as error:
        text = "the requests under way take all the memory that there is for bodies; try again later"
        raise ApiError(503, "ResourceThrottled", text) from error
