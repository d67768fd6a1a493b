"""One request and its answer.

Created by `http.connection` for each request; the endpoint sees it as `http.interface.Exchange`.
"""

import asyncio
import io
from collections.abc import Callable
from typing import Protocol

import structlog

from sesame.http.body_budget import BodyBudget
from sesame.http.framing import BROKEN, NO_BODY, Framing, frame, header_lines
from sesame.http.interface import BodyTooLarge, Disconnected, Endpoint, Headers, TooManyBodies
from sesame.http.limits import Limits
from sesame.http.request import ASTERISK, Request
from sesame.http.status import BODILESS, CONTINUE, LINES, OK_LINE

# Up to this size, a head and the first piece of a body are joined, to send them with one system call.
JOIN_BYTES = 64 * 1024
# A body of unknown length reserves memory from the budget in steps of this size.
BUDGET_STEP_BYTES = 1024 * 1024
SERVER_OPTIONS = ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)

log = structlog.get_logger("sesame.http")


class Owner(Protocol):
    """The part of `http.connection.Connection` that is used here."""

    limits: Limits
    budget: BodyBudget
    instance: str
    endpoint: Endpoint
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], float]
    write_paused: bool

    def write(self, data: bytes) -> None: ...

    def write_answer(self, data: bytes) -> None:
        """Writes a small complete answer, or the last piece of one; may be batched with others for a moment."""

    async def drained(self) -> None: ...

    def resume_reading(self) -> None: ...

    def pause_reading(self) -> None: ...

    def answered(self, exchange: "Exchange") -> None: ...

    def ended(self, exchange: "Exchange") -> None: ...

    def abandon(self, exchange: "Exchange") -> None:
        """Closes the connection in the middle of an answer, so that the client sees that it is incomplete."""


