"""Builds UDP packets with arbitrary addresses, as on the wire (RFC 768, RFC 791, RFC 8200).

Used by `inside.datagrams`.
"""

import socket
import struct
from typing import Protocol

_IPV4, _IPV6, _UDP = struct.Struct("!BBHHHBBH4s4s"), struct.Struct("!IHBB16s16s"), struct.Struct("!HHHH")
_HOPS = 64


class Address(Protocol):
    """A packed IPv4 or IPv6 address, and a port."""

    @property
    def address(self) -> bytes: ...

    @property
    def port(self) -> int: ...


def packet(source: Address, target: Address, data: bytes) -> bytes:
    """A whole packet, including the IP header."""
    length = _UDP.size + len(data)
    if len(source.address) == 4:
        # The kernel fills in the header's identification and checksum; the UDP checksum is optional.
        head = _IPV4.pack(
            0x45, 0, _IPV4.size + length, 0, 0, _HOPS, socket.IPPROTO_UDP, 0, source.address, target.address
        )
        return head + _UDP.pack(source.port, target.port, length, 0) + data
    addresses = source.address + target.address
    # The pseudo-header that the checksum also covers (RFC 8200 §8.1).
    covered = addresses + struct.pack("!II", length, socket.IPPROTO_UDP)
    checksum = _checksum(covered + _UDP.pack(source.port, target.port, length, 0) + data)
    head = _IPV6.pack(6 << 28, length, socket.IPPROTO_UDP, _HOPS, source.address, target.address)
    return head + _UDP.pack(source.port, target.port, length, checksum) + data


def _checksum(data: bytes) -> int:
    """The checksum of RFC 1071. Never 0, which means no checksum: 0xFFFF is sent instead."""
    if len(data) % 2:
        data += b"\0"
    # The ones' complement sum is the remainder of the whole number modulo 65,535.
    return 0xFFFF - int.from_bytes(data, "big") % 0xFFFF
