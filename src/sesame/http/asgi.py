"""Serves an ASGI application as an endpoint, so that Starlette's routers and others stay usable.

Used by endpoints that are ASGI applications, entirely or for some of their requests.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sesame.http.interface import Answer, Disconnected, Exchange, Refusal
from sesame.http.request import Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_VERSIONS = {"version": "3.0", "spec_version": "2.3"}


class AsgiEndpoint:
    """An endpoint that is an ASGI HTTP application; `refuse` formats refusals by the server."""

    def __init__(self, application: Application, refuse: Callable[[Refusal], Answer]) -> None:
        self._application = application
        self.refuse = refuse

    async def serve(self, exchange: Exchange) -> None:
        adapter = Adapter(exchange)
        await self._application(scope_of(exchange.request), adapter.receive, adapter.send)


def scope_of(request: Request) -> dict[str, Any]:
    """The request's ASGI scope, which the application may modify."""
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": request.http_version,
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.raw_path,
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers),
        "client": request.client,
        "server": request.server,
    }


class Adapter:
    """The `receive` and `send` callables of one request."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._read = False

    async def receive(self) -> Message:
        exchange = self._exchange
        if self._read:
            await exchange.gone()
            return {"type": "http.disconnect"}
        try:
            piece = await exchange.receive()
        except Disconnected:
            return {"type": "http.disconnect"}
        self._read = not piece or exchange.body_read
        return {"type": "http.request", "body": piece, "more_body": not self._read}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._exchange.begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.body":
            try:
                await self._exchange.send(message.get("body", b""), last=not message.get("more_body", False))
            except Disconnected:
                # ASGI reports through `receive` that the client has left.
                return
        else:
            raise RuntimeError(f"expected 'http.response.start' or 'http.response.body', found {kind!r}")
