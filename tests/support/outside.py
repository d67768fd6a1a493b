"""A machine outside of this one, in a network namespace that the tests made: nothing beyond this machine is asked.

Made as root, with `ip` of iproute2. Used by the tests of the way out; a run of them as an ordinary user is told by the
variable `SESAME_TEST_OUTSIDE` what root has made for it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

SERVER = Path(__file__).with_name("outside_machine.py")
GIVEN = "SESAME_TEST_OUTSIDE"
HAS_6 = Path("/proc/net/if_inet6").exists()
needs_outside = pytest.mark.skipif(
    GIVEN not in os.environ and (os.geteuid() != 0 or shutil.which("ip") is None),
    reason="a machine outside needs root and iproute2",
)


@dataclass(frozen=True)
class Machine:
    """What listens at `addresses`, at these ports of TCP and of UDP, and answers with a word of its own."""

    word: str
    addresses: tuple[str, ...]
    tcp: int
    udp: int


@dataclass(frozen=True)
class Outside:
    """`there` has addresses of the internet, a private one and a link-local one; `here` is this machine, reached from
    there. Those of IPv6 come last, where the kernel has it.
    """

    there: Machine
    here: Machine

    @property
    def public(self) -> tuple[str, ...]:
        return tuple(a for a in self.there.addresses if a not in (self.private, self.link_local))

    @property
    def private(self) -> str:
        return self.there.addresses[1]

    @property
    def link_local(self) -> str:
        return self.there.addresses[2]


@contextlib.contextmanager
def outside() -> Iterator[Outside]:
    if given := os.environ.get(GIVEN):
        yield msgspec.json.decode(given, type=Outside)
        return
    # Networks of this process's own: of those for benchmarks (RFC 2544) and for documentation (RFC 3849).
    number = os.getpid() % (1 << 14)
    high, low = number >> 6, number % 64 * 4
    here, there = f"198.18.{high}.{low + 1}", f"198.18.{high}.{low + 2}"
    private, link_local = f"10.251.{high}.{low + 2}", f"169.254.{high or 1}.{low + 2}"
    here_6, there_6 = f"2001:db8:{number:x}::1", f"2001:db8:{number:x}::2"
    name, link = f"sesame-test-{os.getpid()}", f"st{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("address", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        ip("-n", name, "address", "add", f"{there}/30", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")
        for address in (private, link_local):
            ip("-n", name, "address", "add", f"{address}/32", "dev", "lo")
            ip("route", "add", f"{address}/32", "via", there, "dev", link)
        sixth: tuple[str, ...] = ()
        if HAS_6:
            ip("address", "add", f"{here_6}/64", "dev", link, "nodad")
            ip("-n", name, "address", "add", f"{there_6}/64", "dev", "eth0", "nodad")
            sixth = (there_6,)
        with (
            machine("there", (there, private, link_local, *sixth), ("ip", "netns", "exec", name)) as made,
            machine("here", (here, *((here_6,) if HAS_6 else ()))) as own,
        ):
            yield Outside(made, own)
    finally:
        # Both ends of the link go with it.
        ip("netns", "delete", name)


@contextlib.contextmanager
def machine(word: str, addresses: tuple[str, ...], prefix: tuple[str, ...] = ()) -> Iterator[Machine]:
    command = [*prefix, sys.executable, "-B", str(SERVER), word, *addresses]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        yield Machine(word, addresses, **ports)
        process.stdin.close()


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
