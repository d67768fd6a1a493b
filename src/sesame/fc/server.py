"""Serves an ASGI application over HTTP or HTTPS, inside the event loop that is already running.

Called by `app`, once for each door. Built on uvicorn with uvloop's sockets and httptools (docs/adr/0002).
Never handles signals, never writes an access log, never decides what an answer says.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn

from sesame.fc.http_protocol import Connection
from sesame.fc.websocket_protocol import WebsocketProtocol
from sesame.model.errors import ConfigurationError

BACKLOG = 2048
# Longer than the keep-alive of usual clients, so that it is they who close.
KEEP_ALIVE_S = 75
WEBSOCKET_MESSAGE_BYTES = 1024 * 1024
CANCELLED_S = 5.0


class HttpServer:
    """One listening socket. `start` before the first request, `stop` after the last; both once.

    An application that has `websockets` set to true is given those too.
    """

    def __init__(self, app: Any, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._app = app
        self._tls = tls
        self.host = host
        self.port = port
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    async def start(self) -> None:
        """Listens; `port` is the real one from here on. Raises `ConfigurationError` when the address cannot be had."""
        self._socket = _listen(self.host, self.port)
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            loop="none",
            http=Connection,
            ws=WebsocketProtocol if getattr(self._app, "websockets", False) else "none",
            ws_max_size=WEBSOCKET_MESSAGE_BYTES,
            # One official client answers a ping with another instead of a pong: silence alone is no reason to hang up.
            ws_ping_timeout=None,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        config.ssl = self._tls
        self._server = _Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket])

    async def stop(self, grace_s: float) -> None:
        """No new connections; running requests get `grace_s` to end, then are cancelled.

        Holds on return: no request is running, unless one ignored its cancellation for `CANCELLED_S`.
        """
        server, self._server = self._server, None
        if server is None or self._socket is None:
            return
        server.config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]
        await server.shutdown(sockets=[self._socket])
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=CANCELLED_S)


class _Server(uvicorn.Server):
    """Uvicorn without its hand on the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _name, address = found[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}: {error}; choose another address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses the port, or choose another "
            "(0 takes any free one)"
        ) from error
    return listener
