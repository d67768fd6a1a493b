"""Which outside addresses functions may reach: none in the host's own networks, unless explicitly allowed.

Used by `inside.proxy`, `inside.connections` and `inside.datagrams`, each with the resolved address that it then
connects to, so that a name cannot change its meaning in between.
"""

import ipaddress
import time
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

# How long the machine's addresses are cached: reading them takes a millisecond, and they seldom change.
OWN_KEPT_S = 2.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Loopback, private, shared (RFC 6598; the cloud's metadata is 100.100.100.200), link-local (169.254.169.254), multicast
# and reserved networks (RFC 6890), and the prefix for a network's local IPv4 translation (RFC 8215).
REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.168.0.0/16", "224.0.0.0/3", "::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/9", "ff00::/8",
    )
)  # fmt: skip
# IPv6 addresses that embed an IPv4 address in their last bits (RFC 4291 §2.5.5, RFC 2765 §2.1, RFC 6052) or after the
# first 16 (RFC 3056).
_CARRIES_LAST = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_CARRIES_FIRST = ipaddress.IPv6Network("2002::/16")


class Allowed(msgspec.Struct, frozen=True):
    """An entry of `network_allow`: a network and a port, where 0 means every port."""

    network: Network
    port: int = 0

    @property
    def is_one_service(self) -> bool:
        """Whether the entry is a single port of a single address."""
        return self.port != 0 and self.network.num_addresses == 1

    @property
    def host(self) -> str:
        """The network's first address."""
        return str(self.network.network_address)


def parse(text: str) -> Allowed:
    """`ADDRESS`, `ADDRESS:PORT`, `NETWORK/BITS` or `[IPv6]:PORT`. Raises `ValueError` that states what is expected."""
    place, port = text, ""
    if text.startswith("[") and "]:" in text:
        place, port = text[1:].split("]:", 1)
    elif text.count(":") == 1:
        place, port = text.split(":")
    try:
        network = ipaddress.ip_network("127.0.0.1" if place == "localhost" else place)
        number = int(port or 0)
    except ValueError as error:
        raise ValueError(
            f"'{text}' is no address: {error}; expected ADDRESS:PORT, ADDRESS or NETWORK/BITS, such as 127.0.0.1:5432"
        ) from error
    if not 0 <= number <= 65535 or (port and not number):
        raise ValueError(f"'{text}' has the port {port}; expected 1 to 65535")
    if network.is_multicast or (network.version == 6 and network.is_link_local):
        raise ValueError(
            f"'{text}' is no address of one machine alone; expected one that is not multicast or link-local"
        )
    return Allowed(network, number)


def own_addresses() -> frozenset[Address]:
    """All addresses of this machine: a service that listens on one may be meant for this machine alone."""
    # Imported here because commands that only check settings need not load it.
    import psutil

    found = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    return frozenset(address for text in found if (address := _address(text)) is not None)


class EgressRules:
    def __init__(
        self,
        allowed: Sequence[Allowed] = (),
        own: Callable[[], Iterable[Address]] = own_addresses,
        closed: Collection[int] = (),
        *,
        internet: bool = True,
    ) -> None:
        """`closed` ports are refused at every address, unless an entry of `allowed` names the port itself. Without
        `internet`, everything is refused but `allowed`.
        """
        self._allowed = tuple(allowed)
        self._closed = frozenset(closed)
        self._internet = internet
        self._read_own = own
        self._own: frozenset[Address] = frozenset()
        self._own_until = float("-inf")

    def permit(self, address: Address, port: int) -> bool:
        embedded = carried(address)
        for each in self._allowed:
            ports = (port,) if port in self._closed else (0, port)
            if each.port in ports and any(one in each.network for one in (address, embedded)):
                return True
        if port in self._closed or not self._internet:
            return False
        if any(one in network for one in (address, embedded) for network in REFUSED):
            return False
        if time.monotonic() >= self._own_until:
            self._own, self._own_until = frozenset(self._read_own()), time.monotonic() + OWN_KEPT_S
        return address not in self._own and embedded not in self._own


def networks_to_tell(allowed: Sequence[Allowed], version: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a function can be told in advance about IPv4 or IPv6: allowed networks, and networks that are refused
    entirely.

    Excludes the instances' own networks.
    """
    # Single services are answered in the instance itself.
    wide = [each.network for each in allowed if not each.is_one_service]
    routed = [network for network in wide if network.version == version and not is_instances_own(network)]
    refused = [
        network
        for network in REFUSED
        if network.version == version
        and not is_instances_own(network)
        and not any(_covers(each, network) for each in routed)
    ]
    return tuple(str(each) for each in dict.fromkeys(routed) if each.prefixlen), tuple(map(str, refused))


def is_instances_own(network: Network) -> bool:
    """Whether the addresses exist in every network namespace by itself: loopback and unspecified."""
    return network.is_loopback or (network.network_address.is_unspecified and network.prefixlen > 0)


def _covers(outer: Network, inner: Network) -> bool:
    return outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def carried(address: Address) -> Address:
    """The IPv4 address embedded in an IPv6 address; any other address itself, without its IPv6 zone."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _CARRIES_LAST):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _CARRIES_FIRST:
            return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
        return ipaddress.IPv6Address(int(address))
    return address


def _address(text: str) -> Address | None:
    """None if `text` is not an IP address, such as the address of a network card."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
