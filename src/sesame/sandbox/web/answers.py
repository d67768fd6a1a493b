"""Passes a response of a function's web server on to the caller, as it comes, or keeps it where it is an error.

Used by `web.streams`, by `web.messages` for a server that refuses a websocket, and by `web.channel`.
"""

from sesame.model.stream import Stream
from sesame.sandbox.interface import Reply
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.statuses import has_handled, is_error, says_failed
from sesame.sandbox.wire import MAX_FRAME_BYTES


async def answer(connection: Connection, stream: Stream) -> Reply:
    """Whatever its status, it is a failure only if it says so. Raises `BadResponse` for what cannot be passed on.

    What names the type of its error is the platform's to tell, as of a function that raised: it is not passed on.
    """
    response = await connection.head(with_body=True)
    if is_error(response):
        return Reply(False, await whole_body(connection), handled=has_handled(response))
    try:
        stream.begin(response.status, response.headers)
    except ValueError as error:
        raise BadResponse(str(error)) from error
    if response.length is None and not connection.body_waits:
        # The first piece may be long in coming: the caller is told at once that the response has begun.
        await stream.send(b"", last=False)
    ended = False
    while not ended:
        piece = await connection.read()
        ended = connection.body_ended
        await stream.send(piece, last=ended)
    return Reply(not says_failed(response), b"")


async def whole_body(connection: Connection) -> bytes:
    """All of it, up to what the platform takes as a result and one byte more."""
    pieces, size = [], 0
    while size <= MAX_FRAME_BYTES and (piece := await connection.read()):
        pieces.append(piece)
        size += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
