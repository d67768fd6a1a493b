"""A search for two writers at a time, and for instances in use whose capacity was granted again.

Nodes have clocks of their own, which begin anywhere and run unequally fast. Links end with all that is on its way,
answers of the database are lost, processes are stopped, go on, and are killed. Nothing here waits for real time.
"""

from collections import deque
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.examples import examples

from sesame.cluster.rules import EXPIRED_S, GRACE_S, Holds, Lead, Life, Unrenewed

NODES = 3
CAP = 2
TICK_S = 0.25

nodes = st.integers(0, NODES - 1)
faults = st.tuples(st.sampled_from(("stopped_writers", "stopped_followers", "cut_off", "unanswered", "slow")), nodes)


class Row(msgspec.Struct):
    epoch: int = 0
    node: int = -1
    renewed_at: float = float("-inf")
    holders: set[str] = msgspec.field(default_factory=set)


class Clock:
    def __init__(self, begins_at: float, rate: float, world: "RulesMachine") -> None:
        self._begins_at, self._rate, self._world = begins_at, rate, world

    def now(self) -> float:
        return self._begins_at + self._world.time * self._rate


class Link:
    """Between a follower and a writer: messages in order, until it ends."""

    def __init__(self, follower: "Follower", writer: "Writer") -> None:
        self.follower, self.writer, self.open = follower, writer, True
        self.to_writer: deque[Any] = deque()
        self.to_follower: deque[Any] = deque()

    def end(self) -> None:
        self.open = False
        self.writer.lost(self)
        if self.follower.link is self:
            self.follower.link = None


class Writer:
    """One that leads, or believes so."""

    def __init__(self, node: int, clock: Clock, epoch: int, lead: Lead, holds: Holds) -> None:
        self.node, self.clock, self.epoch, self.lead, self.holds = node, clock, epoch, lead, holds
        # Instances that count, by holder.
        self.granted: dict[str, int] = {}
        self.heard_at: dict[str, float] = {}
        self.links: dict[str, Link] = {}
        self.own = 0

    @property
    def leads(self) -> bool:
        return self.lead.lasts(self.clock.now())

    def lost(self, link: Link) -> None:
        name = link.follower.name
        if self.links.get(name) is link:
            del self.links[name]
            self.holds.silent(name, self.heard_at[name])

    def has_room(self) -> bool:
        unknown = self.holds.awaited - self.granted.keys()
        return self.leads and not unknown and self.own + sum(self.granted.values()) < CAP


class Follower:
    def __init__(self, node: int, clock: Clock) -> None:
        self.name, self.node, self.clock, self.life = f"follower {node}", node, clock, Life()
        self.link: Link | None = None
        self.instances = 0


