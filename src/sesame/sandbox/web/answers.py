"""Streams the response of a function's web server to the caller, or collects it if it is an error.

Used by `web.streams`, by `web.messages` for a server that refuses a websocket, and by `web.channel`.
"""

from sesame.model.stream import Stream
from sesame.sandbox.interface import Reply
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.statuses import has_handled, is_error, says_failed
from sesame.sandbox.wire import MAX_FRAME_BYTES


async def answer(connection: Connection, stream: Stream) -> Reply:
    """Any status counts as success unless the response declares a failure. Raises `BadResponse` if it is invalid.

    A response that names an error type is not passed on: the platform reports it as it does an exception.
    """
    response = await connection.head(with_body=True)
    if is_error(response):
        return Reply(False, await whole_body(connection), handled=has_handled(response))
    try:
        stream.begin(response.status, response.headers)
    except ValueError as error:
        raise BadResponse(str(error)) from error
    if response.length is None and not connection.body_waits:
        # The first piece may take long: tell the caller at once that the response has begun.
        await stream.send(b"", last=False)
    ended = False
    while not ended:
        piece = await connection.read()
        ended = connection.body_ended
        await stream.send(piece, last=ended)
    return Reply(not says_failed(response), b"")


async def whole_body(connection: Connection) -> bytes:
    """The whole body, but at most one byte more than the platform accepts as a result."""
    pieces, size = [], 0
    while size <= MAX_FRAME_BYTES and (piece := await connection.read()):
        pieces.append(piece)
        size += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
