"""The decisions of one agent as the home of functions: who may start how many instances, and where a call runs.

Called on behalf of other agents and of this one. Pure: sends nothing, waits for nothing and reads no clock.
"""

import enum
import random
from collections.abc import Mapping

import msgspec

from sesame.placement.credits import HOLD_S, MEMBERSHIP_S, Ask, Bounds, Credit, Handed, Ledger, Line, Refused
from sesame.placement.homes import Homes
from sesame.placement.policies import DRAWN, idle_elsewhere

# How long after a change of the membership credits of a previous home may still be valid.
UNSURE_S = MEMBERSHIP_S + HOLD_S


class Answer(enum.Enum):
    # The named agent has an idle instance.
    IDLE = "idle"
    # One more instance may be started, on an agent with enough memory.
    START = "start"
    # It is not known yet what agents hold from a previous home: the call must wait and ask again.
    WAIT = "wait"
    # The function is at its cap, and no instance is idle.
    FULL = "full"


class Decision(msgspec.Struct, frozen=True):
    answer: Answer
    agent: str = ""


_START, _WAIT, _FULL = Decision(Answer.START), Decision(Answer.WAIT), Decision(Answer.FULL)


class Handover(msgspec.Struct, frozen=True):
    """Everything that an agent knows about the functions whose home another agent has become.

    Credits granted by homes that knew only memberships older than `past` have ended.
    """

    agent: str
    functions: Mapping[str, Handed]
    past: int


class _Function:
    """What this agent, as its home, knows about one function."""

    __slots__ = ("idle", "ledger")

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        # How many instances are idle, by version and agent.
        self.idle: dict[str, dict[str, int]] = {}


