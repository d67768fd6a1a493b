"""A cluster in virtual time: the real decisions of `sesame.placement` over agents that are stubs, one on each node.

Used by `benchmarks.placement` and by its test. A stub has memory, counts instances and lets calls take their time; it
holds credits, renews them and keeps idle instances as an agent does. Messages arrive at once and none is lost:
`tests/placement` searches what happens where they do not. All agents learn of a change of the membership at one time,
MEMBERSHIP_S after a node has failed.
"""

import heapq
import itertools
import random
import time
from collections.abc import Iterator

import msgspec

from benchmarks.trace.azure2019 import Function
from sesame.placement import policies
from sesame.placement.credits import MEMBERSHIP_S, RENEW_S, Bounds, Credit, Line
from sesame.placement.holding import Holding
from sesame.placement.home import Answer, Decision, Home
from sesame.placement.homes import Homes, Member, Members
from sesame.placement.policies import DRAWS, Place, Room

KEEP_ALIVE_S = 300.0
MINUTE_S = 60.0
# A call that may not start an instance yet asks again after so long.
ASK_AGAIN_S = 1.0
VERSION = "1"
LINE = Line(VERSION)
BOUNDS = Bounds(function=100)
# Instances have memory in steps, as the API has it.
_STEP_MB, _LEAST_MB = 64, 128


class Counts(msgspec.Struct):
    """Of calls, by how they were placed; what a failing node takes with it is lost."""

    here: int = 0
    forwarded: int = 0
    own_credit: int = 0
    started: int = 0
    refused: int = 0
    lost: int = 0
    waited: int = 0
    longest_wait_s: float = 0.0
    renewals: int = 0
    # Instances that were started at another agent, ahead of calls, for one that ended.
    moved: int = 0

    def placed(self) -> int:
        return self.here + self.forwarded + self.own_credit + self.started


class _Pool:
    """The instances of one function at one agent."""

    __slots__ = ("busy", "holding", "idle")

    def __init__(self, holding: Holding) -> None:
        self.holding = holding
        self.busy = 0
        # Since when each is idle, the last one at the end.
        self.idle: list[float] = []

    @property
    def instances(self) -> int:
        return self.busy + len(self.idle)


class StubAgent:
    def __init__(self, member: Member, homes: Homes, chance: random.Random, now: float) -> None:
        self.member = member
        self.home = Home(member.name, homes, chance, now)
        self.used_mb = 0
        self.pools: dict[int, _Pool] = {}
        self.decided = 0

    def room(self) -> Room:
        return Room(self.member.name, self.used_mb, self.member.memory_mb)


class _Call(msgspec.Struct, order=True):
    at: float
    function: int
    # When it came; later ones are asked again.
    came: float


