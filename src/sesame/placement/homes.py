"""Which agent is home of a function: rendezvous hashing over the members, weighted by their memory.

Every agent that knows the same members finds the same home. When an agent comes, only what it becomes home of moves;
when one goes, only what it was home of does. Called by `placement.home` and by whoever has to find a home.
"""

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec

# Homes that are kept, each some 200 bytes. Beyond that all are found anew.
KNOWN_MAX = 200_000
_SCALE = 2.0**-64


class Member(msgspec.Struct, frozen=True):
    """One agent from its start to its end: a process that starts again has another `name`, but stays in its `place`.

    Homes go by the place, so that they return to an agent that was restarted. `joined` is the revision with which this
    one became a member.
    """

    name: str
    place: str
    memory_mb: int
    joined: int = 0


class Members(msgspec.Struct, frozen=True):
    """The agents that live, by name, and the revision of the membership, which is the epoch of homes.

    `left` are agents that are members no more, each with the revision of that, for longer than anything lasts that a
    home has granted.
    """

    revision: int
    agents: Mapping[str, Member]
    left: Mapping[str, tuple[Member, int]] = {}


def score(member: Member, function: str) -> float:
    """The least of all members' is the home's.

    An exponential variate whose rate is the member's memory: of independent ones, each is the least with a probability
    in proportion to its rate. The hash is stable over processes, versions and machines.
    """
    digest = blake2b(f"{member.place}\0{function}".encode(), digest_size=8).digest()
    return -math.log((int.from_bytes(digest) + 1) * _SCALE) / member.memory_mb


class _Known(msgspec.Struct):
    home: Member
    score: float
    # With how many of the agents that have joined it was compared.
    joins: int
    revision: int


class Homes:
    """Remembers homes, and brings them up to date by what has changed.

    To find a home takes a hash for each member. To bring a known one up to date takes one for each agent that has
    joined since, and nothing for those that have left, unless the home is one of them.
    """

    def __init__(self, members: Members) -> None:
        self.members = members
        self._known: dict[str, _Known] = {}
        self._joined: list[Member] = []

    def learn(self, members: Members) -> None:
        """`members` is newer than those known."""
        assert members.revision > self.members.revision, "the membership went back"
        old = self.members.agents
        self._joined += [each for name, each in members.agents.items() if old.get(name) != each]
        self.members = members
        if len(self._joined) > len(members.agents):
            # To compare with all of them would cost as much as to find homes anew.
            self._forget_all()

    def home(self, function: str) -> str:
        """The home's name. There must be a member."""
        known = self._known.get(function)
        if known is not None and known.revision == self.members.revision:
            return known.home.name
        return self._current(function, known).home.name

    def others_since(self, function: str, revision: int) -> list[Member]:
        """Which other agents may have been its home at this revision or later; some of them may have left."""
        now = self._current(function, self._known.get(function))
        if now.home.joined <= revision:
            bound = now.score
        else:
            stayed = [each for each in self.members.agents.values() if each.joined <= revision]
            bound = _best(stayed, function)[0] if stayed else math.inf
        left = [each for each, left in self.members.left.values() if left > revision]
        candidates = left if bound == now.score else [*left, *self.members.agents.values()]
        scores = ((score(each, function), each) for each in candidates if each.name != now.home.name)
        # One that came later than the home of now, and is no match for it, never was home.
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
    """Of equal ones the first by name."""
    least, best = math.inf, None
    for each in members:
        scored = score(each, function)
        if best is None or scored < least or (scored == least and each.name < best.name):
            least, best = scored, each
    assert best is not None, "no member"
    return least, best
