"""What the host answers inside the networks of instances: where it listens there, and who takes the connections.

Made by `_sandbox` before the endpoints exist, filled by `_endpoints`, read by a driver whose instances have networks of
their own. An instance cannot reach the host's network, so what it may reach is brought into its own.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

# The host's own address in the network of each instance: of the range for providers (RFC 6598), so that no network that
# a function is told of, public or private, has it too.
HOST_ADDRESS = "100.64.0.1"
# The instance's own, from which it connects to the outside.
INSTANCE_ADDRESS = "100.64.0.2"
# The same of IPv6, of the range for private networks (RFC 4193).
HOST_ADDRESS_6, INSTANCE_ADDRESS_6 = "fd5e:5a3e::1", "fd5e:5a3e::2"
# Where functions with networks of their own find the certificates that they trust.
TRUSTED = "/var/sesame/certificates.pem"
EVERY_ADDRESS, EVERY_ADDRESS_6 = "0.0.0.0", "::"


class Listen(msgspec.Struct, frozen=True):
    """One socket that the host has in each network: `kind` is tcp, udp, or raw, which has no port and sends packets.

    One that `takes_all` also gets what is for other addresses, as far as a `WayOut` leads it there: the socket's own
    address is then that of the connection, and datagrams come with theirs (IP_RECVORIGDSTADDR).
    """

    kind: str
    address: str
    port: int
    takes_all: bool = False

    def excludes(self, other: "Listen") -> bool:
        """Whether both cannot be in one network."""
        same_address = self.address == other.address or EVERY_ADDRESS in (self.address, other.address)
        same_family = (":" in self.address) == (":" in other.address)
        return (self.kind, self.port) == (other.kind, other.port) and same_family and same_address


# Takes one end of a connection, and the name of the client that has the other.
Take = Callable[[socket.socket, str], None]
# Takes a socket of an instance's network and the instance's name among clients. Returns what ends it.
Serve = Callable[[socket.socket, str], Callable[[], None]]


class WayOut(msgspec.Struct, frozen=True):
    """Of IPv4 or of IPv6: what the instance sends to other addresses than its own comes to `host`:`port`, TCP and UDP.

    It comes from `source`. Connecting to a network that is `refused` fails at once, but for those that are `led` all
    the same. Both only tell a function early: what it may reach is decided by who answers.
    """

    host: str
    port: int
    source: str
    led: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Inside(msgspec.Struct, frozen=True):
    """What every network has: sockets, addresses beside loopback's, variables for the function's environment."""

    listens: tuple[Listen, ...] = ()
    addresses: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    ways_out: tuple[WayOut, ...] = ()


class Answers(Protocol):
    """What a driver asks for each instance."""

    async def inside(self) -> Inside:
        """Waits until everything is known."""

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        """Answers on a socket that was made for `listen`; the call returned ends that and closes it."""

    async def object_storage(self) -> Take | None:
        """What answers as object storage on connections that are made here; None where there is none."""


class HostAnswers:
    """The host's answers of one Sesame. `offer` until `offered`; drivers wait for that."""

    def __init__(self) -> None:
        self._serving: dict[Listen, Serve] = {}
        self._taking: dict[Listen, Take] = {}
        self._addresses: dict[str, None] = {}
        self._environment: dict[str, str] = {}
        self._ways_out: list[WayOut] = []
        self._object_storage: Take | None = None
        self._complete = asyncio.Event()

    @classmethod
    def none(cls) -> "HostAnswers":
        """For drivers of no server: instances find nobody to talk to."""
        made = cls()
        made.offered()
        return made

    def offer(self, listen: Listen, serve: Serve, take: Take | None = None) -> bool:
        """Every network has this, and its address where that is not loopback's. False where something else is there.

        With `take`, connections that came to it on another machine are answered as well.
        """
        if any(listen.excludes(other) for other in self._serving):
            return False
        self._serving[listen] = serve
        if take is not None:
            self._taking[listen] = take
        if listen.address not in (EVERY_ADDRESS, EVERY_ADDRESS_6, "::1") and not listen.address.startswith("127."):
            self.add_address(listen.address)
        return True

    def add_address(self, address: str) -> None:
        self._addresses[address] = None

    def add_variable(self, name: str, value: str) -> None:
        self._environment[name] = value

    def lead_out(self, way: WayOut) -> None:
        """Sockets that `takes_all` at its address and port must be offered too."""
        self.add_address(way.host)
        self.add_address(way.source)
        self._ways_out.append(way)

    def offer_object_storage(self, take: Take) -> None:
        self._object_storage = take

    def offered(self) -> None:
        self._complete.set()

    async def inside(self) -> Inside:
        await self._complete.wait()
        return Inside(tuple(self._serving), tuple(self._addresses), self._environment, tuple(self._ways_out))

    @property
    def taken(self) -> tuple[Listen, ...]:
        """To which of them connections may have come on another machine."""
        return tuple(self._taking)

    def take(self, listen: Listen, connected: socket.socket, instance: str) -> bool:
        """Answers on a connection that came to `listen` on another machine. False where nothing does, or not so."""
        take = self._taking.get(listen)
        if take is None:
            return False
        take(connected, instance)
        return True

    async def object_storage(self) -> Take | None:
        await self._complete.wait()
        return self._object_storage

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        return self._serving[listen](socket, instance)