class RulesMachine(RuleBasedStateMachine):
    """Time passes in ticks, in which each does what it does by itself, unless it is stopped or cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.row = Row()
        # Of the database's clock, which says when the row was renewed.
        self.set_forward_s = 0.0
        self.writers: dict[int, Writer] = {}
        self.followers: list[Follower] = []
        # What each node's candidate has seen of the row.
        self.unrenewed = [Unrenewed() for _ in range(NODES)]
        # Processes that are stopped: whoever is a node's writer, or is to be, and its follower.
        self.stopped_writers: set[int] = set()
        self.stopped_followers: set[int] = set()
        # Nodes whose writer or candidate does not reach the database, and of which no answer of it arrives.
        self.cut_off: set[int] = set()
        self.unanswered: set[int] = set()
        # Followers whose messages are on their way, and stay so; and those that cannot connect.
        self.slow: set[int] = set()
        # Followers to which calls come all the time.
        self.busy = set(range(NODES))

    @initialize(data=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.98, 1.02)), min_size=NODES, max_size=NODES))
    def begin(self, data: list[tuple[float, float]]) -> None:
        self.followers = [Follower(node, Clock(*each, self)) for node, each in enumerate(data)]
        self.time_passes(8)

    # What happens to machines.

    @rule(ticks=st.integers(1, 60))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.time += TICK_S
            for node in range(NODES):
                self._watch(node)
                self._writer_acts(node)
                self._follower_acts(node)
                self.no_more_instances_than_the_cap()
                self.one_leads()

    @rule(faults=st.sets(faults, max_size=3), killed=st.none() | nodes, ticks=st.integers(1, 70))
    def something_is_wrong_for_a_while(self, faults: set[tuple[str, int]], killed: int | None, ticks: int) -> None:
        """A writer is killed, or nothing, while these are wrong."""
        self._change(faults)
        if killed is not None:
            self.the_writer_is_killed(killed)
        self.time_passes(ticks)
        self._change(faults)

    @rule(faults=st.sets(faults, min_size=1, max_size=2))
    def something_is_wrong_or_right_again(self, faults: set[tuple[str, int]]) -> None:
        self._change(faults)

    def _change(self, faults: set[tuple[str, int]]) -> None:
        for what, node in faults:
            getattr(self, what).symmetric_difference_update({node})

    @rule(seconds=st.sampled_from((-3600.0, -5.0, 5.0, 3600.0)))
    def the_clock_of_the_database_is_set(self, seconds: float) -> None:
        self.set_forward_s += seconds

    @rule(node=nodes)
    def the_link_ends(self, node: int) -> None:
        if (link := self.followers[node].link) is not None:
            link.end()

    @rule(node=nodes)
    def the_writer_is_killed(self, node: int) -> None:
        if node in self.writers:
            self._kill_writer(node)

    # Calls.

    @rule(node=nodes)
    def calls_come_to_a_follower_or_not(self, node: int) -> None:
        self.busy ^= {node}

    @rule(node=nodes)
    def a_call_comes_to_the_writer(self, node: int) -> None:
        writer = self.writers.get(node)
        if writer is not None and node not in self.stopped_writers and writer.has_room():
            writer.own += 1

    @rule(node=nodes)
    def instances_end(self, node: int) -> None:
        follower = self.followers[node]
        if node in self.writers and node not in self.stopped_writers:
            self.writers[node].own = 0
        if follower.node not in self.stopped_followers:
            if follower.link is not None:
                follower.link.to_writer.extend([("gone",)] * follower.instances)
            follower.instances = 0

    # What each does by itself.

    def _watch(self, node: int) -> None:
        """The ends of lives: by itself, or by the supervisor for one that is stopped."""
        writer = self.writers.get(node)
        if writer is not None:
            late_s = writer.clock.now() - writer.lead.until
            if late_s >= (GRACE_S if node in self.stopped_writers else 0.0):
                self._kill_writer(node)
        follower = self.followers[node]
        late_s = follower.clock.now() - follower.life.until
        if late_s >= (GRACE_S if follower.node in self.stopped_followers else 0.0):
            if follower.instances and follower.link is not None:
                follower.link.to_writer.extend([("gone",)] * follower.instances)
            follower.instances = 0

    def _kill_writer(self, node: int) -> None:
        writer = self.writers.pop(node)
        self.unrenewed[node] = Unrenewed()
        for link in list(writer.links.values()):
            link.end()

    def _writer_acts(self, node: int) -> None:
        writer, row, clock = self.writers.get(node), self.row, self.followers[node].clock
        if node in self.stopped_writers or node in self.cut_off:
            return
        if writer is not None:
            if row.epoch == writer.epoch:
                row.renewed_at = self.time + self.set_forward_s
                if node not in self.unanswered:
                    writer.lead.renewed(clock.now())
            elif node not in self.unanswered:
                self._kill_writer(node)
                return
            for holder in writer.holds.over(clock.now()):
                writer.granted.pop(holder, None)
                if row.epoch == writer.epoch and holder not in writer.links:
                    row.holders.discard(holder)
            return
        # The process before has ended, and so have its instances.
        row.holders.discard(f"writer {node}")
        unrenewed_s = self.unrenewed[node].for_s(row.epoch, row.renewed_at, clock.now())
        if row.node in (-1, node) or unrenewed_s >= EXPIRED_S:
            row.epoch, row.node, row.renewed_at = row.epoch + 1, node, self.time + self.set_forward_s
            holders = set(row.holders)
            row.holders.add(f"writer {node}")
            if node not in self.unanswered:
                self.writers[node] = Writer(node, clock, row.epoch, Lead(clock.now()), Holds(holders, clock.now()))

    def _follower_acts(self, node: int) -> None:
        follower = self.followers[node]
        now = follower.clock.now()
        if follower.node not in self.stopped_followers and follower.link is not None and follower.life.is_silent(now):
            follower.link.end()
        if follower.link is None:
            self._connect(follower)
        link = follower.link
        if link is None:
            return
        if follower.node not in self.stopped_followers:
            follower.life.sent(now)
            link.to_writer.append(("beat",))
            if node in self.busy:
                link.to_writer.append(("ask",))
        if node in self.slow:
            return
        if link.writer.node not in self.stopped_writers:
            while link.to_writer:
                self._writer_takes(link, link.to_writer.popleft())
        while node not in self.stopped_followers and link.to_follower:
            self._follower_takes(link, link.to_follower.popleft())

    def _connect(self, follower: Follower) -> None:
        writer = self.writers.get(self.row.node)
        if (
            follower.node in self.stopped_followers
            or follower.node in self.slow
            or writer is None
            or writer.node in self.stopped_writers
        ):
            return
        # The row names the holder before anything else; only the writer of this epoch can have it do so.
        if self.row.epoch != writer.epoch or writer.node in self.cut_off:
            return
        self.row.holders.add(follower.name)
        former = writer.links.get(follower.name)
        if former is not None:
            former.end()
        link = follower.link = writer.links[follower.name] = Link(follower, writer)
        writer.heard_at.setdefault(follower.name, writer.clock.now())
        follower.life.another_link()
        link.to_writer.append(("hello", follower.instances))

    @staticmethod
    def _writer_takes(link: Link, message: tuple[Any, ...]) -> None:
        writer, name = link.writer, link.follower.name
        match message:
            case ("hello", held):
                writer.granted[name] = held
                writer.holds.told(name)
            case ("beat",) if writer.leads:
                writer.heard_at[name] = writer.clock.now()
                link.to_follower.append(("here",))
            case ("ask",) if writer.has_room():
                writer.granted[name] += 1
                link.to_follower.append(("granted",))
            case ("gone",):
                writer.granted[name] -= 1

    @staticmethod
    def _follower_takes(link: Link, message: tuple[Any, ...]) -> None:
        follower = link.follower
        match message:
            case ("here",):
                follower.life.answered()
            case ("granted",) if follower.life.lasts(follower.clock.now()):
                follower.instances += 1
            case ("granted",):
                link.to_writer.append(("gone",))

    # What never happens.

    @invariant()
    def one_leads(self) -> None:
        assert sum(writer.leads for writer in self.writers.values()) <= 1

    @invariant()
    def no_more_instances_than_the_cap(self) -> None:
        in_use = sum(writer.own for writer in self.writers.values())
        assert in_use + sum(follower.instances for follower in self.followers) <= CAP


def _led(machine: RulesMachine) -> RulesMachine:
    machine.begin([(0.0, 1.0)] * NODES)
    machine.time_passes(40)
    return machine


def test_a_clock_of_the_database_that_is_set_forward_makes_no_second_writer() -> None:
    machine = _led(RulesMachine())
    machine.cut_off.add(machine.row.node)
    machine.the_clock_of_the_database_is_set(3600.0)
    machine.time_passes(40)
    assert machine.row.epoch == 2


def test_a_clock_of_the_database_that_is_set_back_keeps_nobody_from_leading() -> None:
    machine = _led(RulesMachine())
    machine.cut_off.add(machine.row.node)
    machine.the_clock_of_the_database_is_set(-3600.0)
    machine.time_passes(40)
    assert any(writer.leads for writer in machine.writers.values())


TestRules = RulesMachine.TestCase
TestRules.settings = settings(max_examples=examples(30), stateful_step_count=25, deadline=None)
