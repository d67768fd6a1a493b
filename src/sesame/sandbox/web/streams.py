"""Passes a request of the web on to a function's web server, and its response back, in pieces and both at once.

Used by `web.channel`. No more of either body is held than a connection buffers.
"""

import asyncio
import contextlib

from sesame.model.stream import Stream
from sesame.sandbox.interface import Call, Reply
from sesame.sandbox.web.answers import answer
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.heads import Heads, WebRequest


async def pass_through(connection: Connection, heads: Heads, call: Call) -> Reply:
    """Returns when all of the response was passed on.

    Raises `BadResponse` for what the server does not answer, and what the stream raises when its client has gone.
    """
    stream = call.stream
    assert stream is not None
    if stream.messages is not None:
        # Imported with the first one, as in `http.connection`.
        from sesame.sandbox.web.messages import pass_messages

        return await pass_messages(connection, heads, call, stream.messages)
    method = stream.method.encode("latin-1")
    here = stream.whole_body()
    length = len(here) if here is not None else stream.length
    head = heads.of_request(
        WebRequest(method, stream.target, tuple(stream.headers), length), call.request_id, call.meta
    )
    if here is not None:
        connection.begin(method, head + here)
        return await answer(connection, stream)
    connection.begin(method, head)
    sending = asyncio.get_running_loop().create_task(_send(connection, stream, chunked=length is None))
    try:
        return await answer(connection, stream)
    finally:
        if sending.done():
            # Its failure shows in the response, or in the client's having gone.
            sending.exception() if not sending.cancelled() else None
        else:
            # The server has answered before it took the whole request.
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, BadResponse, ConnectionError):
                await sending
            connection.close()


async def _send(connection: Connection, stream: Stream, *, chunked: bool) -> None:
    try:
        while piece := await stream.receive():
            connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await connection.drain()
    except BadResponse:
        # It may have answered before.
        raise
    except Exception:
        # The request will never be whole, so that there is nothing to answer.
        connection.close()
        raise
    if chunked:
        connection.write(b"0\r\n\r\n")
