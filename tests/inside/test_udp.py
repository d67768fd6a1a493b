"""Packets of UDP: a kernel takes them, and their checksums are right."""

import ipaddress
import struct

import pytest

from sesame.inside.datagrams import End
from sesame.inside.udp import packet


def end(address: str, port: int) -> End:
    return End(ipaddress.ip_address(address).packed, port)


def test_of_ipv4() -> None:
    made = packet(end("198.51.100.7", 53), end("100.64.0.2", 40_000), b"answer")
    assert made[0] == 0x45
    assert struct.unpack_from("!H", made, 2) == (len(made),)
    assert made[9] == 17
    assert made[12:20] == bytes([198, 51, 100, 7, 100, 64, 0, 2])
    assert made[20:] == struct.pack("!HHHH", 53, 40_000, 14, 0) + b"answer"


@pytest.mark.parametrize("data", [b"", b"a", b"answer", b"\xff" * 1001, bytes(60_000)])
def test_of_ipv6(data: bytes) -> None:
    made = packet(end("2001:db8::7", 53), end("fd5e:5a3e::2", 40_000), data)
    assert (made[0], made[6]) == (0x60, 17)
    assert struct.unpack_from("!H", made, 4) == (8 + len(data),)
    assert made[48:] == data
    # What is sent sums up to ones, head of the version included (RFC 8200 §8.1).
    covered = made[8:40] + struct.pack("!II", 8 + len(data), 17) + made[40:]
    covered += b"\0" * (len(covered) % 2)
    total = sum(struct.unpack(f"!{len(covered) // 2}H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
    assert made[46:48] != b"\0\0"
