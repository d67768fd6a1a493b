"""Passes a response of a function's web server on to the caller, as it comes.

Used by `web.streams`, and by `web.messages` for a server that refuses a websocket.
"""

from sesame.model.stream import Stream
from sesame.sandbox.interface import Reply
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.statuses import says_failed


async def answer(connection: Connection, stream: Stream) -> Reply:
    """Whatever its status, it is a failure only if it says so. Raises `BadResponse` for what cannot be passed on."""
    response = await connection.head()
    try:
        stream.begin(response.status, response.headers)
    except ValueError as error:
        raise BadResponse(str(error)) from error
    ended = False
    while not ended:
        piece = await connection.read()
        ended = connection.body_ended
        await stream.send(piece, last=ended)
    return Reply(not says_failed(response), b"")
