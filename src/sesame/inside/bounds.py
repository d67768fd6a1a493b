"""What instances may have of the host in their networks: how fast, and how much at a time.

One `Bounds` for each Sesame, made by `_endpoints`; every socket of an instance that is answered here has its `Client`.
"""

from dataclasses import dataclass

from sesame.model.fair_rate import FairRate, Share
from sesame.model.fair_share import FairSlots

# Of one instance at a time; further ones wait in the kernel.
CONNECTIONS_MAX = 256
# A connection that is passed on has one of each side.
DESCRIPTORS_OF_CONNECTION = 2


@dataclass(frozen=True)
class Client:
    """One instance. A slot stands for the descriptors of a connection, or of a question to the host's resolver."""

    name: str
    share: Share
    slots: FairSlots


@dataclass(frozen=True)
class Bounds:
    arrivals: FairRate
    slots: FairSlots

    def of(self, name: str) -> Client:
        return Client(name, self.arrivals.of(name), self.slots)


def for_descriptors(arrivals: FairRate, descriptors: int) -> Bounds:
    """Connections that are passed on take so many descriptors of the process at most."""
    return Bounds(arrivals, FairSlots(max(descriptors // DESCRIPTORS_OF_CONNECTION, 1), CONNECTIONS_MAX))
