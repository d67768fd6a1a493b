"""The host's side of an instance whose function is a web server: calls are HTTP requests, several at a time.

Used by the drivers instead of `wire.Channel`, which still carries the instance's setup and end. Our monitor in the
instance (runtime/custom) connects to the server and passes the connected sockets out, so that the server can listen in
its own network.
"""

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from sesame.model.web_server import WebServer
from sesame.sandbox.interface import NO_ANSWER_IN_TIME, Call, Reply, SandboxDied, SandboxSpec
from sesame.sandbox.web.answers import whole_body
from sesame.sandbox.web.connection import BadResponse, Connection
from sesame.sandbox.web.heads import PATHS, Heads, WebRequest, web_request_of
from sesame.sandbox.web.last_head import LastHead
from sesame.sandbox.web.statuses import has_failed, has_handled
from sesame.sandbox.web.streams import pass_through
from sesame.sandbox.wire import Channel, Output

# POLICY: shorter than the idle timeout of common servers, so that none closes a connection as a request is sent.
IDLE_CONNECTION_S = 1.0
# When a process ends, its connections close a moment before its death is reported.
DEATH_GRACE_S = 0.2
ONE_CONNECTION, CONNECTED = b"c", b"k"
_BROKEN_FROM = 500


def channel_of(
    spec: SandboxSpec, sock: socket.socket, output: Output, on_end: Callable[[], None]
) -> "Channel | WebChannel":
    """Creates the kind of channel that the function's instance needs."""
    if spec.web_server is None:
        return Channel(sock, output, on_end)
    return WebChannel(sock, output, on_end, spec.web_server)


