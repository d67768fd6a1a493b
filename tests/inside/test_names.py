"""The resolver that functions find: its own names at once, others from the host's resolver or from nobody."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from sesame.inside import names
from sesame.inside.bounds import for_descriptors
from sesame.inside.names import DATAGRAM_BYTES_MAX, NameServer
from sesame.inside.paced import TAKEN_AT_ONCE
from sesame.model.fair_rate import FairRate

ADDRESS = "100.64.0.1"
PATIENCE_S = 30.0
DESCRIPTORS = 2048
QUESTION = dns.message.make_query("own.example", "A").to_wire()


def is_own(name: str) -> bool:
    return name.endswith("own.example")


@asynccontextmanager
async def serving(nameservers: Sequence[str] | None) -> AsyncIterator[int]:
    """The port, for UDP and TCP."""
    server = NameServer(
        is_own, ADDRESS, None if nameservers is None else lambda: nameservers, for_descriptors(FairRate(), DESCRIPTORS)
    )
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    receiving = socket.socket(type=socket.SOCK_DGRAM)
    receiving.bind(("127.0.0.1", port))
    for each in (listening, receiving):
        each.setblocking(False)
    ends = [server.serve_streams(listening, "test"), server.serve_datagrams(receiving, "test")]
    try:
        yield port
    finally:
        for end in ends:
            end()


@pytest.mark.parametrize("ask", [dns.asyncquery.udp, dns.asyncquery.tcp])
async def test_its_own_names_have_one_address(ask: object) -> None:
    async with serving(None) as port:
        for name, kind, expected in (
            ("own.example", "A", [ADDRESS]),
            ("Bucket.OWN.example.", "A", [ADDRESS]),
            ("own.example", "AAAA", []),
            ("own.example", "MX", []),
        ):
            query = dns.message.make_query(name, kind)
            answer = await ask(query, "127.0.0.1", port=port, timeout=PATIENCE_S)  # type: ignore[operator]
            assert answer.rcode() == dns.rcode.NOERROR
            assert [str(record) for found in answer.answer for record in found] == expected


async def test_other_names_are_unknown_where_there_is_no_outside() -> None:
    async with serving(None) as port:
        answer = await dns.asyncquery.udp(
            dns.message.make_query("example.com", "A"), "127.0.0.1", port=port, timeout=PATIENCE_S
        )
        assert answer.rcode() == dns.rcode.NXDOMAIN


async def test_a_host_without_a_resolver_is_told() -> None:
    async with serving([]) as port:
        answer = await dns.asyncquery.udp(
            dns.message.make_query("example.com", "A"), "127.0.0.1", port=port, timeout=PATIENCE_S
        )
        assert answer.rcode() == dns.rcode.SERVFAIL


async def test_what_is_no_question_is_not_answered() -> None:
    server = NameServer(is_own, ADDRESS, None, for_descriptors(FairRate(), DESCRIPTORS))
    for question in (
        b"",
        b"x" * 11,
        b"\xff" * 64,
        dns.message.make_response(dns.message.make_query("a", "A")).to_wire(),
        # Two questions, an answer, and more records than a question comes with; and what is too long for one.
        *(QUESTION[:at] + b"\x00\x03" + QUESTION[at + 2 :] for at in (4, 6, 8, 10)),
        QUESTION + b"x" * DATAGRAM_BYTES_MAX,
    ):
        assert server.answer_at_once(question) == b""
    async with serving(None) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x05hello")
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()


async def test_more_questions_than_are_taken_at_once_are_answered_too() -> None:
    asked = 3 * TAKEN_AT_ONCE
    async with serving(None) as port:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", port))
            for _ in range(asked):
                client.send(QUESTION)
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(asked):
                    await asyncio.get_running_loop().sock_recv(client, DATAGRAM_BYTES_MAX)


async def test_a_long_answer_of_the_hosts_resolver_is_passed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"any" * 20_000
    questions: list[bytes] = []

    async def resolve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        questions.append(await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big")))
        writer.write(len(long).to_bytes(2, "big") + long)
        writer.close()

    question = dns.message.make_query("example.com", "TXT").to_wire()
    resolving = await asyncio.start_server(resolve, "127.0.0.1", 0)
    async with resolving, serving(["127.0.0.1"]) as port:
        monkeypatch.setattr(names, "PORT", resolving.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(len(question).to_bytes(2, "big") + question)
        answer = await asyncio.wait_for(reader.readexactly(2 + len(long)), PATIENCE_S)
        writer.close()
    assert (answer[2:], questions) == (long, [question])


async def test_a_question_by_stream_that_is_too_long_ends_the_connection() -> None:
    async with serving(None) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((DATAGRAM_BYTES_MAX + 1).to_bytes(2, "big"))
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()
