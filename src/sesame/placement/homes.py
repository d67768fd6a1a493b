"""Determines which agent is home of a function: rendezvous hashing over the members, weighted by their memory.

All agents that know the same members find the same home. When an agent joins, only the functions that it becomes home
of move; when one leaves, only those that it was home of. Called by `placement.home` and by whoever looks up a home.
"""

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

# How many homes are cached, about 200 bytes each. When the cache is full it is cleared.
KNOWN_MAX = 200_000
_SCALE = 2.0**-64


class Member(msgspec.Struct, frozen=True):
    """One agent, from its start to its end: a restarted process has another `name` but keeps its `place`.

    Homes are determined by the place, so that they return to a restarted agent. `joined` is the membership revision
    with which this process became a member.
    """

    name: str
    place: str
    memory_mb: int
    joined: int = 0


class Members(msgspec.Struct, frozen=True):
    """The living agents by name, and the membership's revision, which is the epoch of homes.

    `left` are former members, each with the revision of its leaving, kept longer than any credit of a home lasts.
    """

    revision: int
    agents: Mapping[str, Member]
    left: Mapping[str, tuple[Member, int]] = {}


def score(member: Member, function: str) -> float:
    """The member's score for a function; the member with the lowest score is its home.

    It is an exponential variate whose rate is the member's memory: among independent ones, each is the lowest with a
    probability proportional to its rate. The hash is the same in all processes, versions and machines.
    """
    digest = blake2b(f"{member.place}\0{function}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest) + 1) * _SCALE) / member.memory_mb


class _Known(msgspec.Struct):
    home: Member
    score: float
    # With how many of `Homes._joined` it has been compared.
    joins: int
    revision: int


class Homes:
    """Caches homes and updates them incrementally.

    Finding a home takes one hash per member. Updating a cached one takes one hash per agent that has joined since, and
    none for agents that have left, unless the home is one of them.
    """

    def __init__(self, members: Members) -> None:
        self.members = members
        self._known: dict[str, _Known] = {}
        self._joined: list[Member] = []

    def learn(self, members: Members) -> None:
        """Takes a newer membership."""
        assert members.revision > self.members.revision, "the membership went back"
        old = self.members.agents
        self._joined += [each for name, each in members.agents.items() if old.get(name) != each]
        self.members = members
        if len(self._joined) > len(members.agents):
            # Comparing with all of them would cost as much as finding the homes again.
            self._forget_all()

    def home(self, function: str) -> str:
        """The name of the function's home. There must be at least one member."""
        known = self._known.get(function)
        if known is not None and known.revision == self.members.revision:
            return known.home.name
        return self._current(function, known).home.name

    def others_since(self, function: str, revision: int) -> list[Member]:
        """The other agents that may have been the function's home at `revision` or later; some may have left."""
        now = self._current(function, self._known.get(function))
        if now.home.joined <= revision:
            bound = now.score
        else:
            stayed = [each for each in self.members.agents.values() if each.joined <= revision]
            bound = _best(stayed, function)[0] if stayed else math.inf
        left = [each for each, left in self.members.left.values() if left > revision]
        candidates = left if bound == now.score else [*left, *self.members.agents.values()]
        scores = ((score(each, function), each) for each in candidates if each.name != now.home.name)
        # An agent that joined after the current home and scores worse was never home.
        return [
            each
            for scored, each in scores
            if scored <= bound and not (each.joined > now.home.joined and scored > now.score)
        ]

    def _current(self, function: str, known: _Known | None) -> _Known:
        if known is None or self.members.agents.get(known.home.name) != known.home:
            known = self._found(function)
        for each in self._joined[known.joins :]:
            if (scored := score(each, function)) < known.score and self.members.agents.get(each.name) == each:
                known.home, known.score = each, scored
        known.joins, known.revision = len(self._joined), self.members.revision
        return known

    def _found(self, function: str) -> _Known:
        if len(self._known) >= KNOWN_MAX:
            self._forget_all()
        scored, home = _best(self.members.agents.values(), function)
        known = self._known[function] = _Known(home, scored, len(self._joined), self.members.revision)
        return known

    def _forget_all(self) -> None:
        self._known.clear()
        self._joined.clear()


def _best(members: Iterable[Member], function: str) -> tuple[float, Member]:
    """The member with the lowest score; of equal ones the first by name."""
    least, best = math.inf, None
    for each in members:
        scored = score(each, function)
        if best is None or scored < least or (scored == least and each.name < best.name):
            least, best = scored, each
    assert best is not None, "no member"
    return least, best