class WebChannel:
    """Like `wire.Channel`, with any number of concurrent calls."""

    def __init__(self, sock: socket.socket, output: Output, on_end: Callable[[], None], server: WebServer) -> None:
        self._sock = sock
        self._output = output
        self._on_end = on_end
        self._port = server.port
        self._check = server.health_check
        self._listens = server.listens
        self._channel = Channel(sock, output, self._ended)
        self._connector, self._theirs = socket.socketpair()
        self._connector.setblocking(False)
        self._asked: deque[asyncio.Future[socket.socket]] = deque()
        # Idle connections with the time of their last use, most recently used last.
        self._idle: deque[tuple[Connection, float]] = deque()
        self._busy: set[Connection] = set()
        self._heads: Heads
        self._last_head = LastHead()
        self._loop: asyncio.AbstractEventLoop
        self._opened = False
        self._death = asyncio.Event()

    async def open(self) -> None:
        """Passes the monitor its end of the socket for connection requests, then acts like `Channel.open`."""
        self._loop = asyncio.get_running_loop()
        with self._theirs:
            socket.send_fds(self._sock, [b"\0"], [self._theirs.fileno()])
        await self._channel.open()
        self._loop.add_reader(self._connector.fileno(), self._on_connected)
        self._opened = True

    async def setup(self, setup: Mapping[str, Any]) -> str:
        """See `Channel.setup`; on return the server listens. Raises `SandboxStartFailed` if it does not."""
        self._heads = Heads(setup, self._port)
        return await self._channel.setup(setup)

    async def call(self, call: Call) -> Reply:
        """See `Channel.call`. Cancellation closes the connection, which the server may notice."""
        if self._channel.ended is not None:
            raise self._channel.ended
        if call.kind == "load":
            # A server that listens has already loaded its handler.
            return Reply(True, b"")
        if call.kind == "health_check":
            return await self._health()
        if not self._listens:
            return await self._run_program(call)
        connection = None
        try:
            connection = self._idle_connection() or await self._new_connection()
            if call.stream is not None:
                reply = await pass_through(connection, self._heads, call)
            else:
                reply = await self._whole(connection, call)
        except (BadResponse, OSError) as error:
            reply = await self._unanswered(error)
        finally:
            if connection is not None:
                self._give_back(connection)
        # Output written before the response may still be in the pipe.
        self._output.drain()
        return reply

    async def _run_program(self, call: Call) -> Reply:
        """Calls a program that runs once per event; it supports nothing but invoke."""
        if call.stream is not None or call.meta["http_params"] is not None:
            text = "the function takes events and no HTTP requests: its image has webServerMode false"
            return Reply(False, json.dumps({"errorMessage": text, "errorType": "NoWebServer"}).encode())
        return Reply(True, b"") if call.kind != "invoke" else await self._channel.call(call)

    def forget_idle(self) -> None:
        """Closes the idle connections, which a frozen server could not maintain."""
        while self._idle:
            self._idle.popleft()[0].close()

    def hang_up(self) -> None:
        self._channel.hang_up()

    def end(self, died: SandboxDied) -> None:
        self._channel.end(died)

    def close(self) -> None:
        self._channel.close()
        if self._opened:
            self._opened = False
            self._loop.remove_reader(self._connector.fileno())
        self._connector.close()
        self._theirs.close()

    async def _health(self) -> Reply:
        """Whether the check's URL answers in time with a status below 400; true if there is no check."""
        check = self._check
        if check is None:
            return Reply(True, b"")
        connection = None
        try:
            async with asyncio.timeout(check.timeout_seconds):
                connection = self._idle_connection() or await self._new_connection()
                connection.begin(b"GET", self._heads.of_check(check.http_get_url))
                response = await connection.head()
            return Reply(response.status < HTTPStatus.BAD_REQUEST, b"")
        except TimeoutError:
            return NO_ANSWER_IN_TIME
        except (BadResponse, OSError) as error:
            return await self._unanswered(error)
        finally:
            if connection is not None:
                self._give_back(connection)

    async def _whole(self, connection: Connection, call: Call) -> Reply:
        params = call.meta["http_params"]
        if params is None:
            head = self._heads.of_call(call.kind, call.request_id, call.meta, len(call.payload))
            connection.begin(PATHS[call.kind][0], head + call.payload)
        else:
            request: WebRequest = web_request_of(params, len(call.payload))
            connection.begin(request.method, self._heads.of_request(request, call.request_id, call.meta) + call.payload)
        response = await connection.head(with_body=True)
        body = await whole_body(connection)
        if params is not None:
            headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in response.headers]
            return Reply(not has_failed(response), body, {"status": response.status, "headers": headers})
        if call.kind != "invoke" and response.status >= _BROKEN_FROM:
            # By contract such an instance is restarted (reference/runtime.md §14).
            self._output.drain()
            raise SandboxDied("killed", f"{call.kind} was answered {response.status}")
        return Reply(not has_failed(response), body, handled=has_handled(response))

    async def _unanswered(self, error: Exception) -> Reply:
        try:
            async with asyncio.timeout(DEATH_GRACE_S):
                await self._death.wait()
        except TimeoutError:
            text = f"the function's web server on port {self._port} gave no response: {error}"
            return Reply(False, json.dumps({"errorMessage": text, "errorType": "BadResponse"}).encode())
        assert self._channel.ended is not None
        raise self._channel.ended from None

    # Connections.

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()
            if connection.reusable and self._loop.time() - since < IDLE_CONNECTION_S:
                self._busy.add(connection)
                return connection
            connection.close()
        return None

    async def _new_connection(self) -> Connection:
        # First, because answers come in the order of what was sent: nothing may wait for one that was not.
        self._connector.send(ONE_CONNECTION)
        request = self._loop.create_future()
        self._asked.append(request)
        try:
            sock = await asyncio.shield(request)
        except asyncio.CancelledError:
            request.add_done_callback(_close_socket)
            raise
        create = partial(Connection, self._last_head)
        _transport, connection = await self._loop.create_connection(create, sock=sock)
        self._busy.add(connection)
        return connection

    def _on_connected(self) -> None:
        try:
            data, fds, _flags, _address = socket.recv_fds(self._connector, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            # The monitor has ended; the wire reports that, too.
            self._loop.remove_reader(self._connector.fileno())
            self._opened = False
            self._refuse_connections("its monitor has ended")
            return
        if not self._asked or (data == CONNECTED) != bool(fds):
            for fd in fds:
                os.close(fd)
            self._channel.end(SandboxDied("protocol", "a connection that was not asked for"))
            return
        request = self._asked.popleft()
        if not fds:
            request.set_exception(BadResponse("it does not accept connections"))
            return
        try:
            request.set_result(_connected(fds[0]))
        except OSError as error:
            request.set_exception(BadResponse("a descriptor that is no socket came"))
            self._channel.end(SandboxDied("protocol", f"a descriptor that is no connection: {error}"))

    def _give_back(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if connection.reusable and connection.body_ended and self._channel.ended is None:
            self._idle.append((connection, self._loop.time()))
        else:
            connection.close()

    def _refuse_connections(self, why: str) -> None:
        while self._asked:
            request = self._asked.popleft()
            if not request.done():
                request.set_exception(BadResponse(why))

    def _ended(self) -> None:
        """The instance has ended, during calls or between them.

        Answers that have already arrived are still passed on.
        """
        self._death.set()
        self.forget_idle()
        for connection in list(self._busy):
            connection.end_when_quiet()
        self._refuse_connections("the instance has ended")
        self._on_end()


def _connected(fd: int) -> socket.socket:
    """Raises `OSError` unless the descriptor is a stream socket of IPv4."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise
    if sock.family != socket.AF_INET or sock.type != socket.SOCK_STREAM:
        sock.close()
        raise OSError("not an IPv4 stream socket")
    sock.setblocking(False)
    return sock


def _close_socket(asked: "asyncio.Future[socket.socket]") -> None:
    if not asked.cancelled() and asked.exception() is None:
        asked.result().close()
