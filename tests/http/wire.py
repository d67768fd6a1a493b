"""A conversation with one connection without sockets: pieces of bytes in, what the endpoint saw and bytes out."""

import asyncio
from typing import Any

from tests.http.harness import Clock, Endpoint, Serve
from tests.support.fakes import ReadFrom

from sesame.http.connection import Connection
from sesame.http.interface import Disconnected, Exchange, Reason
from sesame.http.limits import Limits
from sesame.http.shared import Shared, Way

Seen = list[tuple[Any, ...]]
TURNS = 30


class Wire(asyncio.Transport):
    """Takes what is written, and closes when it is told to; `taking` may be set to False for a client that is slow."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.ended = self.paused = False
        self.waiting = 0

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 5000), "sockname": ("192.0.2.2", 80)}.get(name, default)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def whole_answers(written: bytes) -> int:
    """How many answers these are. Raises AssertionError for one that is cut off."""
    count = 0
    while written:
        head, mark, rest = written.partition(b"\r\n\r\n")
        assert mark
        assert head.startswith(b"HTTP/1.1 ")
        if head.startswith(b"HTTP/1.1 100 "):
            written = rest
            continue
        lengths = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        assert len(lengths) <= 1
        size = int(lengths[0].partition(b": ")[2]) if lengths else 0
        assert len(rest) >= size
        written, count = rest[size:], count + 1
    return count


class Opening:
    """What a connection takes the place of."""

    peer, instance, refused, refusal = "192.0.2.1", "", False, ""
    way: Way | None = None
    waits_since = None

    def tick(self, now: float, passed_s: float) -> None: ...

    def finish(self) -> None: ...

    def stop(self) -> None: ...

    def abort(self) -> None: ...


class Talk:
    """One connection and its other end, on the loop that runs."""

    def __init__(self, serve: Serve, limits: Limits | None = None) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(serve)
        self.shared = Shared(self.endpoint, limits or Limits(), ReadFrom(self.clock), tls=False)
        self.wire = Wire()
        self.connection = Connection(self.shared, Opening())
        self.connection.connection_made(self.wire)

    def say(self, data: bytes) -> None:
        self.connection.data_received(data)

    def close(self) -> None:
        """Gives up the descriptor that a server keeps, where very many conversations are held."""
        self.shared.reserve.give_up()

    async def say_in_pieces(self, stream: bytes, step: int) -> None:
        for at in range(0, len(stream), step):
            self.say(stream[at : at + step])
            await asyncio.sleep(0)
        await self.turns()

    async def hang_up(self) -> bytes:
        """The client has gone, and nothing is under way or held any more; gives what it was told."""
        self.connection.connection_lost(None)
        await self.turns()
        assert not self.shared.running
        assert not self.shared.connections
        assert self.shared.budget.left_bytes == self.shared.limits.bodies_bytes
        assert all(refusal.reason is not Reason.OVERLOADED for refusal in self.endpoint.refused)
        return self.wire.written

    async def turns(self) -> None:
        """Of the loop, enough for all that came to be answered."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def passes(self, seconds: float) -> None:
        """Time, in steps as the server looks at it."""
        step = self.shared.limits.tick_s
        for _ in range(round(seconds / step)):
            self.clock.now += step
            self.shared.tick()

    async def end(self) -> None:
        """The client has gone; an endpoint that waits for something else is cancelled."""
        self.connection.connection_lost(None)
        await self.turns()
        tasks = [running.task for running in self.shared.running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def conversation(pieces: list[bytes], *, patient: bool = True, serve: Serve | None = None) -> tuple[Seen, bytes]:
    """What an endpoint sees of these pieces, each read by itself, and what the client is told.

    A patient client waits for an answer before it sends the next piece.
    """
    seen: Seen = []

    async def remember(exchange: Exchange) -> None:
        try:
            body = bytes(await exchange.read_body(1000))
        except Disconnected:
            return
        said = exchange.request
        seen.append((said.method, said.path, said.query, said.headers, said.http_version, body))
        exchange.send_whole(200, (), b"", said.raw_path + body)

    async def talk() -> bytes:
        talking = Talk(serve or remember)
        for piece in pieces:
            if talking.wire.closed or talking.wire.ended:
                break
            talking.say(piece)
            if patient:
                await talking.turns()
        await talking.turns()
        await talking.end()
        return talking.wire.written

    return seen, asyncio.run(talk())
