"""The HTTP and CONNECT proxy that functions find in their network, named in their environment (RFC 9110 §7.6, §9.3.6).

What `inside.rules` refuses is answered with 403. An address is looked up once, checked, and then connected to as it is.
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
# Of one instance at a time, and of all. A name that nobody answers for keeps its thread, which takes 19 KB, until the
# host's resolver gives up.
LOOK_UPS_MAX, LOOK_UP_THREADS = 4, 128
# Of one name; whoever owns a name may give it thousands.
ADDRESSES_MAX = 16
# Meant for the proxy, or for one connection alone.
_NOT_PASSED_ON = frozenset({b"proxy-connection", b"proxy-authorization", b"connection", b"keep-alive"})

LookUp = Callable[[str, int], Awaitable[Sequence[Address]]]
# Takes a connection over, and the name of the instance that it is of.
Take = Callable[[socket.socket, str], None]


class _Refused(Exception):
    """Told to the client with a status and a sentence."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


# Of their own, so that whatever names functions ask for, no other work of Sesame waits for a thread.
_looking_up = ThreadPoolExecutor(LOOK_UP_THREADS, thread_name_prefix="looking-up-names")


async def look_up(name: str, port: int) -> Sequence[Address]:
    """As the host resolves the name. Raises `OSError`."""
    ask = functools.partial(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_looking_up, ask)
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


class Own(NamedTuple):
    """The names that lead to Sesame itself, and what takes connections to its ports."""

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
        """As `sandbox.network.Serve`."""
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
            raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: nothing listens on this port here")
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
            # Without the zone of IPv6, which means something on this machine alone.
            return [ipaddress.ip_address(host.partition("%")[0])]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                await self._slots.wait(client)
                looking_up = asyncio.ensure_future(self._look_up(host, port))
                # Not before: the thread goes on when nobody waits for it any more.
                looking_up.add_done_callback(lambda _ended: self._slots.give_back(client))
                return await asyncio.shield(looking_up)
        except (OSError, UnicodeError) as error:
            raise _Refused("502 Bad Gateway", f"{host} cannot be found: {error or 'no answer in time'}") from error


def _read_head(head: bytes) -> tuple[bytes, str, int, bytes]:
    """Method, host, port and, but for CONNECT, the head for the server."""
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
        raise _Refused("400 Bad Request", f"the target is no address: {error}") from error
    if parts.scheme != "http" or not host:
        raise _Refused(
            "400 Bad Request", "this is a proxy: expected CONNECT HOST:PORT, or a URL that begins with http://"
        )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [field for field in fields if field.partition(b":")[0].strip().lower() not in _NOT_PASSED_ON]
    # One request a connection: the server ends the answer by closing, and no other host's request can follow.
    lines = [b" ".join((method, path.encode("ascii"), version)), *kept, b"Connection: close"]
    return method, host, port, b"\r\n".join(lines) + b"\r\n\r\n"


def _answer_of(refused: _Refused) -> bytes:
    body = f"{refused}\n".encode()
    head = f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
