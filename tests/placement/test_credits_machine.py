"""A search for a cap that is exceeded: agents come, go, are cut off and are restarted, and messages take any way.

The membership, the messages and each agent's clock are simulated; homes, ledgers and holdings are the real ones. What
is never simulated is time that a cut-off agent does not notice: each asks its own clock before it acts.
"""

import random

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.examples import examples

from sesame.placement.credits import HOLD_S, LIFE_S, MEMBERSHIP_S, Ask, Bounds, Credit, Ledger, Line, Refused
from sesame.placement.holding import Holding
from sesame.placement.home import Handover, Home
from sesame.placement.homes import Homes, Member, Members

FUNCTION = "f"
ONE, TWO, KEPT = Line("1"), Line("2"), Line("1", provisioned=True)
LINES = (ONE, TWO, KEPT)
BOUNDS = Bounds(function=3, on_demand={"1": 2})
PLACES = ("p", "q", "r")

indexes = st.integers(0, 9)
# Mostly as much as there is.
wishes = st.sampled_from([{ONE: 3}, {TWO: 3}, {TWO: 1}, {}, {ONE: 2, TWO: 1}, {KEPT: 1, TWO: 2}, {KEPT: 3}])


class Agent:
    """A process: the membership that it knows, how long that lasts, what it is home of and what it holds."""

    def __init__(self, name: str, members: Members, now: float, speed: float) -> None:
        self.name = name
        # Clocks differ in where they begin and in how fast they go.
        self.speed = speed
        self.homes = Homes(members)
        self.known_until = now * speed + MEMBERSHIP_S
        self.home = Home(name, self.homes, random.Random(0), now * speed)
        self.holding = Holding(name, members.revision)
        self.cut_off = False

    def time(self, now: float) -> float:
        return now * self.speed

    def is_member(self, now: float) -> bool:
        """By what it knows itself."""
        return self.time(now) < self.known_until


class InFlight(msgspec.Struct):
    """`to` is an agent's name. A credit is for the process that asked."""

    to: str
    body: Ask | Credit | Handover


