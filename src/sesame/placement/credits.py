"""The home's ledger of one function: how many instances each agent may have, and until when.

Pure: uses no clock and no network. Called by `placement.home`; `placement.holding` is the agent's side. The sum of all
credits never exceeds a cap, even if messages are lost, late or out of order, and whichever agent was home before.

An agent asks for the total that it wants, and numbers its requests. The home never records less than the agent may use:
it lowers a record only if the agent asked for less or the credit has ended. A lost answer therefore leaves a credit
unused until it ends, but never lets two agents use the same one.
"""

import enum
from collections.abc import Mapping

import msgspec

from sesame.placement.policies import share

# A credit lasts LIFE_S at its holder, from when it sent the request, and HOLD_S at the home, from when the request
# arrived. The home waits longer because the rates of their clocks may differ.
LIFE_S = 15.0
HOLD_S = 16.5
# POLICY: an agent renews three times within the life of a credit, so that a single lost message does not end it.
RENEW_S = 5.0
# The life of an agent's membership: an agent whose knowledge of the members is older than this decides nothing.
MEMBERSHIP_S = 5.0


class Line(msgspec.Struct, frozen=True):
    """What a credit is for: on-demand instances of one version of the function, or its provisioned ones."""

    version: str
    provisioned: bool = False


class Bounds(msgspec.Struct, frozen=True):
    """The current caps of one function, from the catalog.

    `function` bounds all of its instances: the lower of its reserved concurrency and the cap that applies to every
    function. `on_demand` bounds the on-demand instances of a version; versions not listed are unbounded. Memory is not
    included: each agent's engine enforces its own.
    """

    function: int
    on_demand: Mapping[str, int] = {}


class Ask(msgspec.Struct, frozen=True):
    """A request for credits. `wanted` is the total per line; `held` is what the agent may use now, at most `wanted`.

    `number` increases with each request of this agent for this function. `epoch` is the membership revision that the
    agent knows: it accepts no answers to requests that it made before knowing it.
    """

    agent: str
    epoch: int
    number: int
    wanted: Mapping[Line, int]
    held: Mapping[Line, int] = {}


class Credit(msgspec.Struct, frozen=True):
    """The answer to request `number`: the agent's total per line, valid for LIFE_S from when it sent the request.

    `surplus` is by how many instances the function exceeds its caps after a cap was lowered: the agent gives back up to
    that many of its own that are idle.
    """

    number: int
    counts: Mapping[Line, int]
    surplus: int = 0


class Refused(enum.Enum):
    """Why a request was refused. What the agent holds is unchanged."""

    # The requesting agent's membership is older than this home: it must read the membership and ask again.
    BEHIND = "behind"
    # The requesting agent knows a newer membership than this one, which must read it first.
    AHEAD = "ahead"
    # A later request of the same agent has been answered already.
    OVERTAKEN = "overtaken"
    # Another agent is home.
    NOT_HOME = "not home"
    # The agent is not a member (any more): it must stop, and join under another name.
    NO_MEMBER = "no member"


class Account(msgspec.Struct):
    """What one agent holds according to the home: never less than it may use."""

    number: int
    counts: dict[Line, int]
    until: float


class Handed(msgspec.Struct, frozen=True):
    """Everything that a home knew about a function when it stopped granting, for the next home."""

    accounts: Mapping[str, Account]
    unheard: Mapping[str, float]


