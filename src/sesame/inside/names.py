"""The resolver that functions find in their network: some names lead to this Sesame, others to the host's resolver.

Serves the sockets of each instance's network, UDP and TCP (RFC 1035), and says what it answers itself in `NameAnswers`.
Nothing of it reaches the host's own resolution.
"""

import asyncio
import contextlib
import socket
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
import structlog

from sesame.inside.relaying import Acceptor

PORT = 53
TTL_S = 60
UPSTREAM_TIMEOUT_S = 5.0
# Questions of one instance that wait for the host's resolver at a time; the client asks again where one is dropped.
WAITING_MAX = 64
TAKEN_AT_ONCE = 32
MESSAGE_BYTES_MAX = 65535

log = structlog.get_logger("sesame.inside")


def host_nameservers() -> list[str]:
    """As /etc/resolv.conf of the host says at this moment; empty where there is none."""
    try:
        found = dns.resolver.Resolver().nameservers
    except (dns.resolver.NoResolverConfiguration, OSError):
        return []
    return [str(server) for server in found]


class NameServer:
    """`is_own` tells the names that lead to `address`. Without `nameservers` no other name is known."""

    def __init__(
        self, is_own: Callable[[str], bool], address: str, nameservers: Callable[[], Sequence[str]] | None
    ) -> None:
        self._is_own = is_own
        self._address = address
        self._nameservers = nameservers

    def serve_datagrams(self, receiving: socket.socket, client: str) -> Callable[[], None]:
        """As `sandbox.network.Serve`, of a UDP socket."""
        return _Datagrams(receiving, self).end

    def serve_streams(self, listening: socket.socket, client: str) -> Callable[[], None]:
        """As `sandbox.network.Serve`, of a TCP socket."""
        return Acceptor(listening, self._answer_stream).end

    def answer_at_once(self, question: bytes) -> bytes | None:
        """b"" for what is no question; None where the host's resolver has to be asked."""
        try:
            query = dns.message.from_wire(question)
        except (dns.exception.DNSException, ValueError):
            return b""
        if query.flags & dns.flags.QR or len(query.question) != 1:
            return b""
        (asked,) = query.question
        own = self._is_own(asked.name.to_text(omit_final_dot=True).lower())
        if not own and self._nameservers is not None:
            return None
        answer = dns.message.make_response(query, recursion_available=True)
        if not own:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif asked.rdtype == dns.rdatatype.A and asked.rdclass == dns.rdataclass.IN:
            answer.answer.append(dns.rrset.from_text(asked.name, TTL_S, "IN", "A", self._address))
        return answer.to_wire()

    async def answer(self, question: bytes, *, stream: bool) -> bytes:
        """The answer of the host's resolver, or SERVFAIL where none of its servers answers."""
        query = dns.message.from_wire(question)
        ask = dns.asyncquery.tcp if stream else dns.asyncquery.udp
        assert self._nameservers is not None
        for server in await asyncio.to_thread(self._nameservers):
            # The next one is asked.
            with contextlib.suppress(OSError, EOFError, dns.exception.DNSException):
                return (await ask(query, server, timeout=UPSTREAM_TIMEOUT_S)).to_wire()
        failed = dns.message.make_response(query, recursion_available=True)
        failed.set_rcode(dns.rcode.SERVFAIL)
        return failed.to_wire()

    async def _answer_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            question = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            answer = self.answer_at_once(question)
            if answer is None:
                answer = await self.answer(question, stream=True)
            if not answer:
                return
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()


class _Datagrams:
    """One UDP socket, read on the event loop."""

    def __init__(self, receiving: socket.socket, server: NameServer) -> None:
        self._socket = receiving
        self._server = server
        self._waiting: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(receiving.fileno(), self._receive)

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        for task in self._waiting:
            task.cancel()

    def _receive(self) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                question, client = self._socket.recvfrom(MESSAGE_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                return
            answer = self._server.answer_at_once(question)
            if answer is not None:
                self._send(answer, client)
            elif len(self._waiting) < WAITING_MAX:
                task = asyncio.get_running_loop().create_task(self._ask(question, client))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def _ask(self, question: bytes, client: tuple[str, int]) -> None:
        self._send(await self._server.answer(question, stream=False), client)

    def _send(self, answer: bytes, client: tuple[str, int]) -> None:
        # A client that does not read what it asked for loses it.
        with contextlib.suppress(OSError):
            if answer:
                self._socket.sendto(answer, client)
