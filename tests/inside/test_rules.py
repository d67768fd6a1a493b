"""What functions may reach outside, and what they may not whatever its form."""

import ipaddress

import pytest

from sesame.inside.rules import EgressRules, parse

OUTSIDE = ("8.8.8.8", "198.51.100.7", "2606:4700::1111", "64:ff9b::808:808")
REFUSED = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "100.100.100.200", "224.0.0.1", "255.255.255.255", "240.0.0.1",
    "::", "::1", "fe80::1", "fec0::1", "fd00::1", "fc00::1", "ff02::1",
    "192.0.0.192", "64:ff9b:1::7f00:1", "fe80::1%1", "::1%1", "::ffff:127.0.0.1%1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1",
    "::ffff:0:127.0.0.1", "::ffff:0:a9fe:a9fe",
)  # fmt: skip
MINE = ipaddress.ip_address("203.0.113.5")


def rules(*allowed: str) -> EgressRules:
    return EgressRules([parse(text) for text in allowed], lambda: [MINE])


def may(address: str, port: int = 80, *, of: EgressRules | None = None) -> bool:
    return (of or rules()).permit(ipaddress.ip_address(address), port)


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_outside_may_be_reached(address: str) -> None:
    assert may(address)


@pytest.mark.parametrize("address", REFUSED)
def test_networks_of_the_host_may_not(address: str) -> None:
    assert not may(address)


def test_without_internet_only_what_is_named_may_be_reached() -> None:
    of = EgressRules([parse("10.9.0.0/16"), parse("8.8.8.8:53")], lambda: [MINE], internet=False)
    assert may("10.9.2.3", of=of)
    assert may("8.8.8.8", 53, of=of)
    for address in (*OUTSIDE, *REFUSED, "8.8.8.8"):
        assert not may(address, of=of), address


def test_the_hosts_own_public_address_may_not() -> None:
    assert not may(str(MINE))
    assert not may(f"::ffff:{MINE}")
    assert may("203.0.113.6")
    of = EgressRules((), lambda: [ipaddress.ip_address("2001:db8::1")])
    assert not may("2001:db8::1", of=of)
    assert not may("2001:db8::1%1", of=of)
    assert may("2001:db8::2%1", of=of)


def test_what_is_allowed_by_name_may() -> None:
    allowing = rules("127.0.0.1:5432", "10.1.0.0/16", "[fd00::7]:80", "localhost:8080", "203.0.113.5:443")
    for address, port in (("127.0.0.1", 5432), ("127.0.0.1", 8080), ("10.1.200.3", 1), ("fd00::7", 80)):
        assert may(address, port, of=allowing)
        assert not may(address, 9, of=rules("203.0.113.9"))
    assert may("::ffff:127.0.0.1", 5432, of=allowing)
    assert may("203.0.113.5", 443, of=allowing)
    for address, port in (("127.0.0.1", 5433), ("10.2.0.1", 80), ("fd00::7", 81), ("203.0.113.5", 80)):
        assert not may(address, port, of=allowing)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db.internal:5432",
        "10.0.0.1:0",
        "10.0.0.1:70000",
        "10.0.0.1/99",
        "10.0.0.1/8",
        "224.0.0.1:80",
        "[ff02::1]:80",
        "[fe80::1]:80",
    ],
)
def test_what_is_no_address_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(text)


def test_one_service_can_be_forwarded() -> None:
    assert parse("127.0.0.1:5432").is_one_service
    assert parse("[fd00::7]:80").host == "fd00::7"
    assert not parse("10.0.0.0/8").is_one_service
    assert not parse("10.0.0.1").is_one_service


def test_a_closed_port_is_reached_nowhere_unless_it_is_named_itself() -> None:
    closed = (9010, 9011)

    def permits(address: str, port: int, *allowed: str) -> bool:
        of = EgressRules([parse(text) for text in allowed], lambda: [MINE], closed)
        return may(address, port, of=of)

    for address in OUTSIDE:
        assert permits(address, 9012)
        assert not permits(address, 9010)
        assert not permits(address, 9011, f"{MINE}:9011")
    assert not permits("10.0.0.2", 9010, "10.0.0.0/8")
    assert not permits("2606:4700::1111", 9010, "::/0")
    assert permits("10.0.0.2", 9009, "10.0.0.0/8")
    assert permits("10.0.0.2", 9010, "10.0.0.2:9010")