class Ledger:
    """`since` is the membership revision with which this agent became home of the function.

    A home without a handover does not know what the previous home granted. `unheard` are the agents that may hold
    credits of that one, each with the time after which it certainly holds none. Nothing is granted until each of them
    has reported what it holds or its time has passed.
    """

    def __init__(self, since: int, unheard: Mapping[str, float] | None = None) -> None:
        self._since = since
        self._unheard = dict(unheard or {})
        self._accounts: dict[str, Account] = {}
        self._of_line: dict[Line, int] = {}
        self._granted = 0
        # The earliest time at which an account or the wait for an agent can end.
        self._next_end = min(self._unheard.values(), default=float("inf"))

    @classmethod
    def handed(cls, since: int, by: Handed, now: float) -> "Ledger":
        """Continues with what the previous home knew; all times restart on this agent's clock."""
        ledger = cls(since, dict.fromkeys(by.unheard, now + HOLD_S + MEMBERSHIP_S))
        for agent, account in by.accounts.items():
            ledger._set(agent, Account(account.number, {}, now + HOLD_S), account.counts)
        return ledger

    @property
    def granted(self) -> int:
        """How many instances all agents may have, over all lines."""
        return self._granted

    def is_hearing(self, now: float) -> bool:
        """Whether agents may hold credits that are not known here, so that nothing can be granted yet."""
        self._end(now)
        return bool(self._unheard)

    def is_empty(self, now: float) -> bool:
        """Whether the ledger can be discarded without losing anything."""
        self._end(now)
        return not self._accounts and not self._unheard

    def free(self, line: Line, bounds: Bounds, now: float) -> int:
        """How many more instances of this line could be granted."""
        self._end(now)
        free = min(bounds.function - self._granted, self._free_of_version(line, bounds))
        return 0 if self._unheard else max(free, 0)

    def answer(self, ask: Ask, bounds: Bounds, now: float) -> Credit | Refused:
        """Renews what the agent has, and grants more as far as the bounds allow."""
        if ask.epoch < self._since:
            return Refused.BEHIND
        self._end(now)
        account = self._accounts.get(ask.agent)
        if account is None:
            account = Account(ask.number, {}, now)
        elif ask.number <= account.number:
            return Refused.OVERTAKEN
        account.number, account.until = ask.number, now + HOLD_S
        if self._unheard and self._unheard.pop(ask.agent, None) is not None:
            self._set(ask.agent, account, ask.held)
        if ask.wanted != account.counts:
            self._set(ask.agent, account, self._decided(account.counts, ask.wanted, bounds))
        return Credit(ask.number, dict(account.counts), max(self._granted - bounds.function, 0))

    def told(self, agent: str) -> None:
        """The agent has reported everything that it holds of the function since this agent became home."""
        self._unheard.pop(agent, None)

    def gone(self, agent: str) -> None:
        """The agent's process and all its instances have certainly ended: frees what it held at once."""
        self._unheard.pop(agent, None)
        if (account := self._accounts.get(agent)) is not None:
            self._set(agent, account, {})

    def hand_over(self) -> Handed:
        """Returns everything that is known. Must be the last use of this ledger."""
        return Handed(dict(self._accounts), dict(self._unheard))

    def _decided(self, current: Mapping[Line, int], wanted: Mapping[Line, int], bounds: Bounds) -> dict[Line, int]:
        """What the agent has from now on. What it gives back of one line can be granted to it for another."""
        counts = {line: min(current.get(line, 0), count) for line, count in wanted.items()}
        if self._unheard:
            return counts
        free = bounds.function - self._granted + sum(current.values()) - sum(counts.values())
        for line, count in wanted.items():
            if count > counts[line]:
                more = share(count - counts[line], min(free, self._free_of_version(line, bounds)))
                counts[line] += more
                free -= more
        return counts

    def _free_of_version(self, line: Line, bounds: Bounds) -> int:
        cap = None if line.provisioned else bounds.on_demand.get(line.version)
        return bounds.function if cap is None else cap - self._of_line.get(line, 0)

    def _set(self, agent: str, account: Account, counts: Mapping[Line, int]) -> None:
        """Replaces an agent's record. Records change only here, so the sums stay consistent."""
        for line in {*account.counts, *counts}:
            more = counts.get(line, 0) - account.counts.get(line, 0)
            self._granted += more
            self._of_line[line] = self._of_line.get(line, 0) + more
            if not self._of_line[line]:
                del self._of_line[line]
        account.counts = {line: count for line, count in counts.items() if count}
        if account.counts:
            self._accounts[agent] = account
            self._next_end = min(self._next_end, account.until)
        else:
            self._accounts.pop(agent, None)

    def _end(self, now: float) -> None:
        """Removes what has ended by `now`."""
        if now < self._next_end:
            return
        for agent in [each for each, until in self._unheard.items() if until <= now]:
            del self._unheard[agent]
        for agent, account in [each for each in self._accounts.items() if each[1].until <= now]:
            self._set(agent, account, {})
        ends = [account.until for account in self._accounts.values()]
        self._next_end = min([*ends, *self._unheard.values()], default=float("inf"))
