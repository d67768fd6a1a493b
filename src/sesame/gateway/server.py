"""Serves an ASGI application over HTTP, inside the event loop that is already running.

Called by `app`, once for each door. Built on uvicorn with uvloop's sockets and httptools (docs/adr/0002).
Never handles signals, never writes an access log, never decides what an answer says, save for what is no HTTP.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sesame.gateway.answers import Failure
from sesame.gateway.headers import new_request_id
from sesame.model.errors import ConfigurationError

BACKLOG = 2048
# Longer than the keep-alive of usual clients, so that it is they who close.
KEEP_ALIVE_S = 75
HEAD_BYTES_MAX = 256 * 1024
GRACE_S = 5.0
# More than this is not held back, and not worth a copy.
GATHER_BYTES_MAX = 64 * 1024
CANCELLED_S = 5.0


class HttpServer:
    """One listening socket. `start` before the first request, `stop` after the last; both once."""

    def __init__(self, app: Any, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app = app
        self.host = host
        self.port = port
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listens; `port` is the real one from here on. Raises `ConfigurationError` when the address cannot be had."""
        self._socket = _listen(self.host, self.port)
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            loop="none",
            http=Protocol,
            ws="none",
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
        self._server = _Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket])

    async def stop(self, grace_s: float = GRACE_S) -> None:
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


class Protocol(HttpToolsProtocol):
    """Answers what is no HTTP in the API's form too, and bounds the size of a request's head."""

    _head_open = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Gathering(transport))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_open = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        # A head may begin behind the end of another request: only what comes for a head already open is counted.
        continued = self._head_open
        super().data_received(data)
        if continued and self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"The head of the request exceeds {HEAD_BYTES_MAX} bytes.")

    def send_400_response(self, msg: str) -> None:
        body = msgspec.json.encode(Failure("InvalidArgument", msg))
        head = (
            f"HTTP/1.1 400 Bad Request\r\nX-Fc-Request-Id: {new_request_id()}\r\nContent-Type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Gathering:
    """A transport that sends what is written in one turn of the loop with one system call.

    Uvicorn writes a response's head and body apart; on a small answer the second call costs as much as the first.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_bytes = 0
        # Everything else is the transport's own.
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        if len(data) + self._held_bytes > GATHER_BYTES_MAX:
            self._flush()
            self._transport.write(data)
            return
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))


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
