"""The HTTP and CONNECT proxy in the functions' network, named in their environment (RFC 9110 §7.6, §9.3.6).

Requests that `inside.rules` refuses get status 403. A host is resolved once, its address checked, and the connection
then made to that address.
"""

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from sesame.inside.bounds import Bounds, Client
from sesame.inside.relaying import Acceptor, Streams, closing, connected, relay
from sesame.inside.rules import Address, EgressRules
from sesame.model.fair_share import FairSlots

HEAD_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 30.0
LOOK_UP_TIMEOUT_S = 10.0
# Per instance, and in total. A name whose servers do not answer occupies a thread (19 KB) until the host's resolver
# gives up.
LOOK_UPS_MAX, LOOK_UP_THREADS = 4, 128
# Per name; its owner may give it thousands.
ADDRESSES_MAX = 16
# Headers for the proxy itself, or for a single connection.
_NOT_PASSED_ON = frozenset({b"proxy-connection", b"proxy-authorization", b"connection", b"keep-alive"})

LookUp = Callable[[str, int], Awaitable[Sequence[Address]]]
# Takes over a connection, with the name of its instance.
Take = Callable[[socket.socket, str], None]


class _Refused(Exception):
    """Sent to the client as a status and a sentence."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


# A separate pool, so that slow look-ups of functions never block other work of Sesame.
_looking_up = ThreadPoolExecutor(LOOK_UP_THREADS, thread_name_prefix="looking-up-names")


async def look_up(name: str, port: int) -> Sequence[Address]:
    """Resolves the name through the host. Raises `OSError`."""
    ask = functools.partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_looking_up, ask)
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


class Own(NamedTuple):
    """The names that lead to Sesame itself, and the handlers of connections to its ports."""

    is_own: Callable[[str], bool]
    ports: Mapping[int, Take]


NOTHING_OWN = Own(lambda _name: False, {})


class EgressProxy:
    """One for all instances."""

    def __init__(
        self, rules: EgressRules, bounds: Bounds, looking_up: LookUp = look_up, own: Own = NOTHING_OWN
    ) -> None:
        self._own = own
        self._rules = rules
        self._bounds = bounds
        self._look_up = looking_up
        self._slots = FairSlots(LOOK_UP_THREADS, LOOK_UPS_MAX)

    def serve(self, listening: socket.socket, client: str) -> Callable[[], None]:
        """A `sandbox.network.Serve`."""
        bounded = self._bounds.of(client)
        return Acceptor(listening, functools.partial(self._answer, bounded), bounded).end

    async def _answer(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, host, port, passed_on = _read_head(head)
            theirs = await self._connect(host, port, client)
        except _Refused as refused:
            writer.write(_answer_of(refused))
            await writer.drain()
            return
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            theirs[1].write(passed_on)
        await closing(theirs[1], relay((reader, writer), theirs, client.passing))

    async def _connect(self, host: str, port: int, client: Client) -> Streams:
        if self._own.is_own(host.lower().removesuffix(".")):
            return await self._to_own(host, port, client.name)
        addresses = await self._addresses(host, port, client.name)
        permitted = [address for address in addresses[:ADDRESSES_MAX] if self._rules.permit(address, port)]
        if not permitted:
            raise _Refused(
                "403 Forbidden",
                f"{host}:{port} is in a network of this machine's own, which functions may not reach; "
                "the setting network_allow names what they may",
            )
        failure = ""
        for address in permitted:
            try:
                return await connected(client, str(address), port, CONNECT_TIMEOUT_S)
            except OSError as error:
                failure = str(error) or "no answer in time"
        raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: {failure}")

    async def _to_own(self, host: str, port: int, client: str) -> Streams:
        take = self._own.ports.get(port)
        if take is None:
            raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: nothing listens on this port")
        ours, theirs = socket.socketpair()
        try:
            take(theirs, client)
            return await asyncio.open_unix_connection(sock=ours)
        except OSError as error:
            ours.close()
            theirs.close()
            raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: {error}") from error

    async def _addresses(self, host: str, port: int, client: str) -> Sequence[Address]:
        try:
            # Without the IPv6 zone, which is meaningful only on this machine.
            return [ipaddress.ip_address(host.partition("%")[0])]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                await self._slots.wait(client)
                looking_up = asyncio.ensure_future(self._look_up(host, port))
                # Not earlier: the thread goes on even if nobody waits for it.
                looking_up.add_done_callback(lambda _ended: self._slots.give_back(client))
                return await asyncio.shield(looking_up)
        except (OSError, UnicodeError) as error:
            raise _Refused("502 Bad Gateway", f"{host} cannot be found: {error or 'no answer in time'}") from error


def _read_head(head: bytes) -> tuple[bytes, str, int, bytes]:
    """Method, host, port and, except for CONNECT, the head to send to the server."""
    first, *fields = head[:-4].split(b"\r\n")
    method, _blank, rest = first.partition(b" ")
    target, _blank, version = rest.rpartition(b" ")
    try:
        if method == b"CONNECT":
            parts = urlsplit("//" + target.decode("ascii"))
            return method, parts.hostname or "", parts.port or 443, b""
        parts = urlsplit(target.decode("ascii"))
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise _Refused("400 Bad Request", f"the target is not an address: {error}") from error
    if parts.scheme != "http" or not host:
        raise _Refused(
            "400 Bad Request", "this is a proxy: expected CONNECT HOST:PORT, or a URL that begins with http://"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [field for field in fields if field.partition(b":")[0].strip().lower() not in _NOT_PASSED_ON]
    # One request per connection: the server ends its answer by closing, so no request for another host can follow.
    lines = [b" ".join((method, path.encode("ascii"), version)), *kept, b"Connection: close"]
    return method, host, port, b"\r\n".join(lines) + b"\r\n\r\n"


def _answer_of(refused: _Refused) -> bytes:
    body = f"{refused}\n".encode()
    head = f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
