"""Requests to real servers on this machine: what counts as delivered, and what is not followed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sesame.destinations.sender import HttpSender, NotDelivered

Serve = Callable[[bytes], "asyncio.Future[str]"]


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    made = HttpSender()
    yield made
    await made.close()


class Server:
    """Answers each request with the next of `answers`, or with the last one."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/in%20box?q=a%2Fb"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        self.requests.append(head + await reader.readexactly(length))
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()
        writer.close()


async def test_a_record_is_posted_to_exactly_the_url_that_was_given(sender: HttpSender) -> None:
    async with Server(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        await sender.send(server.url, {"X-A": "b"}, b"{}")
    assert server.requests[0].startswith(b"POST /in%20box?q=a%2Fb HTTP/1.1\r\n")
    assert b"\r\nX-A: b\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oops", "503 Busy", "101 Switching"])
async def test_another_status_is_no_delivery(sender: HttpSender, status: str) -> None:
    async with Server(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        with pytest.raises(NotDelivered, match=status.split()[0]) as raised:
            await sender.send(server.url, {}, b"{}")
    assert not raised.value.unreachable


async def test_a_redirect_is_not_followed(sender: HttpSender) -> None:
    async with Server(b"HTTP/1.1 307 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n") as server:
        with pytest.raises(NotDelivered, match="answered 307"):
            await sender.send(server.url, {}, b"{}")
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [b"no http at all\r\n\r\n", b""])
async def test_an_answer_that_is_none_is_no_delivery(sender: HttpSender, answer: bytes) -> None:
    async with Server(answer) as server:
        with pytest.raises(NotDelivered, match="no answer"):
            await sender.send(server.url, {}, b"{}")


async def test_where_nothing_listens_there_is_no_delivery(sender: HttpSender) -> None:
    async with Server(b"") as server:
        pass
    with pytest.raises(NotDelivered, match="no answer") as raised:
        await sender.send(server.url, {}, b"{}")
    assert raised.value.unreachable
