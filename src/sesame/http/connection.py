"""One HTTP/1.x connection of a client: its requests are parsed, queued and answered in order (RFC 9112).

Created by `http.server` for each socket it accepts. Never chooses an answer's content: the endpoint formats refusals.
"""

import asyncio
from collections import deque
from typing import cast

from sesame.http.exchange import Exchange
from sesame.http.framing import closing_answer
from sesame.http.half_closed import HalfClosed
from sesame.http.head_cache import KnownHead, learn
from sesame.http.interface import Reason, Refusal
from sesame.http.pace import Pace, Taking
from sesame.http.parsing import BETWEEN, BODY, HEAD, Finished, Refused, RequestParser
from sesame.http.request import Request
from sesame.http.shared import Opening, Shared

# Data is parsed in slices of this size, so that a read full of tiny requests does not queue them all.
SLICE_BYTES = 4096
LEAST_ERROR = 400


class Connection(asyncio.Protocol):
    """Used by the event loop, by its exchanges, and by `http.server` through `Tracked`."""

    def __init__(self, shared: Shared, opening: Opening) -> None:
        """Replaces `opening` among the server's connections."""
        self._shared = shared
        self._opening = opening
        self.peer, self.instance = opening.peer, opening.instance
        self.refused, self.proven, self.moves, self.drawn = opening.refused, False, 0, ""
        self.limits, self.budget, self.endpoint = shared.limits, shared.budget, shared.endpoint
        self.loop, self.clock = shared.loop, shared.clock
        self.write_paused = False
        self.transport: asyncio.Transport
        self._parser: RequestParser
        self._since = shared.now
        # `_discarding`: incoming data is dropped until the connection closes.
        self._lost = self._stopping = self._discarding = False
        self._half_closed: HalfClosed | None = None
        self._reading: Exchange | None = None
        self._known: KnownHead | None = None
        # The exchange being answered, and those that wait for their turn.
        self._running: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._unparsed = b""
        # The refusal to send after the answers under way.
        self._last_word: Refusal | None = None
        self._read_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._received = 0
        self._sending = Pace(shared.limits.body_bytes_per_s, shared.limits.body_grace_s)
        self.taking: Taking

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of `asyncio.Transport` without deriving from it.
        self.transport = cast(asyncio.Transport, transport)
        self.taking = Taking(self.transport, self.limits, self._shared.unsent)
        self._parser = RequestParser(self, self.limits, self._shared.addresses_of(self.transport, self._opening.way))
        self._shared.enter(self, instead_of=self._opening)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._discarding = True
        self._unparsed = b""
        self._queue.clear()
        self._shared.leave(self)
        self._parser.end()
        if self._half_closed is not None:
            self._half_closed.end()
        self._reading = None
        if self._running is not None:
            self._running.lose()
        self.resume_writing()

    def eof_received(self) -> bool:
        """Whether the connection stays open to answer the requests that have arrived completely."""
        # If the connection closes now, a batched answer would be lost.
        self._shared.batch.flush()
        whole = [each for each in (self._running, *self._queue) if each is not None and each is not self._reading]
        if self._half_closed is None and whole and self.transport.can_write_eof():
            self._half_closed = HalfClosed(self, lambda: self._running, self.limits.half_closed_s)
            if self._last_word is None:
                whole[-1].keep_alive = False
        return self._half_closed is not None

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._running is None and not self._lost and (self._queue or self._last_word is not None):
            self._go_on()

    def data_received(self, data: bytes) -> None:
        parser, known = self._parser, self._known
        if known is not None and parser.phase is BETWEEN and (body := known.body_of(data)) is not None:
            exchange = Exchange(self, known.request, body, keep_alive=True)
            if self._running is None:
                self._start(exchange)
            else:
                self._enqueue(exchange)
            return
        self._received += len(data)
        if self._discarding:
            if self._received > self.limits.linger_bytes and self._running is None:
                self._close()
        elif self._unparsed:
            self._unparsed += data
        else:
            between, before = parser.phase is BETWEEN, parser.request
            self._parse(data)
            request = parser.request
            if between and parser.phase is BETWEEN and request is not None and request is not before:
                plain = parser.repeatable and not (self._unparsed or self._discarding or self._stopping)
                self._known = learn(data, request, parser.body_bytes) if plain else None

    # Parsing.

    def _parse(self, data: bytes) -> None:
        at, size, parser = 0, len(data), self._parser
        while at < size:
            rest, left = size - at, parser.body_left
            in_body = parser.phase is BODY and left is not None and left >= rest
            end = size if in_body or rest <= SLICE_BYTES else at + SLICE_BYTES
            try:
                end, behind_head = self._feed(data, at, end)
            except Refused as error:
                self._fail(error.refusal)
            except Finished:
                self._discarding = True
            else:
                at = end
                if behind_head is not None:
                    self._become_websocket(behind_head + data[at:])
                    return
            if self._discarding:
                return
            if at < size and len(self._queue) >= self.limits.pipelined_requests:
                # A recognized head must not overtake this data.
                self._unparsed, self._known = data[at:], None
                return

    def _feed(self, data: bytes, at: int, end: int) -> tuple[int, bytes | None]:
        return end, self._parser.feed(data if at == 0 and end == len(data) else data[at:end])

    def head_begins(self) -> None:
        self._since = self._shared.now

    def request_begins(self, request: Request, *, keep_alive: bool, expects_continue: bool) -> None:
        self._received = 0
        self._sending.restart()
        goes_on = keep_alive and not (self.refused or self._stopping)
        exchange = self._reading = Exchange(self, request, None, keep_alive=goes_on, expects_continue=expects_continue)
        if self.refused:
            self._fail(Refusal(Reason.OVERLOADED, self._opening.refusal))
        elif self._running is None and not self._queue:
            self._start(exchange)
        elif self._stopping:
            self._discarding = True
        else:
            self._enqueue(exchange)

    def body_arrives(self, piece: bytes) -> None:
        exchange = self._reading
        if exchange is not None and not exchange.complete:
            exchange.take(piece)

    def request_ends(self) -> None:
        self._since = self._shared.now
        exchange, self._reading = self._reading, None
        if exchange is not None and not exchange.complete:
            exchange.end()

    def takes_websocket(self) -> bool:
        idle = self._running is None and not self._queue
        return self._shared.serve_websocket is not None and idle and not self.refused and not self._stopping

    def _become_websocket(self, rest: bytes) -> None:
        from sesame.http.websocket import WebSocketConnection  # with the first: few servers see any

        self._shared.batch.flush()
        self._parser.end()
        self._lost = True
        request = cast(Request, self._parser.request)
        WebSocketConnection(self._shared, request, self.transport, self).take_over(self, rest)

    # The order of requests.

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        self._shared.turns.start(exchange)

    def _enqueue(self, exchange: Exchange) -> None:
        """Queues a request that was sent before the previous one was answered."""
        self._queue.append(exchange)
        if len(self._queue) >= self.limits.pipelined_requests:
            self.pause_reading()

    def answered(self, exchange: Exchange) -> None:
        """The answer is complete; the endpoint's task may still be running."""
        if self._running is not exchange:
            return
        self._running = None
        if not exchange.keep_alive:
            self._end_after(exchange)
            return
        if self._lost:
            return
        self._since = self._shared.now
        if self._queue or self._unparsed or self._last_word is not None:
            self._go_on()
        elif self._read_paused:
            self.resume_reading()

    def _go_on(self) -> None:
        """Continues with what has arrived in the meantime."""
        self._shared.batch.flush()
        if self._queue and not self.write_paused:
            self._start(self._queue.popleft())
        if self._unparsed and len(self._queue) < self.limits.pipelined_requests:
            data, self._unparsed = self._unparsed, b""
            self._parse(data)
        if self._running is None and not self._queue and self._last_word is not None:
            self._say_last_word()
        elif not self._unparsed:
            self.resume_reading()

    def ended(self, exchange: Exchange) -> None:
        """The endpoint's task has ended."""
        self._shared.ended(exchange)
        if self._running is exchange:
            self._running = None

    def abandon(self, exchange: Exchange) -> None:
        self._shared.batch.flush()
        exchange.disconnected = True
        self._close()

    def _fail(self, refusal: Refusal) -> None:
        """Refuses the request being read, after answering the earlier ones, and closes the connection."""
        reading, self._reading = self._reading, None
        self._discarding = True
        if reading is not None and reading.complete:
            self._close()
            return
        self._last_word, self._unparsed = refusal, b""
        self._since = self._shared.now
        if reading is not None:
            if reading in self._queue:
                self._queue.remove(reading)
            elif reading is self._running:
                # Its body will never be complete.
                self._running = None
                reading.lose()
                if reading.begun:
                    self._close()
                    return
        if self._running is None and not self._queue:
            self._say_last_word()

    def _say_last_word(self) -> None:
        refusal, self._last_word = self._last_word, None
        assert refusal is not None
        if not self.transport.is_closing():
            self.write(closing_answer(self._shared.refuse(refusal)))
            self._linger()

    # Closing.

    def _end_after(self, exchange: Exchange) -> None:
        """The answer was the last on this connection."""
        self._queue.clear()
        self._unparsed, self._reading = b"", None
        if exchange.body_ended:
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Signals the end of the answers, and drops what the client still sends until it has read them."""
        if self._lost or self._half_closed is not None:
            # A client that has ended its side sends nothing more.
            self._close()
            return
        self._discarding = True
        self._since, self._received = self._shared.now, 0
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def _close(self) -> None:
        self._discarding = True
        if not self._lost:
            self.transport.close()

    # Writing.

    def write(self, data: bytes) -> None:
        self._shared.batch.flush()
        self.taking.write(data)

    def write_answer(self, data: bytes) -> None:
        shared = self._shared
        self.taking.written += len(data)
        running = self._running
        # Send refusals at once: waiting for the batch means waiting for running calls, which may take long.
        if running is not None and running.keep_alive and running.status < LEAST_ERROR:
            shared.batch.write(self.transport, data, others=len(shared.running) - 1)
        else:
            shared.batch.flush()
            self.transport.write(data)

    async def drained(self) -> None:
        while self.write_paused and not self._lost:
            if self._drained is None:
                self._drained = self.loop.create_future()
            await self._drained

    # Reading.

    def pause_reading(self) -> None:
        if not self._read_paused and not self._lost:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._read_paused and not self._lost and len(self._queue) < self.limits.pipelined_requests:
            self._read_paused = False
            self.transport.resume_reading()

    # For the server, as `Tracked`.

    @property
    def waits_since(self) -> float | None:
        if self._running is not None and self._running.body_ended:
            return None
        return self._since

    def tick(self, now: float, passed_s: float) -> None:
        limits, phase = self.limits, self._parser.phase
        if self.taking.too_slow(waiting_bytes := self.transport.get_write_buffer_size(), passed_s):
            self.abort()
            return
        if waiting_bytes:
            self._since = now if self._discarding else self._since
            return
        waited_s = now - self._since
        idle = self._running is None and not self._queue
        if self._discarding:
            if idle and waited_s > (limits.refused_s if self.refused else limits.linger_s):
                self.abort()
        elif phase is HEAD:
            if waited_s > limits.head_s:
                self._fail(Refusal(Reason.TIMED_OUT, f"the head of the request took more than {limits.head_s:g} s"))
        elif phase is BODY:
            self._check_pace_of_body(now, passed_s)
        elif idle and waited_s > (limits.keep_alive_s if self._parser.request else limits.first_request_s):
            self._close()

    def _check_pace_of_body(self, now: float, passed_s: float) -> None:
        received, self._received = self._received, 0
        if received:
            self._since = now
        if self._read_paused or self._reading is None or self._reading.expects_continue:
            # The client is not to blame for the delay.
            return
        if self._sending.measure(received, passed_s):
            rate = f"{self.limits.body_bytes_per_s} bytes per second for {self.limits.body_grace_s:g} s"
            self._fail(Refusal(Reason.TIMED_OUT, f"the body of the request came more slowly than {rate}"))

    @property
    def idle(self) -> bool:
        """Nothing is under way: the client may send a request, or leave."""
        pending = self._running or self._queue or self._unparsed or self._discarding or self._lost
        return self._parser.phase is BETWEEN and not pending

    def finish(self) -> None:
        self._shared.batch.flush()
        self._stopping = True
        self._known = None
        if (under_way := self._running or (self._queue[0] if self._queue else None)) is not None:
            under_way.keep_alive = False

    def stop(self) -> None:
        self.finish()
        if self._running is None and not self._queue:
            self._close()

    def abort(self) -> None:
        self._discarding = True
        self._shared.leave(self)
        if not self._lost:
            self.transport.abort()
