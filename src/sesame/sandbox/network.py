"""The host's services inside the networks of instances: their addresses, and the handlers of connections.

Created by `_sandbox` before the endpoints exist, filled by `_endpoints`, read by a driver whose instances have their
own networks. An instance cannot reach the host's network, so everything it may reach is provided inside its own.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

# The host's address in each instance's network. From the range for carriers (RFC 6598), so that it collides with no
# public or private network that a function may want to reach.
HOST_ADDRESS = "100.64.0.1"
# The instance's own address, the source of its connections to the outside.
INSTANCE_ADDRESS = "100.64.0.2"
# The IPv6 counterparts, from the range for private networks (RFC 4193).
HOST_ADDRESS_6, INSTANCE_ADDRESS_6 = "fd5e:5a3e::1", "fd5e:5a3e::2"
# The certificates that functions with their own network trust.
TRUSTED = "/var/sesame/certificates.pem"
EVERY_ADDRESS, EVERY_ADDRESS_6 = "0.0.0.0", "::"


class Listen(msgspec.Struct, frozen=True):
    """One socket of the host in each network. `kind` is tcp, udp, or raw, which has no port and only sends packets.

    If it `takes_all`, it also receives traffic for other addresses that a `WayOut` routes to it: a connection's local
    address is then the original destination, and datagrams carry theirs (IP_RECVORIGDSTADDR).
    What it receives goes to addresses outside if it `leads_out`; of an instance without internet access, it is
    `confined` where it is served.
    """

    kind: str
    address: str
    port: int
    takes_all: bool = False
    leads_out: bool = False
    confined: bool = False

    def excludes(self, other: "Listen") -> bool:
        """Whether the two cannot coexist in one network."""
        same_address = self.address == other.address or EVERY_ADDRESS in (self.address, other.address)
        same_family = (":" in self.address) == (":" in other.address)
        return (self.kind, self.port) == (other.kind, other.port) and same_family and same_address


# Takes one end of a connection, and the name of the client at the other end.
Take = Callable[[socket.socket, str], None]
# Serves a socket in an instance's network; the string is the instance's name as a client. Returns a function to stop.
Serve = Callable[[socket.socket, str], Callable[[], None]]


class WayOut(msgspec.Struct, frozen=True):
    """Routes an instance's TCP and UDP traffic to addresses other than its own, in one IP version, to `host`:`port`.

    Its source address is `source`. Connecting to a `refused` network fails at once, unless it lies within a `led` one,
    which is routed. This only gives functions early errors: the server behind `host`:`port` decides what they may
    reach.
    """

    host: str
    port: int
    source: str
    led: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Inside(msgspec.Struct, frozen=True):
    """What every network contains: sockets, addresses besides loopback's, and variables for functions."""

    listens: tuple[Listen, ...] = ()
    addresses: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    ways_out: tuple[WayOut, ...] = ()


class Answers(Protocol):
    """What a driver requests for each instance."""

    async def inside(self) -> Inside:
        """Waits until everything has been offered."""

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        """Serves a socket made for `listen`; call the returned function to stop and close it."""

    async def object_storage(self) -> Take | None:
        """Connects clients to object storage; None without object storage."""


class HostAnswers:
    """The host's services of one Sesame. Call `offer` until `offered`, for which drivers wait."""

    def __init__(self) -> None:
        self._serving: dict[Listen, Serve] = {}
        self._confined: dict[Listen, Serve] = {}
        self._taking: dict[Listen, Take] = {}
        self._addresses: dict[str, None] = {}
        self._environment: dict[str, str] = {}
        self._ways_out: list[WayOut] = []
        self._object_storage: Take | None = None
        self._complete = asyncio.Event()

    @classmethod
    def none(cls) -> "HostAnswers":
        """For drivers outside a server: instances find no services."""
        services = cls()
        services.offered()
        return services

    def offer(self, listen: Listen, serve: Serve, take: Take | None = None) -> bool:
        """Adds a service, with its address unless that is loopback, to every network. Returns False on a conflict.

        With `take`, connections that arrived on another machine are served as well.
        """
        if any(listen.excludes(other) for other in self._serving):
            return False
        self._serving[listen] = serve
        if take is not None:
            self._taking[listen] = take
        if listen.address not in (EVERY_ADDRESS, EVERY_ADDRESS_6, "::1") and not listen.address.startswith("127."):
            self.add_address(listen.address)
        return True

    def confine(self, listen: Listen, serve: Serve) -> None:
        """Says who serves a socket that `leads_out` for instances without internet access."""
        self._confined[msgspec.structs.replace(listen, confined=True)] = serve

    def add_address(self, address: str) -> None:
        self._addresses[address] = None

    def add_variable(self, name: str, value: str) -> None:
        self._environment[name] = value

    def lead_out(self, way: WayOut) -> None:
        """Adds a way out. Sockets that `takes_all` must be offered at its address and port."""
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
        """The services for which connections may arrive on another machine."""
        return tuple(self._taking)

    def take(self, listen: Listen, connected: socket.socket, instance: str) -> bool:
        """Serves a connection that arrived for `listen` on another machine. Returns False if that is not offered."""
        take = self._taking.get(listen)
        if take is None:
            return False
        take(connected, instance)
        return True

    async def object_storage(self) -> Take | None:
        await self._complete.wait()
        return self._object_storage

    def serve(self, listen: Listen, socket: socket.socket, instance: str) -> Callable[[], None]:
        return (self._confined if listen.confined else self._serving)[listen](socket, instance)
