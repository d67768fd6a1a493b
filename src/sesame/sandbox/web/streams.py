"""Streams a web request to a function's web server and its response back, concurrently.

Used by `web.channel`. Holds no more of either body than a connection buffers.
"""

import asyncio
import contextlib

from sesame.model.stream import Stream
from sesame.sandbox.interface import Call, Reply
from sesame.sandbox.web.answers import answer
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.heads import Heads, WebRequest


async def pass_through(connection: Connection, heads: Heads, call: Call) -> Reply:
    """Returns when the whole response has been passed on.

    Raises `BadResponse` if the server does not answer, and the stream's exception if its client has disconnected.
    """
    stream = call.stream
    assert stream is not None
    if stream.messages is not None:
        # Imported on first use, as in `http.connection`.
        from sesame.sandbox.web.messages import pass_messages

        return await pass_messages(connection, heads, call, stream.messages)
    method = stream.method.encode("latin-1")
    whole_body = stream.whole_body()
    length = len(whole_body) if whole_body is not None else stream.length
    head = heads.of_request(
        WebRequest(method, stream.target, tuple(stream.headers), length), call.request_id, call.meta
    )
    if whole_body is not None:
        connection.begin(method, head + whole_body)
        return await answer(connection, stream)
    connection.begin(method, head)
    sending = asyncio.get_running_loop().create_task(_send(connection, stream, chunked=length is None))
    try:
        return await answer(connection, stream)
    finally:
        if sending.done():
            if not sending.cancelled():
                # Retrieved; it appears in the response, or in the disconnection of the client.
                sending.exception()
        else:
            # The server has answered before reading the whole request.
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
        # The server may have answered before.
        raise
    except Exception:
        # The request can never be completed, so there will be no answer to it.
        connection.close()
        raise
    if chunked:
        connection.write(b"0\r\n\r\n")
