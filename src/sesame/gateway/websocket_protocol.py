"""One websocket's connection: uvicorn's protocol over the library `websockets`, which is the better kept of the two.

Used by `gateway.server` for the doors that speak it; `gateway.http_protocol` hands a connection over.
Never decides what is said.
"""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """Takes a refusal for the end of the handshake that it is: uvicorn logs it as an error of the application."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
