"""Encodes the setup of an instance's network as messages to the kernel (rtnetlink(7), and nf_tables of nfnetlink).

The host encodes them once; each instance sends them in its own namespace (runtime/jail/network.py), without computing
anything or running a program. Constants are from linux/rtnetlink.h, linux/if_addr.h and linux/netfilter/nf_tables.h.
"""

import base64
import functools
import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence

from sesame.sandbox.network import WayOut

ROUTE, NETFILTER = 0, 12

_REQUEST, _CREATE, _EXCLUSIVE, _APPEND = 1, 0x400, 0x200, 0x800
_NESTED = 0x8000
_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
# Loopback is the first device of every namespace.
_LOOPBACK, _UP = 1, 1
_NO_DUPLICATES_SOUGHT = 2
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_LOCAL_TABLE, _BOOT_PROTOCOL = 255, 3
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_TO_ITSELF, _PROHIBITED = 2, 8
_RTA_DST, _RTA_OIF, _RTA_PREFSRC = 1, 4, 7

_NF_TABLES = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = _NF_TABLES | 0, _NF_TABLES | 3, _NF_TABLES | 6
_FAMILIES = {socket.AF_INET: 2, socket.AF_INET6: 10}
_PREROUTING, _MANGLE = 0, -150
_DROP, _ACCEPT = 0, 1
_VERDICT, _FIRST, _SECOND = 0, 1, 2
_NETWORK_HEADER = 1
# The offset of the destination address in the packet's header.
_DESTINATION = {socket.AF_INET: 16, socket.AF_INET6: 24}
_NAME = b"sesame\0"


@functools.lru_cache(maxsize=4)
def messages(addresses: tuple[str, ...], ways_out: tuple[WayOut, ...]) -> Sequence[tuple[int, str]]:
    """The messages for `configure` of runtime/jail/network.py: loopback, its addresses, and where connections go."""
    made = [_encoded(ROUTE, _links(addresses, ways_out))]
    if ways_out:
        made.append(_encoded(NETFILTER, _filters(addresses, ways_out)))
    return tuple(made)


def _encoded(protocol: int, parts: Iterable[tuple[int, int, bytes]]) -> tuple[int, str]:
    data = b"".join(
        struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body
        for number, (kind, flags, body) in enumerate(parts, 1)
    )
    return protocol, base64.b64encode(data).decode("ascii")


def _links(addresses: tuple[str, ...], ways_out: tuple[WayOut, ...]) -> Iterator[tuple[int, int, bytes]]:
    yield _NEW_LINK, _REQUEST, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, _LOOPBACK, _UP, _UP)
    for text in addresses:
        packed = ipaddress.ip_address(text).packed
        flags = _NO_DUPLICATES_SOUGHT if ":" in text else 0
        head = struct.pack("=BBBBI", _family(text), len(packed) * 8, flags, _SCOPE_UNIVERSE, _LOOPBACK)
        body = head + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
        yield _NEW_ADDRESS, _REQUEST | _CREATE | _EXCLUSIVE, body
    for way in ways_out:
        yield _route("0.0.0.0/0" if _family(way.host) == socket.AF_INET else "::/0", way.source)
        for network in way.led:
            yield _route(network, way.source)
        for network in way.refused:
            yield _route(network)


def _route(text: str, source: str = "") -> tuple[int, int, bytes]:
    """A route to the namespace itself, with this source address; without one, connecting fails at once (EACCES)."""
    network = ipaddress.ip_network(text)
    kind, scope = (_TO_ITSELF, _SCOPE_HOST) if source else (_PROHIBITED, _SCOPE_UNIVERSE)
    body = struct.pack(
        "=BBBBBBBBI", _family(text), network.prefixlen, 0, 0, _LOCAL_TABLE, _BOOT_PROTOCOL, scope, kind, 0
    )
    if network.prefixlen:
        body += _attribute(_RTA_DST, network.network_address.packed)
    if source:
        body += _attribute(_RTA_OIF, struct.pack("=I", _LOOPBACK))
        body += _attribute(_RTA_PREFSRC, ipaddress.ip_address(source).packed)
    return _NEW_ROUTE, _REQUEST | _CREATE, body


def _filters(addresses: tuple[str, ...], ways_out: tuple[WayOut, ...]) -> Iterator[tuple[int, int, bytes]]:
    """Filters what arrives on loopback: packets for the namespace's own addresses pass, TCP and UDP for any other
    address is handed to the host's socket, and everything else is dropped.
    """
    yield _BATCH_BEGIN, _REQUEST, _nf_head(0, _NF_TABLES >> 8)
    for way in ways_out:
        family = _family(way.host)
        head, table = _nf_head(_FAMILIES[family], 0), _attribute(1, _NAME)
        yield _NEW_TABLE, _REQUEST | _CREATE, head + table
        hook = _nested(4, _number(1, _PREROUTING), _attribute(2, struct.pack("!i", _MANGLE)))
        chain = table + _attribute(3, _NAME) + hook + _number(5, _DROP) + _attribute(7, b"filter\0")
        yield _NEW_CHAIN, _REQUEST | _CREATE, head + chain
        own = [ipaddress.ip_address(text).packed for text in addresses if _family(text) == family]
        own.append(b"\x7f" if family == socket.AF_INET else ipaddress.IPv6Address("::1").packed)
        for rule in [*(_passes(family, beginning) for beginning in own), _led(family, way)]:
            yield (
                _NEW_RULE,
                _REQUEST | _CREATE | _APPEND,
                head + table + _attribute(2, _NAME) + _nested(4, *rule),
            )
    yield _BATCH_END, _REQUEST, _nf_head(0, _NF_TABLES >> 8)


def _passes(family: socket.AddressFamily, beginning: bytes) -> list[bytes]:
    """Accepts packets for addresses that begin with these bytes."""
    return [
        _expression(
            b"payload",
            _number(1, _FIRST),
            _number(2, _NETWORK_HEADER),
            _number(3, _DESTINATION[family]),
            _number(4, len(beginning)),
        ),
        _expression(b"cmp", _number(1, _FIRST), _number(2, 0), _nested(3, _attribute(1, beginning))),
        _verdict(_ACCEPT),
    ]


def _led(family: socket.AddressFamily, way: WayOut) -> list[bytes]:
    return [
        _expression(b"immediate", _number(1, _FIRST), _nested(2, _attribute(1, ipaddress.ip_address(way.host).packed))),
        _expression(b"immediate", _number(1, _SECOND), _nested(2, _attribute(1, struct.pack("!H", way.port)))),
        # For anything but TCP and UDP, the rule stops here.
        _expression(b"tproxy", _number(1, _FAMILIES[family]), _number(2, _FIRST), _number(3, _SECOND)),
        _verdict(_ACCEPT),
    ]


def _verdict(code: int) -> bytes:
    return _expression(b"immediate", _number(1, _VERDICT), _nested(2, _nested(2, _number(1, code))))


def _expression(name: bytes, *attributes: bytes) -> bytes:
    return _nested(1, _attribute(1, name + b"\0"), _nested(2, *attributes))


def _nf_head(family: int, resource: int) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NESTED, b"".join(attributes))


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!I", value))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