class Messages(RuleBasedStateMachine):
    """One home and two agents, with every order of their messages: what is lost here among what can happen there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ledger = Ledger(0)
        # The second one's clock is slower, by more than clocks are.
        self.agents = {"a": (Holding("a", 0), 1.0), "b": (Holding("b", 0), 0.995)}
        self.messages: list[InFlight] = []

    @rule(name=st.sampled_from("ab"), wanted=st.sampled_from([0, 1, 3]), delivered=st.sampled_from([0, 1, 2, 2, 2]))
    def ask(self, name: str, wanted: int, delivered: int) -> None:
        holding, speed = self.agents[name]
        self.messages.append(InFlight("home", holding.ask({TWO: wanted} if wanted else {}, self.now * speed)))
        for _ in range(delivered):
            self.deliver(-1, again=False)

    @rule(index=indexes, again=st.booleans())
    def deliver(self, index: int, *, again: bool) -> None:
        if not self.messages:
            return
        message = self.messages[index % len(self.messages)]
        if not again:
            self.messages.remove(message)
        if isinstance(message.body, Ask):
            credit = self.ledger.answer(message.body, BOUNDS, self.now)
            if isinstance(credit, Credit):
                self.messages.append(InFlight(message.body.agent, credit))
        elif isinstance(message.body, Credit):
            self.agents[message.to][0].take(message.body)

    @rule(seconds=st.sampled_from([1.0, LIFE_S / 2, LIFE_S - 0.1, LIFE_S + 0.02, HOLD_S + 0.1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_home_knows_of_what_is_used_and_keeps_to_the_cap(self) -> None:
        usable = sum(holding.usable(TWO, self.now * speed) for holding, speed in self.agents.values())
        assert usable <= BOUNDS.function
        assert usable + self.ledger.free(TWO, BOUNDS, self.now) <= BOUNDS.function


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.count = 0
        self.members = Members(0, {})
        self.agents: dict[str, Agent] = {}
        # When each renewed its membership at last, by the database's clock.
        self.renewed: dict[str, float] = {}
        self.messages: list[InFlight] = []

    @initialize(count=st.integers(1, 3), first=st.floats(0.999, 1.001))
    def begin(self, count: int, first: float) -> None:
        for place in PLACES[:count]:
            self.come(place, first)

    @rule(place=st.sampled_from(PLACES), speed=st.floats(0.999, 1.001))
    def come(self, place: str, speed: float) -> None:
        if any(each.place == place for each in self.members.agents.values()):
            return
        self.count += 1
        name, revision = f"{place}-{self.count}", self.members.revision + 1
        member = Member(name, place, 1024, revision)
        self.members = Members(revision, {**self.members.agents, name: member}, self.members.left)
        self.renewed[name] = self.now
        self.agents[name] = Agent(name, self.members, self.now, speed)

    @rule(index=indexes)
    def die(self, index: int) -> None:
        if agent := self._agent(index):
            del self.agents[agent.name]

    @rule(index=indexes)
    def die_before_witnesses(self, index: int) -> None:
        """As on one machine, where a supervisor has seen the process and its instances end."""
        if agent := self._agent(index):
            del self.agents[agent.name]
            for each in self.agents.values():
                each.home.gone(agent.name)

    @rule(index=indexes)
    def cut(self, index: int) -> None:
        if agent := self._agent(index):
            agent.cut_off = not agent.cut_off

    @rule(index=indexes)
    def evict(self, index: int) -> None:
        """The database removes who has not renewed."""
        due = [name for name in self.members.agents if self.renewed[name] + MEMBERSHIP_S * 1.01 <= self.now]
        if due:
            name, revision = due[index % len(due)], self.members.revision + 1
            agents = dict(self.members.agents)
            left = {**self.members.left, name: (agents.pop(name), revision)}
            self.members = Members(revision, agents, left)

    @rule(index=indexes)
    def renew(self, index: int) -> None:
        """And learn: only this tells an agent of changes."""
        agent = self._agent(index)
        if agent is None or agent.cut_off or agent.name not in self.members.agents:
            return
        self.renewed[agent.name] = self.now
        agent.known_until = agent.time(self.now) + MEMBERSHIP_S
        if self.members.revision > agent.homes.members.revision:
            agent.homes.learn(self.members)
            for to, handover in agent.home.learned(agent.time(self.now)).items():
                self.messages.append(InFlight(to, handover))
            agent.holding.learn(self.members.revision)

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 5.1, 13.0, HOLD_S + 0.2]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.9]), times=st.integers(1, 5))
    def time_passes_and_who_can_renews(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.now += seconds
            for index in range(len(self.agents)):
                self.renew(index)

    @rule(index=indexes, wanted=wishes)
    def ask(self, index: int, wanted: dict[Line, int]) -> None:
        if agent := self._agent(index):
            ask = agent.holding.ask(wanted, agent.time(self.now))
            self.messages.append(InFlight(agent.homes.home(FUNCTION), ask))

    @rule(index=indexes, wanted=wishes)
    def ask_until_there_is_no_more(self, index: int, wanted: dict[Line, int]) -> None:
        count = len(self.messages)
        for _ in range(3):
            self.ask(index, wanted)
            while len(self.messages) > count:
                self.deliver(count)

    @rule(index=indexes)
    def tell_all(self, index: int) -> None:
        """An agent asks every home for what it holds, in one message each, and is answered."""
        if agent := self._agent(index):
            for home in self.agents.values():
                if home.cut_off or not home.is_member(self.now):
                    continue
                if agent.homes.home(FUNCTION) == home.name:
                    now = agent.time(self.now)
                    held = {line: agent.holding.usable(line, now) for line in LINES}
                    ask = agent.holding.ask({line: count for line, count in held.items() if count}, now)
                    credit = home.home.answer(FUNCTION, ask, BOUNDS, home.time(self.now))
                    if isinstance(credit, Refused):
                        return
                    agent.holding.take(credit)
                home.home.told(agent.name, agent.homes.members.revision)

    @rule(index=indexes)
    def deliver(self, index: int) -> None:
        self._deliver(index, again=False)

    @rule(index=indexes)
    def deliver_and_again_later(self, index: int) -> None:
        self._deliver(index, again=True)

    @rule(index=indexes)
    def lose(self, index: int) -> None:
        if self.messages:
            self.messages.pop(index % len(self.messages))

    @rule()
    def forget(self) -> None:
        for agent in self.agents.values():
            agent.home.clear(agent.time(self.now))

    def _deliver(self, index: int, *, again: bool) -> None:
        if not self.messages:
            return
        message = self.messages[index % len(self.messages)]
        if not again:
            self.messages.remove(message)
        agent = self.agents.get(message.to)
        if agent is None or agent.cut_off:
            return
        now = agent.time(self.now)
        match message.body:
            case Ask() as ask if agent.is_member(self.now):
                credit = agent.home.answer(FUNCTION, ask, BOUNDS, now)
                if isinstance(credit, Credit):
                    self.messages.append(InFlight(ask.agent, credit))
            case Credit() as credit:
                agent.holding.take(credit)
            case Handover() as handover:
                agent.home.receive(handover, now)

    def _agent(self, index: int) -> Agent | None:
        alive = sorted(self.agents)
        return self.agents[alive[index % len(alive)]] if alive else None

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        agents = self.agents.values()
        usable = {line: sum(each.holding.usable(line, each.time(self.now)) for each in agents) for line in LINES}
        assert sum(usable.values()) <= BOUNDS.function, usable
        assert usable[ONE] <= BOUNDS.on_demand["1"], usable


Messages.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=30, deadline=None)
TestMessages = Messages.TestCase
Cluster.TestCase.settings = settings(max_examples=examples(100), stateful_step_count=50, deadline=None)
TestCluster = Cluster.TestCase
