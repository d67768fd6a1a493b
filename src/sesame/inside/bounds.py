"""What instances may have of the host in their networks: how fast, and how much at a time.

One `Bounds` for each Sesame, made by `_endpoints`; every socket of an instance that is answered here has its `Client`.
"""

import msgspec

from sesame.model.fair_rate import FairRate, Rates, Share
from sesame.model.fair_share import FairSlots

# POLICY: in units of what a connection costs. To pass on a piece of a connection takes 18 µs of the event loop, and
# 38 µs more for 64 KB; a datagram takes 28 µs (2026-11). An instance takes a seventh of the event loop for long, some
# 170 MB, 8,000 small pieces or 5,000 datagrams a second; all instances take two fifths.
PASSING = Rates(each_per_s=1600, each_burst=128, all_per_s=4000, all_burst=512)
# POLICY: what one that has ended leaves behind on the host, a port for 60 s and a tracked connection for 120 s, is not
# to be used up: 28,000 ports to one address and, on a small machine, 65,536 tracked connections are common.
OPENING = Rates(each_per_s=100, each_burst=256, all_per_s=400, all_burst=1024)
PIECE_UNITS, DATAGRAM_UNITS, BYTE_UNITS = 0.2, 0.3, 0.4 / 65_536
# Of one instance at a time; further ones wait in the kernel.
CONNECTIONS_MAX = 256
# A connection that is passed on has one of each side.
DESCRIPTORS_OF_CONNECTION = 2


class Client(msgspec.Struct, frozen=True):
    """One instance. A slot stands for the descriptors of a connection, or of a question to the host's resolver.

    `share` is of connections and questions that are taken, `opening` of connections and flows that are opened to other
    addresses, `passing` of what is then passed on.
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
    """Connections that are passed on take so many descriptors of the process at most."""
    slots = FairSlots(max(descriptors // DESCRIPTORS_OF_CONNECTION, 1), CONNECTIONS_MAX)
    return Bounds(arrivals, FairRate(rates=OPENING), FairRate(rates=PASSING), slots)


def units_of_piece(data: bytes) -> float:
    """What it costs to pass on a piece of a connection."""
    return PIECE_UNITS + BYTE_UNITS * len(data)


def units_of_datagram(data: bytes) -> float:
    """What it costs to pass on a datagram."""
    return DATAGRAM_UNITS + BYTE_UNITS * len(data)
