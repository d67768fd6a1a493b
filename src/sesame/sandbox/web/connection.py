"""One HTTP/1.1 connection to a function's web server: sequential requests, with bodies in pieces.

Created by `web.channel`. The peer is not trusted: heads have a size limit, and bodies are read only as buffers allow.
"""

import asyncio
import socket
from collections import deque
from http import HTTPStatus
from typing import cast

import httptools

from sesame.sandbox.web.last_head import Head, LastHead

HEAD_BYTES_MAX = 64 * 1024
# Reading pauses while this much of a body waits to be taken.
BUFFERED_BYTES_MAX = 256 * 1024
# POLICY: after the server has ended, what it sent is still read, until nothing arrives between two looks.
LAST_LOOK_S = 0.1
# Only available on Linux.
_ACKNOWLEDGE_NOW: int | None = getattr(socket, "TCP_QUICKACK", None)


class BadResponse(Exception):
    """The server sent something other than an HTTP response, or nothing."""


class Connection(asyncio.Protocol):
    """Call `begin`, `write` the body, `head`, then `read` until b"". If `reusable`, another request may follow."""

    def __init__(self, last_head: LastHead | None = None) -> None:
        """`last_head` may be shared with other connections to the same server."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._last_head = LastHead() if last_head is None else last_head
        # The rest of a body whose head was recognized, and which therefore is not parsed.
        self._left = 0
        self._method = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head: Head | None = None
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._ended = True
        self._raw = False
        self._keep_alive = False
        self._read_paused = self._write_paused = False
        # Whether data has arrived since `end_when_quiet` last looked.
        self._heard = True
        self._failure: BadResponse | None = None
        self._wants_body = False
        self._news: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None

    @property
    def reusable(self) -> bool:
        return self._ended and self._keep_alive and self._failure is None and self._transport is not None

    def begin(self, method: bytes, data: bytes) -> None:
        """Sends the head of a request, with the part of its body that is available."""
        self._parser = None
        self._method, self._head_bytes, self._left, self._head = method, 0, 0, None
        self._ended = self._keep_alive = self._wants_body = False
        self.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Waits until there is room for more. Raises `BadResponse` if the server has closed the connection."""
        while self._write_paused and self._failure is None:
            # With a websocket, both directions write.
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        if self._failure is not None:
            raise self._failure

    async def head(self, *, with_body: bool = False) -> Head:
        """The head of the response. Raises `BadResponse`.

        With `with_body`, also waits for the first piece or the end of a body of known length. Servers often send head
        and body separately; a caller that passes them on together need not be woken twice.
        """
        while self._head is None or (with_body and self._lacks_body):
            if self._failure is not None:
                if self._head is None:
                    raise self._failure
                break
            self._wants_body = with_body
            self._news = self._loop.create_future()
            await self._news
        return self._head

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises `BadResponse` if the body is truncated."""
        while not self._pieces:
            if self._ended:
                return b""
            if self._failure is not None:
                raise self._failure
            self._news = self._loop.create_future()
            await self._news
        piece = self._pieces.popleft() if len(self._pieces) == 1 else self._all()
        self._buffered = 0
        # Also at the end of a body: the next response, or the connection's end, arrives on the same connection.
        self._resume()
        return piece

    @property
    def body_ended(self) -> bool:
        """Whether the whole response has arrived and been taken."""
        return self._ended and not self._pieces

    @property
    def body_waits(self) -> bool:
        """Whether a piece of the body, or its end, can be taken without waiting."""
        return self._ended or bool(self._pieces)

    @property
    def _lacks_body(self) -> bool:
        return self._head is not None and self._head.length is not None and not (self._ended or self._pieces)

    def close(self) -> None:
        self._fail("the connection was closed")
        if self._transport is not None:
            self._transport.abort()

    def end_when_quiet(self) -> None:
        """Called when the server has ended: reads what it has sent, and closes the connection if that has no end.

        Another process may hold the server's side open. Waits for a slow reader.
        """
        if self._transport is None:
            return
        if not (self._heard or self._read_paused):
            self.close()
            return
        self._heard = False
        self._loop.call_later(LAST_LOOK_S, self.end_when_quiet)

    def _all(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces.clear()
        return whole

    def _resume(self) -> None:
        if self._read_paused and self._transport is not None:
            self._read_paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._wants_body and self._lacks_body and self._failure is None:
            return
        if self._news is not None and not self._news.done():
            self._wants_body = False
            self._news.set_result(None)

    def _fail(self, why: str) -> None:
        if self._failure is None:
            self._failure = BadResponse(why)
        self._wake()
        self.resume_writing()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._raw:
            self._take(data)
        elif self._ended:
            # A response without a request.
            self.close()
            return
        else:
            if self._left:
                self._count(data)
            elif self._parser is not None or not self._recognize(data):
                self._parse(data)
            if not self._ended and self._socket is not None and _ACKNOWLEDGE_NOW is not None:
                # A server that sends head and body separately may wait for the acknowledgement of the head.
                self._socket.setsockopt(socket.IPPROTO_TCP, _ACKNOWLEDGE_NOW, 1)
        self._wake()

    def _recognize(self, data: bytes) -> bool:
        """Accepts the start of a response if its head is identical to the previous one."""
        last = self._last_head
        if last.head is None or self._method == b"HEAD" or not data.startswith(last.data):
            return False
        assert last.head.length
        self._head, self._keep_alive, self._left = last.head, True, last.head.length
        if len(data) > len(last.data):
            self._count(data[len(last.data) :])
        return True

    def _count(self, piece: bytes) -> None:
        """Takes a piece of a body whose head was recognized."""
        if len(piece) > self._left:
            # Excess data after a complete response belongs to no request.
            piece, self._keep_alive = piece[: self._left], False
        self._left -= len(piece)
        self._ended = not self._left
        self._take(piece)

    def _parse(self, data: bytes) -> None:
        begins = self._parser is None
        if self._parser is None:
            self._parser, self._headers = httptools.HttpResponseParser(self), []
        # Counted since the last piece of a body: heads, chunk extensions and trailers have no length limit of their
        # own.
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw, self._ended = True, False
            if rest := data[upgrade.args[0] :]:
                self._take(rest)
        except httptools.HttpParserError as error:
            # Invalid data after a complete response: do not reuse the connection, or it would count as the next
            # response.
            self._keep_alive = False
            if not self._ended:
                self._fail(f"its response is no HTTP: {error}")
                self.close()
        if not (self._ended or self._raw) and self._head_bytes > HEAD_BYTES_MAX:
            part = "head" if self._head is None else "trailer"
            self._fail(f"the {part} of its response has more than {HEAD_BYTES_MAX} bytes")
            self.close()
        if begins and self._keep_alive:
            self._learn(data)

    def _learn(self, data: bytes) -> None:
        """Remembers the head of the response that began with this data, if only its length frames the body."""
        head = self._head
        assert head is not None
        whole = self._buffered == head.length
        if head.length and b"transfer-encoding" not in head.first and self._ended == whole:
            self._last_head.learn(data, head, self._buffered)

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > BUFFERED_BYTES_MAX and not self._read_paused and self._transport is not None:
            self._read_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = self._socket = None
        if self._raw or (self._head is not None and self._head.length is None and not self._chunked()):
            # A body without a length ends with its connection.
            self._ended = True
        self._fail("its connection ended before the response was whole")

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # From the parser.

    def on_message_begin(self) -> None:
        if self._head is not None:
            # A second response to one request.
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # Drop trailers.
        if self._head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._head is not None or parser is None:
            return
        status = parser.get_status_code()
        if status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        first: dict[bytes, bytes] = {}
        for name, value in self._headers:
            first.setdefault(name.lower(), value)
        length = first.get(b"content-length")
        upgraded = status == HTTPStatus.SWITCHING_PROTOCOLS
        self._head = Head(status, tuple(self._headers), first, None if length is None else int(length), upgraded)
        self._keep_alive = parser.should_keep_alive() and not upgraded
        if self._method == b"HEAD":
            # Otherwise the parser would wait for the body that a GET would have.
            self._ended, self._keep_alive = True, False

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if not self._ended:
            self._take(body)

    def on_message_complete(self) -> None:
        if self._head is None:
            # An interim response (RFC 9110 §15.2).
            self._headers = []
        elif not self._head.upgraded:
            self._ended = True

    def _chunked(self) -> bool:
        return any(
            name.lower() == b"transfer-encoding" and b"chunked" in value.lower() for name, value in self._headers
        )
