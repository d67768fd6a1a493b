"""Requests to real servers on this machine: what counts as delivered, and what is not followed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from sesame._network import OwnNetworks, reach_of_records
from sesame.destinations.reach import Reach
from sesame.destinations.sender import HttpSender, NotDelivered, NotPermitted
from sesame.inside.rules import EgressRules, parse
from sesame.settings import Settings

Serve = Callable[[bytes], "asyncio.Future[str]"]


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    made = HttpSender(Reach(None))
    yield made
    await made.close()


@pytest.fixture
async def confined() -> AsyncIterator[HttpSender]:
    """Sends where functions with a network of their own may go, of this machine only to port 1."""
    made = HttpSender(Reach(EgressRules([parse("127.0.0.1:1")])))
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


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
async def test_a_callers_record_reaches_this_machine_by_no_name(confined: HttpSender, host: str) -> None:
    async with Server(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        url = f"http://{host}:{server.port}/"
        with pytest.raises(NotDelivered) as caught:
            await confined.send(url, {}, b"{}")
        # The library itself refuses numbers that are no address in canonical form.
        assert isinstance(caught.value, NotPermitted) or host in ("127.1", "2130706433")
        assert not server.requests
        if host == "127.0.0.1":
            # A connection that is kept for the operator is no way for callers.
            await confined.send(url, {}, b"{}", anywhere=True)
            with pytest.raises(NotPermitted, match="network_allow"):
                await confined.send(url, {}, b"{}")
            assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/", "https://10.0.0.8/", "http://[fe80::1]/"],
)
async def test_a_callers_record_reaches_no_metadata_and_no_private_network(confined: HttpSender, url: str) -> None:
    with pytest.raises(NotPermitted):
        await confined.send(url, {}, b"{}")


async def test_a_name_is_judged_by_what_it_resolves_to(confined: HttpSender, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolved(*_args: object, **_options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolved)
    with pytest.raises(NotPermitted, match=r"169\.254\.169\.254:80"):
        await confined.send("http://innocent.example.com/", {}, b"{}")


async def test_what_network_allow_names_is_reached(confined: HttpSender) -> None:
    with pytest.raises(NotDelivered) as caught:
        await confined.send("http://127.0.0.1:1/", {}, b"{}")
    assert not isinstance(caught.value, NotPermitted)


@pytest.mark.parametrize(
    ("kind", "url", "permitted"),
    [
        ("host", "http://127.0.0.1:9000/", True), ("host", "http://169.254.169.254/", True),
        ("egress", "http://127.0.0.1:9000/", False), ("egress", "http://localhost/", False),
        ("egress", "http://169.254.169.254/", False), ("egress", "http://10.1.2.3:80/", True),
        ("egress", "http://10.1.2.3:81/", False), ("egress", "http://8.8.8.8/", True),
        ("egress", "http://8.8.8.8:9010/", False), ("egress", "https://a.example.com/", True),
        ("none", "http://8.8.8.8/", False), ("none", "http://10.1.2.3/", True),
    ],
)  # fmt: skip
def test_records_go_where_functions_may(kind: str, url: str, permitted: bool) -> None:
    settings = Settings(network_allow=("10.1.2.3:80",))
    reach = reach_of_records(settings, OwnNetworks(kind, closed=frozenset({9010})))
    assert (reach.expected_instead(url) == "") == permitted
