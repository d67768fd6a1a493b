"""The resolver in the functions' network: resolves cloud names to this Sesame, others through the host's resolver.

Serves UDP and TCP sockets in each instance's network (RFC 1035). Does not affect the host's own name resolution.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from sesame.inside.bounds import Bounds, Client
from sesame.inside.paced import Paced
from sesame.inside.relaying import Acceptor

PORT = 53
TTL_S = 60
UPSTREAM_TIMEOUT_S = 5.0
# Queries of one instance that may wait for the host's resolver. Clients retry a dropped query.
WAITING_MAX = 64
QUESTION_UNITS = 1.0
# Between two queries on one stream.
PAUSE_S = 0.02
# The size that clients and servers agreed on to avoid fragments (EDNS, RFC 6891), for queries and for UDP answers.
DATAGRAM_BYTES_MAX = 1232
STREAMS_MAX, STREAM_IDLE_S = 8, 30.0
# Additional records of a query: EDNS and a signature.
_MORE_RECORDS_MAX = 2
_HEADER = struct.Struct("!6H")


def host_nameservers() -> list[str]:
    """The current name servers in the host's /etc/resolv.conf; empty if there are none."""
    try:
        found = dns.resolver.Resolver().nameservers
    except (dns.resolver.NoResolverConfiguration, OSError):
        return []
    return [str(server) for server in found]


class NameServer:
    """`is_own` selects the names that resolve to `address`. Without `nameservers`, no other name resolves."""

    def __init__(
        self,
        is_own: Callable[[str], bool],
        address: str,
        nameservers: Callable[[], Sequence[str]] | None,
        bounds: Bounds,
    ) -> None:
        self._is_own = is_own
        self._address = address
        self._nameservers = nameservers
        self._bounds = bounds

    def serve_datagrams(self, receiving: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve` for a UDP socket."""
        return _Datagrams(receiving, self, self._bounds.of(client)).end

    def serve_streams(self, listening: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve` for a TCP socket."""
        return Acceptor(listening, self._answer_stream, self._bounds.of(client), STREAMS_MAX).end

    def answer_at_once(self, question: bytes) -> bytes | None:
        """The answer if known at once, or b"" for an invalid query; None if the host's resolver must be asked."""
        if not _may_be_question(question):
            return b""
        try:
            query = dns.message.from_wire(question)
        except (dns.exception.DNSException, ValueError):
            return b""
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return b""
        (question_record,) = query.question
        own = self._is_own(question_record.name.to_text(omit_final_dot=True).lower())
        if not own and self._nameservers is not None:
            return None
        answer = dns.message.make_response(query, recursion_available=True)
        if not own:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question_record.rdtype == dns.rdatatype.A and question_record.rdclass == dns.rdataclass.IN:
            answer.answer.append(dns.rrset.from_text(question_record.name, TTL_S, "IN", "A", self._address))
        return answer.to_wire()

    async def answer(self, question: bytes, *, stream: bool) -> bytes:
        """The answer of the host's resolver, or SERVFAIL if none of its servers answers."""
        query = dns.message.from_wire(question)
        if query.payload > DATAGRAM_BYTES_MAX:
            query.use_edns(query.edns, query.ednsflags, DATAGRAM_BYTES_MAX, options=list(query.options))
        assert self._nameservers is not None
        for server in await asyncio.to_thread(self._nameservers):
            # On failure, the next server is asked.
            with contextlib.suppress(OSError, EOFError, dns.exception.DNSException):
                if stream:
                    return await _answer_of(server, question)
                return (await dns.asyncquery.udp(query, server, timeout=UPSTREAM_TIMEOUT_S)).to_wire()
        failed = dns.message.make_response(query, recursion_available=True)
        failed.set_rcode(dns.rcode.SERVFAIL)
        return failed.to_wire()

    async def _answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(STREAM_IDLE_S):
                length = int.from_bytes(await reader.readexactly(2), "big")
                if length > DATAGRAM_BYTES_MAX:
                    return
                question = await reader.readexactly(length)
            answer = self.answer_at_once(question)
            if answer is None:
                answer = await self.answer(question, stream=True)
            if not answer:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
            await asyncio.sleep(PAUSE_S)


async def _answer_of(server: str, question: bytes) -> bytes:
    """Relays over TCP without parsing: parsing 64 KB of records would block the event loop."""
    async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(server, PORT)
        try:
            writer.write(len(question).to_bytes(2, "big") + question)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.transport.abort()


def _may_be_question(message: bytes) -> bool:
    """Whether the message is worth parsing: one question, and almost nothing else."""
    if not _HEADER.size <= len(message) <= DATAGRAM_BYTES_MAX:
        return False
    _number, _flags, questions, answers, authorities, more = _HEADER.unpack_from(message)
    return (questions, answers, authorities) == (1, 0, 0) and more <= _MORE_RECORDS_MAX


class _Datagrams:
    """One UDP socket, read on the event loop."""

    def __init__(self, receiving: socket.socket, server: NameServer, client: Client) -> None:
        self._socket = receiving
        self._server = server
        self._client = client
        self._waiting: set[asyncio.Task[None]] = set()
        self._questions = Paced(receiving, client.share, self._receive)

    def end(self) -> None:
        self._questions.end()
        for task in self._waiting:
            task.cancel()

    def _receive(self) -> float:
        # One byte more, to distinguish too long a query from a truncated one.
        question, client = self._socket.recvfrom(DATAGRAM_BYTES_MAX + 1)
        answer = self._server.answer_at_once(question)
        if answer is not None:
            self._send(answer, client)
        elif len(self._waiting) < WAITING_MAX and self._client.slots.take(self._client.name):
            task = asyncio.get_running_loop().create_task(self._ask(question, client))
            self._waiting.add(task)
            task.add_done_callback(self._answered)
        return QUESTION_UNITS

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._waiting.discard(task)
        self._client.slots.give_back(self._client.name)

    async def _ask(self, question: bytes, client: tuple[str, int]) -> None:
        self._send(await self._server.answer(question, stream=False), client)

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        # Lost if the client does not read its answers.
        with contextlib.suppress(OSError):
            if answer:
                self._socket.sendto(answer, client)