class Exchange:
    """The head of the answer is sent with the first piece of its body."""

    __slots__ = (
        "_added", "_arrived_at", "_buffered", "_callback", "_cancelled", "_framing", "_head", "_left", "_pieces",
        "_reserved", "_waiter", "begun", "body_ended", "complete", "disconnected", "expects_continue", "keep_alive",
        "owner", "request", "status", "task",
    )  # fmt: skip

    task: asyncio.Task[None]

    def __init__(
        self, owner: Owner, request: Request, body: bytes | None, *, keep_alive: bool, expects_continue: bool = False
    ) -> None:
        """`body` is the whole body; None if it comes in pieces, through `take` and `end`."""
        self.owner = owner
        self._arrived_at = owner.clock()
        self.request = request
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.body_ended = body is not None
        self._pieces: bytes | list[bytes] | None = body
        self._buffered = 0
        self._reserved = 0
        self._waiter: asyncio.Future[None] | None = None
        self._callback: Callable[[], None] | None = None
        self._cancelled = False
        self.disconnected = self.begun = self.complete = False
        self.status = 0
        self._added = self._head = b""
        self._left = 0
        self._framing = NO_BODY

    async def run(self) -> None:
        """Lets the endpoint answer. If it does not finish, sends a 500, or aborts an answer that has begun."""
        owner = self.owner
        try:
            if self.request.raw_path == ASTERISK:
                # A request about the server as a whole (RFC 9110 §9.3.7).
                self.send_whole(200, SERVER_OPTIONS, b"", b"")
            else:
                await owner.endpoint.serve(self)
            if not (self.complete or self.disconnected):
                log.error("an endpoint did not answer", path=self.request.path)
                self._break_off()
        except Disconnected:
            self._break_off()
        except Exception as error:
            log.error("an endpoint failed", path=self.request.path, exc_info=error)
            self._break_off()
        except BaseException:
            # The server is stopping, and does not wait any longer.
            if not self.complete:
                owner.abandon(self)
            raise
        finally:
            if self._reserved:
                owner.budget.give_back(self._reserved, owner.instance)
                self._reserved = 0
            owner.ended(self)

    def _break_off(self) -> None:
        if self.complete or self.disconnected:
            return
        if self.begun:
            self.owner.abandon(self)
        else:
            self.keep_alive = False
            self.send_whole(BROKEN.status, BROKEN.headers, b"", BROKEN.body)

    # The request's body: from the connection to the endpoint.

    def take(self, piece: bytes) -> None:
        """A piece of the body has arrived."""
        pieces = self._pieces
        if pieces is None:
            self._pieces = [piece]
        else:
            assert isinstance(pieces, list)
            pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > self.owner.limits.unread_bytes:
            self.owner.pause_reading()
        self._wake()

    def end(self) -> None:
        """The whole body has arrived."""
        self.body_ended = True
        self._wake()

    def lose(self) -> None:
        """The client has disconnected."""
        if self.complete or self.disconnected:
            return
        self.disconnected = True
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
        self._wake()

    def age_ms(self) -> float:
        return (self.owner.clock() - self._arrived_at) * 1000

    @property
    def body_read(self) -> bool:
        return self.body_ended and not self._pieces

    def body_if_here(self) -> bytes | None:
        pieces, limit_bytes = self._pieces, self.owner.limits.uncounted_body_bytes
        if not self.body_ended or self._buffered > limit_bytes:
            return None
        body = b"".join(pieces) if isinstance(pieces, list) else pieces or b""
        return body if len(body) <= limit_bytes else None

    async def receive(self) -> bytes:
        while True:
            if self.disconnected:
                raise Disconnected
            pieces, self._pieces = self._pieces, None
            self._buffered = 0
            if pieces:
                return pieces if isinstance(pieces, bytes) else b"".join(pieces) if len(pieces) > 1 else pieces[0]
            if self.body_ended or self.complete:
                return b""
            await self._arrival()

    async def read_body(self, limit_bytes: int) -> bytes:
        announced = self._announced_bytes()
        if announced is not None and announced > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        # For instances only received bytes count, so that slow bodies do not take memory from others.
        in_steps = announced is None or self.owner.instance != ""
        step_bytes = BUDGET_STEP_BYTES if announced is None else min(BUDGET_STEP_BYTES, announced)
        if announced is not None and not in_steps:
            self._reserve(announced)
        first = await self.receive()
        if self.body_ended and not self._pieces:
            if len(first) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            if in_steps:
                self._reserve(len(first))
            return first
        # BytesIO grows in place, and `getvalue` does not copy its bytes.
        body, size = io.BytesIO(), 0
        piece = first
        while piece:
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            if in_steps and size > self._reserved:
                self._reserve(max(step_bytes, len(piece)))
            body.write(piece)
            piece = await self.receive()
        return body.getvalue()

    def _announced_bytes(self) -> int | None:
        """The body's length according to the head; None for a chunked body."""
        length = 0
        for name, value in self.request.headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                return None
        return length

    def _reserve(self, size: int) -> None:
        if self._reserved + size <= self.owner.limits.uncounted_body_bytes:
            return
        if not self.owner.budget.take(size, self.owner.instance):
            raise TooManyBodies
        self._reserved += size

    async def _arrival(self) -> None:
        """Returns when anything has happened to the request."""
        owner = self.owner
        if self.expects_continue:
            self.expects_continue = False
            owner.write(CONTINUE)
        owner.resume_reading()
        if self._waiter is None or self._waiter.done():
            self._waiter = owner.loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Disconnection.

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if callback is None:
            return
        if self.disconnected:
            self._callback = None
            callback()
        elif not self._buffered:
            # Only reading detects the end of the stream; a large body may have paused it.
            self.owner.resume_reading()

    def cancel(self) -> None:
        self._cancelled = True
        self.task.cancel()

    def uncancel(self) -> bool:
        was, self._cancelled = self._cancelled, False
        return was and self.task.uncancel() == 0

    async def gone(self) -> None:
        while not (self.disconnected or self.complete):
            # Drop the unread body, so that it does not hide the end of the stream.
            self._pieces, self._buffered = None, 0
            await self._arrival()

    # The answer: from the endpoint to the client.

    def add_headers(self, headers: Headers) -> None:
        self._added += header_lines(headers)

    def send_whole(self, status: int, headers: Headers, lines: bytes, body: bytes) -> None:
        if self.disconnected:
            return
        if self.begun:
            raise RuntimeError("a second answer to one request")
        if headers:
            lines += header_lines(headers)
        if self._added:
            lines += self._added
        if self.expects_continue or not self.body_ended:
            self._settle_keep_alive()
        if not self.keep_alive:
            lines += b"Connection: close\r\n"
        self.begun, self.status = True, status
        if status == 200 and self.request.method != "HEAD" and len(body) <= JOIN_BYTES:
            # By far the most common answer.
            self.owner.write_answer(b"%b%bContent-Length: %d\r\n\r\n%b" % (OK_LINE, lines, len(body), body))
        else:
            self._send_other(status, lines, body)
        self._complete()

    def _send_other(self, status: int, lines: bytes, body: bytes) -> None:
        if status in BODILESS:
            length, body = b"", b""
        elif self.request.method == "HEAD":
            # The length that a GET's body would have: as set by the endpoint, else the length of the body it passes.
            has_length = b"\r\ncontent-length:" in b"\r\n" + lines.lower()
            length = b"Content-Length: %d\r\n" % len(body) if body and not has_length else b""
            body = b""
        else:
            length = b"Content-Length: %d\r\n" % len(body)
        head = b"%b%b%b\r\n" % (LINES[status], lines, length)
        if len(body) <= JOIN_BYTES:
            self.owner.write_answer(head + body)
        else:
            self.owner.write(head)
            self.owner.write(body)

    def begin(self, status: int, headers: Headers, lines: bytes = b"") -> None:
        if self.disconnected:
            return
        if self.begun:
            raise RuntimeError("a second answer to one request")
        framed = frame(self.request, status, headers)
        self._framing, self._left = framed.framing, framed.length
        lines += framed.lines + self._added
        self._settle_keep_alive()
        if self._framing is Framing.UNTIL_CLOSE:
            self.keep_alive = False
        if not self.keep_alive:
            lines += b"Connection: close\r\n"
        self.begun, self.status = True, status
        self._head = b"%b%b\r\n" % (LINES[status], lines)

    async def send(self, piece: bytes, *, last: bool = False) -> None:
        owner = self.owner
        if owner.write_paused and not self.disconnected:
            await owner.drained()
        if self.disconnected:
            raise Disconnected
        if not self.begun:
            raise RuntimeError("a body was sent before its head")
        if self.complete:
            raise RuntimeError("more was sent after the end of the answer")
        framed = self._framed(piece, last=last)
        if last and self._left:
            raise RuntimeError("the answer is shorter than its Content-Length")
        head, self._head = self._head, b""
        if head and len(framed) > JOIN_BYTES:
            owner.write(head)
            head = b""
        data = head + framed if head else framed
        if last and self.keep_alive and len(data) <= JOIN_BYTES:
            if data:
                owner.write_answer(data)
        elif data:
            owner.write(data)
        if last:
            self._complete()

    def _framed(self, piece: bytes, *, last: bool) -> bytes:
        if self._framing is Framing.NONE:
            return b""
        if self._framing is Framing.CHUNKED:
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            return chunk + b"0\r\n\r\n" if last else chunk
        if self._framing is Framing.LENGTH:
            if len(piece) > self._left:
                raise RuntimeError("the answer is longer than its Content-Length")
            self._left -= len(piece)
        return piece

    @property
    def between_chunks(self) -> bool:
        """Whether the client of an answer in chunks expects the size of the next one."""
        return self._framing is Framing.CHUNKED and not self._head

    def _settle_keep_alive(self) -> None:
        """Answering without waiting for a long rest of the body ends the connection (RFC 9112 §9.6)."""
        if not self.body_ended and self.keep_alive:
            announced = self._announced_bytes()
            if self.expects_continue or announced is None or announced > self.owner.limits.skipped_body_bytes:
                self.keep_alive = False
        self.expects_continue = False

    def _complete(self) -> None:
        self.complete = True
        self._pieces, self._buffered = None, 0
        self._wake()
        self.owner.answered(self)
