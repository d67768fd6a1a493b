"""What one home has granted of one function: how many instances each agent may have, and until when.

Pure: no clock and no network. Called by `placement.home`; `placement.holding` is the agent's side. Their sum never
exceeds a cap, whatever messages are lost, late or out of order, and whichever agent was home before.

An agent asks for what it wants *in all*, and numbers its asks. The home records at least what the agent may use: it
lowers a record only because the agent asked for less, or because the credit has ended. So a lost answer costs a credit
that nobody uses until it ends, and never one that two agents use.
"""

import enum
from collections.abc import Mapping

import msgspec

from sesame.placement.policies import share

# A holder counts the life of a credit from when it sent its ask, the home from when the ask came. Both count on clocks
# of their own, which may differ in speed, so the home waits longer.
LIFE_S = 15.0
HOLD_S = 16.5
# POLICY: an agent renews three times within the life of a credit, so that one lost message ends none.
RENEW_S = 5.0
# The life of an agent's membership: an agent that has not learned of a change for so long decides nothing any more.
MEMBERSHIP_S = 5.0


class Line(msgspec.Struct, frozen=True):
    """What a credit is for: on-demand instances of one version of the function, or its provisioned ones."""

    version: str
    provisioned: bool = False


class Bounds(msgspec.Struct, frozen=True):
    """The caps of one function, as the catalog has them now.

    `function` bounds all of its instances: the least of its reserved concurrency and the cap of every function.
    `on_demand` bounds those of a version; versions that are not in it are not bounded. Memory is no part of it: each
    agent's engine keeps its own.
    """

    function: int
    on_demand: Mapping[str, int] = {}


class Ask(msgspec.Struct, frozen=True):
    """`wanted` is what the agent wants in all, by line; `held` what it may use now, which is never more than `wanted`.

    `number` grows with each ask of this agent for this function. `epoch` is the membership revision that it knows: it
    takes nothing that was granted to asks which it made before it knew it.
    """

    agent: str
    epoch: int
    number: int
    wanted: Mapping[Line, int]
    held: Mapping[Line, int] = {}


class Credit(msgspec.Struct, frozen=True):
    """The answer to the ask of this number: what the agent has in all, for LIFE_S from when it asked.

    `surplus` instances of the function are more than its caps allow, because a cap was lowered: the agent gives back
    what is idle of its own, up to so many.
    """

    number: int
    counts: Mapping[Line, int]
    surplus: int = 0


class Refused(enum.Enum):
    """Why an ask has no answer. What the agent holds is as it was."""

    # The agent does not know yet since when this agent is home: it reads the membership and asks again.
    BEHIND = "behind"
    # The agent knows a newer membership than this one, which reads it before it is asked again.
    AHEAD = "ahead"
    # A later ask of this agent has been answered.
    OVERTAKEN = "overtaken"
    # Another agent is home.
    NOT_HOME = "not home"
    # The agent is no member (any more): it stops, and joins under another name.
    NO_MEMBER = "no member"


class Account(msgspec.Struct):
    """What one agent holds, as far as the home knows: never less than what it may use."""

    number: int
    counts: dict[Line, int]
    until: float


class Handed(msgspec.Struct, frozen=True):
    """All that a home knew when it stopped granting, for the next one."""

    accounts: Mapping[str, Account]
    unheard: Mapping[str, float]


class Ledger:
    """`since` is the membership revision with which this agent became home of the function.

    A home that was handed nothing by the one before it does not know what that one had granted. `unheard` are the
    agents that may hold something of it, each with the time from which on it certainly does not. Until each has said
    what it holds, or its time has come, nothing is granted.
    """

    def __init__(self, since: int, unheard: Mapping[str, float] | None = None) -> None:
        self._since = since
        self._unheard = dict(unheard or {})
        self._accounts: dict[str, Account] = {}
        self._of_line: dict[Line, int] = {}
        self._granted = 0
        # Nothing ends before it.
        self._next_end = min(self._unheard.values(), default=float("inf"))

    @classmethod
    def handed(cls, since: int, by: Handed, now: float) -> "Ledger":
        """Goes on with what the home before knew, on this agent's clock."""
        ledger = cls(since, dict.fromkeys(by.unheard, now + HOLD_S + MEMBERSHIP_S))
        for agent, account in by.accounts.items():
            ledger._set(agent, Account(account.number, {}, now + HOLD_S), account.counts)
        return ledger

    @property
    def granted(self) -> int:
        """Instances that agents may have, of every line."""
        return self._granted

    def is_hearing(self, now: float) -> bool:
        """Whether agents may hold something that is not known here, so that nothing is granted."""
        self._end(now)
        return bool(self._unheard)

    def is_empty(self, now: float) -> bool:
        """Whether nothing is lost by forgetting this ledger."""
        self._end(now)
        return not self._accounts and not self._unheard

    def free(self, line: Line, bounds: Bounds, now: float) -> int:
        """How many instances of this line may be there beyond those granted."""
        self._end(now)
        free = min(bounds.function - self._granted, self._free_of_version(line, bounds))
        return 0 if self._unheard else max(free, 0)

    def answer(self, ask: Ask, bounds: Bounds, now: float) -> Credit | Refused:
        """Grants what the bounds leave, and renews what the agent has."""
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
        """All that the agent holds of the function has been asked for since this home became it."""
        self._unheard.pop(agent, None)

    def gone(self, agent: str) -> None:
        """This agent's process and all of its instances are known to have ended: what it held is free at once."""
        self._unheard.pop(agent, None)
        if (account := self._accounts.get(agent)) is not None:
            self._set(agent, account, {})

    def hand_over(self) -> Handed:
        """The last thing that is asked of this ledger."""
        return Handed(dict(self._accounts), dict(self._unheard))

    def _decided(self, current: Mapping[Line, int], wanted: Mapping[Line, int], bounds: Bounds) -> dict[Line, int]:
        """What an agent has from now on. What it gives back of one line is free for its others."""
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
        """The one place where records change."""
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
        """Forgets what has ended by `now`."""
        if now < self._next_end:
            return
        for agent in [each for each, until in self._unheard.items() if until <= now]:
            del self._unheard[agent]
        for agent, account in [each for each in self._accounts.items() if each[1].until <= now]:
            self._set(agent, account, {})
        ends = [account.until for account in self._accounts.values()]
        self._next_end = min([*ends, *self._unheard.values()], default=float("inf"))