class Home:
    """`agent` is this agent's name. `homes` has the membership that this agent knows.

    Must be used only while this agent's own membership lasts, by its own clock.
    """

    def __init__(self, agent: str, homes: Homes, chance: random.Random, now: float) -> None:
        self._agent = agent
        self._homes = homes
        self._chance = chance
        self._functions: dict[str, _Function] = {}
        self._names: list[str] = []
        # The revisions learned within the last UNSURE_S, each with its time, and the newest revision before those.
        self._learned: list[tuple[float, int]] = []
        self._past = -1
        self._handed_by: set[str] = set()
        # Agents that have reported everything they hold since the newest revision; functions that still need reports.
        self._told: set[str] = set()
        self._hearing: set[str] = set()
        self._know_members(now)

    def place(self, function: str, version: str, bounds: Bounds, now: float) -> Decision | Refused:
        """Decides where a call runs if its agent has neither an idle instance nor a credit for it.

        An idle instance that the answer names counts as busy from now on.
        """
        if self._homes.home(function) != self._agent:
            return Refused.NOT_HOME
        known = self._functions.get(function) or self._open(function, now)
        idle = known.idle.get(version)
        if idle and (agent := idle_elsewhere(idle)) is not None:
            self._tell_idle(known, version, agent, idle[agent] - 1)
            return Decision(Answer.IDLE, agent)
        if known.ledger.is_hearing(now):
            return _WAIT
        return _START if known.ledger.free(Line(version), bounds, now) > 0 else _FULL

    def draw(self) -> list[str]:
        """Agents to ask for their memory, others by chance each time, of which `policies.cold_start` chooses."""
        return self._chance.sample(self._names, min(DRAWN, len(self._names)))

    def answer(self, function: str, ask: Ask, bounds: Bounds, now: float) -> Credit | Refused:
        """Credits for an agent. What it holds already it holds on, whatever is refused."""
        if ask.epoch > self._homes.members.revision:
            return Refused.AHEAD
        if ask.agent not in self._homes.members.agents:
            return Refused.NO_MEMBER
        if self._homes.home(function) != self._agent:
            return Refused.NOT_HOME
        known = self._functions.get(function) or self._open(function, now)
        return known.ledger.answer(ask, bounds, now)

    def idle(self, function: str, version: str, agent: str, count: int) -> None:
        """`agent` has so many instances of this version that wait for calls."""
        if (known := self._functions.get(function)) is not None:
            self._tell_idle(known, version, agent, count)

    def told(self, agent: str, epoch: int) -> None:
        """`agent` knows this revision of the membership, and its asks for what it holds have been answered here."""
        if epoch != self._homes.members.revision:
            return
        self._told.add(agent)
        for function in self._hearing:
            if (known := self._functions.get(function)) is not None:
                known.ledger.told(agent)

    def gone(self, agent: str) -> None:
        """The agent's process and all its instances have certainly ended."""
        for known in self._functions.values():
            known.ledger.gone(agent)
            self._forget(known, agent)

    def learned(self, now: float) -> Mapping[str, Handover]:
        """`homes` has learned a newer membership. Returns the handovers to send, by the name of the receiving agent.

        They contain the functions that this agent is no longer home of. Every agent that has joined gets one, even an
        empty one, so that it knows that there is nothing to come.
        """
        before = set(self._names)
        self._know_members(now)
        joined, left = self._homes.members.agents.keys() - before, before - self._homes.members.agents.keys()
        if self._agent in left:
            self._functions.clear()
            return {}
        for known in self._functions.values():
            for agent in left:
                self._forget(known, agent)
        moved: dict[str, dict[str, Handed]] = {each: {} for each in joined if each != self._agent}
        if moved:
            for function in list(self._functions):
                if (home := self._homes.home(function)) != self._agent:
                    moved[home][function] = self._functions.pop(function).ledger.hand_over()
        return {agent: Handover(self._agent, functions, self._past_at(now)) for agent, functions in moved.items()}

    def receive(self, handover: Handover, now: float) -> None:
        """Takes a handover from another agent. Ignored for functions that were already opened here by a request."""
        if handover.agent in self._handed_by:
            return
        self._handed_by.add(handover.agent)
        self._past = max(self._past, handover.past)
        for function, handed in handover.functions.items():
            if function not in self._functions and self._homes.home(function) == self._agent:
                ledger = Ledger.handed(self._homes.members.revision, handed, now)
                self._functions[function] = _Function(ledger)
                if handed.unheard:
                    self._hearing.add(function)

    def clear(self, now: float) -> None:
        """Discards functions of which no agent holds anything. Called periodically."""
        for function in [name for name, known in self._functions.items() if known.ledger.is_empty(now)]:
            del self._functions[function]
        self._hearing = {each for each in self._hearing if each in self._functions}

    def _open(self, function: str, now: float) -> _Function:
        """Begins to keep a function, and determines whether a previous home may have granted credits for it."""
        members = self._homes.members
        others = self._homes.others_since(function, self._past_at(now))
        unheard: dict[str, float] = {}
        if any(each.name not in self._handed_by or each.name not in members.agents for each in others):
            # An agent that is no longer a member has granted nothing since it left.
            wait_s = UNSURE_S if any(each.name in members.agents for each in others) else HOLD_S
            until = self._learned[-1][0] + wait_s
            unheard = {each: until for each in (*members.agents, *members.left) if each not in self._told}
            self._hearing.add(function)
        known = self._functions[function] = _Function(Ledger(members.revision, unheard))
        return known

    def _know_members(self, now: float) -> None:
        self._names = sorted(self._homes.members.agents)
        self._told.clear()
        self._learned.append((now, self._homes.members.revision))

    def _past_at(self, now: float) -> int:
        """The newest revision such that credits of homes that knew only older memberships have ended by `now`."""
        while self._learned and self._learned[0][0] + UNSURE_S <= now:
            self._past = max(self._past, self._learned.pop(0)[1])
        return self._past

    @staticmethod
    def _tell_idle(known: _Function, version: str, agent: str, count: int) -> None:
        idle = known.idle.setdefault(version, {})
        if count > 0:
            idle[agent] = count
        else:
            idle.pop(agent, None)
            if not idle:
                del known.idle[version]

    @staticmethod
    def _forget(known: _Function, agent: str) -> None:
        for version in list(known.idle):
            Home._tell_idle(known, version, agent, 0)