class Cluster:
    """With `measure` the processor time of each decision is noted, in nanoseconds."""

    def __init__(self, functions: list[Function], memory_mb: list[int], seed: int) -> None:
        self._functions = functions
        self._names = [f"{each.app}/{each.name}" for each in functions]
        self._memory_mb = [max(_LEAST_MB, -(-int(each.memory_mb) // _STEP_MB) * _STEP_MB) for each in functions]
        self._chance = random.Random(seed)
        agents = {f"n{n}-0": Member(f"n{n}-0", f"n{n}", each) for n, each in enumerate(memory_mb)}
        self._homes = Homes(Members(1, agents))
        self.agents = {name: StubAgent(each, self._homes, self._chance, 0.0) for name, each in agents.items()}
        self._askers = list(self.agents.values())
        self._restarts = itertools.count(1)
        # When who has to do what next: a number keeps the order of what is due at one time.
        self._due: list[tuple[float, int, str, StubAgent, int]] = []
        self._number = itertools.count()
        self._waiting: list[_Call] = []
        # Whether the call that was not placed is to ask again.
        self._waits = False
        self.now = 0.0
        self.counts = Counts()
        self.measure = False
        self.decision_ns: list[int] = []
        for agent in self._askers:
            self._at(self._chance.random() * RENEW_S, "renew", agent)

    def run_until(self, end: float, calls: Iterator[tuple[float, int]]) -> None:
        """`calls` are of this time, in order."""
        for at, function in calls:
            self._pass(at)
            self._call(_Call(at, function, at))
        self._pass(end)

    def fail(self, name: str) -> None:
        """The node is gone at once; the others learn it later."""
        agent = self.agents.pop(name)
        self._askers.remove(agent)
        self.counts.lost += sum(pool.busy for pool in agent.pools.values())
        agent.pools.clear()
        self._at(self.now + MEMBERSHIP_S, "left", agent)

    def come(self, place: str, memory_mb: int) -> None:
        """A node joins, or comes back."""
        members = self._homes.members
        name = f"{place}-{next(self._restarts)}"
        member = Member(name, place, memory_mb, members.revision + 1)
        self._learn(Members(members.revision + 1, {**members.agents, name: member}, members.left), joined=member)

    @property
    def members(self) -> Members:
        return self._homes.members

    def filled(self) -> float:
        """The part of all memory that instances have."""
        agents = self.agents.values()
        return sum(each.used_mb for each in agents) / sum(each.member.memory_mb for each in agents)

    def loads(self) -> list[float]:
        """The memory of each node's instances, beside its part by its own memory of that of all instances."""
        even = self.filled()
        return [each.used_mb / each.member.memory_mb / even if even else 1.0 for each in self.agents.values()]

    def instances(self) -> dict[str, int]:
        """Of each function."""
        counts: dict[str, int] = {}
        for agent in self.agents.values():
            for function, pool in agent.pools.items():
                counts[self._names[function]] = counts.get(self._names[function], 0) + pool.instances
        return counts

    def _at(self, due: float, what: str, agent: StubAgent, function: int = 0) -> None:
        heapq.heappush(self._due, (due, next(self._number), what, agent, function))

    def _pass(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _number, what, agent, function = heapq.heappop(self._due)
            self._ask_again()
            if what == "end":
                self._end(agent, function)
            elif what == "renew":
                self._renew(agent)
            else:
                self._left(agent)
        self.now = until
        self._ask_again()

    def _ask_again(self) -> None:
        while self._waiting and self._waiting[0].at <= self.now:
            self._call(heapq.heappop(self._waiting))

    def _call(self, call: _Call) -> None:
        asker = self._askers[int(self._chance.random() * len(self._askers))]
        if self.measure:
            began = time.thread_time_ns()
            agent = self._placed(call.function, asker)
            self.decision_ns.append(time.thread_time_ns() - began)
        else:
            agent = self._placed(call.function, asker)
        if agent is not None:
            self._at(self.now + self._functions[call.function].duration_s, "end", agent, call.function)
            if call.came < self.now:
                self.counts.waited += 1
                self.counts.longest_wait_s = max(self.counts.longest_wait_s, self.now - call.came)
        elif self._waits:
            heapq.heappush(self._waiting, _Call(self.now + ASK_AGAIN_S, call.function, call.came))
        else:
            self.counts.refused += 1

    def _placed(self, function: int, asker: StubAgent) -> StubAgent | None:
        """The decision about one call, from the agent that has it to the one that runs it: what is measured."""
        self._waits = False
        pool = asker.pools.get(function)
        if pool is not None:
            unused = pool.holding.usable(LINE, self.now) - pool.instances
            fits = asker.used_mb + self._memory_mb[function] <= asker.member.memory_mb
            match policies.local(len(pool.idle), 0, unused, fits=fits):
                case Place.IDLE_HERE:
                    self.counts.here += 1
                    return self._take(asker, function)
                case Place.OWN_CREDIT:
                    self.counts.own_credit += 1
                    return self._start(asker, function)
        name = self._names[function]
        home = self.agents.get(self._homes.home(name))
        if home is None:
            # It has failed, and nobody knows it yet.
            self._waits = True
            return None
        home.decided += 1
        while True:
            decision = home.home.place(name, VERSION, BOUNDS, self.now)
            assert isinstance(decision, Decision), decision
            if decision.answer is not Answer.IDLE:
                break
            agent = self.agents.get(decision.agent)
            if agent is not None and (pool := agent.pools.get(function)) is not None and pool.idle:
                self.counts.forwarded += 1
                return self._take(agent, function)
            home.home.idle(name, VERSION, decision.agent, 0)
        self._waits = decision.answer is Answer.WAIT
        return self._cold(function, home, asker) if decision.answer is Answer.START else None

    def _cold(self, function: int, home: StubAgent, asker: StubAgent) -> StubAgent | None:
        for _ in range(DRAWS):
            drawn = (self.agents.get(each) for each in home.home.draw())
            rooms = [each.room() for each in drawn if each is not None and each is not asker]
            chosen = policies.cold_start([*rooms, asker.room()], asker.member.name, self._memory_mb[function])
            if chosen is not None:
                break
        else:
            return None
        agent = self.agents[chosen]
        pool = self._pool(agent, function)
        if self._ask(function, home, pool, pool.instances + 1) <= pool.instances:
            return None
        self.counts.started += 1
        return self._start(agent, function)

    def _ask(self, function: int, home: StubAgent, pool: _Pool, wanted: int) -> int:
        """How many instances the agent of the pool may have afterwards."""
        ask = pool.holding.ask({LINE: wanted} if wanted else {}, self.now)
        credit = home.home.answer(self._names[function], ask, BOUNDS, self.now)
        if isinstance(credit, Credit):
            pool.holding.take(credit)
        return pool.holding.usable(LINE, self.now)

    def _take(self, agent: StubAgent, function: int) -> StubAgent:
        pool = agent.pools[function]
        pool.idle.pop()
        pool.busy += 1
        return agent

    def _start(self, agent: StubAgent, function: int) -> StubAgent:
        agent.pools[function].busy += 1
        agent.used_mb += self._memory_mb[function]
        return agent

    def _end(self, agent: StubAgent, function: int) -> None:
        pool = agent.pools.get(function)
        if pool is not None:
            pool.busy -= 1
            pool.idle.append(self.now)
            self._tell_idle(agent, function, pool)

    def _tell_idle(self, agent: StubAgent, function: int, pool: _Pool) -> None:
        name = self._names[function]
        home = self.agents.get(self._homes.home(name))
        if home is not None:
            home.home.idle(name, VERSION, agent.member.name, len(pool.idle))

    def _renew(self, agent: StubAgent) -> None:
        """Ends what was idle for too long, and renews what is held."""
        if self.agents.get(agent.member.name) is not agent:
            return
        self._at(self.now + RENEW_S, "renew", agent)
        for function, pool in list(agent.pools.items()):
            kept = [since for since in pool.idle if self.now - since < KEEP_ALIVE_S]
            if len(kept) < len(pool.idle):
                agent.used_mb -= self._memory_mb[function] * (len(pool.idle) - len(kept))
                pool.idle = kept
                self._tell_idle(agent, function, pool)
            self._renew_pool(agent, function, pool)
        self._move(agent)

    def _move(self, agent: StubAgent) -> None:
        """One idle instance, to where there is more room."""
        drawn = (self.agents.get(each) for each in agent.home.draw())
        rooms = [each.room() for each in drawn if each is not None and each is not agent]
        if policies.moves(agent.room(), rooms, [0]) is None:
            return
        idle = sorted((pool.idle[0], function) for function, pool in agent.pools.items() if pool.idle)
        moved = policies.moves(agent.room(), rooms, (self._memory_mb[function] for _since, function in idle))
        if moved is None:
            return
        at, to = moved
        function = idle[at][1]
        home = self.agents.get(self._homes.home(self._names[function]))
        if home is None:
            return
        other = self.agents[to]
        pool = self._pool(other, function)
        if self._ask(function, home, pool, pool.instances + 1) > pool.instances:
            pool.idle.append(agent.pools[function].idle.pop(0))
            pool.idle.sort()
            other.used_mb += self._memory_mb[function]
            agent.used_mb -= self._memory_mb[function]
            self._tell_idle(other, function, pool)
            self._tell_idle(agent, function, agent.pools[function])
            self._renew_pool(agent, function, agent.pools[function])
            self.counts.moved += 1

    def _pool(self, agent: StubAgent, function: int) -> _Pool:
        pool = agent.pools.get(function)
        if pool is None:
            holding = Holding(agent.member.name, self._homes.members.revision)
            pool = agent.pools[function] = _Pool(holding)
        return pool

    def _renew_pool(self, agent: StubAgent, function: int, pool: _Pool) -> None:
        home = self.agents.get(self._homes.home(self._names[function]))
        if home is not None:
            self.counts.renewals += 1
            usable = self._ask(function, home, pool, pool.instances)
            assert usable >= pool.instances, "instances without a credit"
            if not pool.instances:
                del agent.pools[function]

    def _left(self, agent: StubAgent) -> None:
        members = self._homes.members
        agents = {name: each for name, each in members.agents.items() if name != agent.member.name}
        revision = members.revision + 1
        self._learn(Members(revision, agents, {**members.left, agent.member.name: (agent.member, revision)}))

    def _learn(self, members: Members, joined: Member | None = None) -> None:
        """Homes move: they are handed over by those that live, and agents tell the new ones what they hold."""
        before = {function: self._homes.home(name) for function, name in enumerate(self._names)}
        self._homes.learn(members)
        if joined is not None:
            agent = StubAgent(joined, self._homes, self._chance, self.now)
            self.agents[joined.name] = agent
            self._askers.append(agent)
            self._at(self.now + RENEW_S, "renew", agent)
        for agent in list(self.agents.values()):
            if agent.member is not joined:
                for to, handover in agent.home.learned(self.now).items():
                    self.agents[to].home.receive(handover, self.now)
        for agent in self.agents.values():
            for function, pool in list(agent.pools.items()):
                pool.holding.learn(members.revision)
                if self._homes.home(self._names[function]) != before[function]:
                    self._renew_pool(agent, function, pool)
                    self._tell_idle(agent, function, pool)
        for home in self.agents.values():
            for name in self.agents:
                home.home.told(name, members.revision)
