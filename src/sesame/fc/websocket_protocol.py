"""One websocket's connection: uvicorn's protocol over the library `websockets`, which is the better kept of the two.

Used by `fc.server` for the doors that speak it; `fc.http_protocol` hands a connection over.
Never decides what is said.
"""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """Takes a refusal for the end of the handshake that it is: uvicorn logs it as an error of the application.

    A client that closes its side is gone, whether or not it takes what was said before.
    """

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def eof_received(self) -> None:
        # The client asks for the end; what it does not take any more would hold that up for as long as it likes.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
