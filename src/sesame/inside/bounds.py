"""Bounds on what instances may use of the host's network: rates, and amounts at a time.

One `Bounds` per Sesame, created by `_endpoints`; every socket served on behalf of an instance has its `Client`.
"""

import msgspec

from sesame.model.fair_rate import FairRate, Rates, Share
from sesame.model.fair_share import FairSlots

# POLICY: the unit is the cost of one connection. Passing on a piece of a connection takes 18 µs of the event loop, plus
# 38 µs per 64 KB; a datagram takes 28 µs (2026-11). In the long run an instance gets a seventh of the event loop, that
# is 170 MB, 8,000 small pieces or 5,000 datagrams per second; all instances together get two fifths.
PASSING = Rates(each_per_s=1600, each_burst=128, all_per_s=4000, all_burst=512)
# POLICY: protects what a closed connection occupies on the host, a port for 60 s and a tracked connection for 120 s:
# hosts commonly have 28,000 ports per address and, if small, 65,536 tracked connections.
OPENING = Rates(each_per_s=100, each_burst=256, all_per_s=400, all_burst=1024)
PIECE_UNITS, DATAGRAM_UNITS, BYTE_UNITS = 0.2, 0.3, 0.4 / 65_536
# Per instance; further connections wait in the kernel.
CONNECTIONS_MAX = 256
# A relayed connection has one descriptor per side.
DESCRIPTORS_OF_CONNECTION = 2


class Client(msgspec.Struct, frozen=True):
    """One instance. A slot covers the descriptors of a connection, or of a query to the host's resolver.

    `share` limits accepted connections and queries, `opening` the connections and flows opened to other addresses,
    `passing` the data then passed on.
    """

    name: str
    share: Share
    opening: Share
    passing: Share
    slots: FairSlots


class Bounds(msgspec.Struct, frozen=True):
    arrivals: FairRate
    opening: FairRate
    passing: FairRate
    slots: FairSlots

    def of(self, name: str) -> Client:
        return Client(name, self.arrivals.of(name), self.opening.of(name), self.passing.of(name), self.slots)


def for_descriptors(arrivals: FairRate, descriptors: int) -> Bounds:
    """Bounds under which relayed connections use at most `descriptors` of the process."""
    slots = FairSlots(max(descriptors // DESCRIPTORS_OF_CONNECTION, 1), CONNECTIONS_MAX)
    return Bounds(arrivals, FairRate(rates=OPENING), FairRate(rates=PASSING), slots)


def units_of_piece(data: bytes) -> float:
    """The cost of passing on a piece of a connection."""
    return PIECE_UNITS + BYTE_UNITS * len(data)


def units_of_datagram(data: bytes) -> float:
    """The cost of passing on a datagram."""
    return DATAGRAM_UNITS + BYTE_UNITS * len(data)
