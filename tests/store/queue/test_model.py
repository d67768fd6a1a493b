"""The queue against a simple model, by Hypothesis: any order of calls, crashes, lost leases and changes of the clock.

Run by pytest, on every database. What was accepted ends once, nothing that follows from an end is lost, and nothing is
held twice at a time.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.support.databases import FILE_FIRST
from tests.support.fakes import FakeClocks
from tests.support.invocations import TARGET, ended, new_invocation

from sesame.model.async_invocation import (
    FINAL,
    LEGAL_MOVES,
    Leased,
    LeasedDelivery,
    NewDelivery,
    NewInvocation,
    State,
    StopResult,
)
from sesame.store.queue.leases import LEASE_S
from sesame.store.queue.queue import InvocationQueue
from sesame.store.sql.database import Database
from sesame.store.sql.queue_schema import deliveries, invocations

T = TypeVar("T")

IDS = st.sampled_from([f"id-{number}" for number in range(12)])
# Whole seconds of time and halves of delays: nothing falls due in the very moment in which it is looked at. Floating
# point keeps both exactly.
SECONDS = st.integers(1, 90)
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 7.5, 100.5])
CHOICES = st.integers(0, 99)


class Row(msgspec.Struct):
    """What the model knows of one invocation or record; `due_at` by the model's time."""

    order: int
    due_at: float | None
    state: State = State.ENQUEUED
    epoch: int = 0
    held: bool = False
    attempts: int = 0
    throttles: int = 0


class World:
    """A database that lasts, emptied for each example."""

    def __init__(self, place: Path | str) -> None:
        self.place = place
        self.loop = asyncio.new_event_loop()
        self.database = Database(place)
        self.run(self.database.open())

    def run(self, awaitable: Awaitable[T]) -> T:
        return self.loop.run_until_complete(_whole(awaitable))

    def empty(self) -> None:
        def delete(connection: sa.Connection) -> None:
            for table in (invocations, deliveries):
                connection.execute(sa.delete(table))
            connection.execute(sa.text("DELETE FROM counters WHERE name = 'queue_time'"))

        self.run(self.database.write(delete))

    def reopen(self) -> None:
        self.run(self.database.close())
        self.database = Database(self.place)
        self.run(self.database.open())

    def close(self) -> None:
        self.run(self.database.close())
        self.loop.close()


async def _whole(awaitable: Awaitable[T]) -> T:
    return await awaitable


class Machine(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        world.empty()
        self.clocks = FakeClocks()
        self.rows: dict[str, Row] = {}
        self.records: dict[bytes, Row] = {}
        self.gone: set[bytes] = set()
        self.buried: set[bytes] = set()
        self.leases: list[Leased] = []
        self.sendings: list[LeasedDelivery] = []
        self.started: set[tuple[int, int]] = set()
        self.told_to_stop: list[int] = []
        self.orders = itertools.count()
        self.now = 0.0
        self.open()

    def open(self) -> None:
        self.queue = InvocationQueue(self.world.database, self.clocks)
        self.run(self.queue.open())
        self.queue.on_stop(self.told_to_stop.append)

    def run(self, awaitable: Awaitable[T]) -> T:
        return self.world.run(awaitable)

    def teardown(self) -> None:
        """Whatever happened: what is left can be worked off, and then everything has ended once and is told of."""
        while any(row.due_at is not None for row in (*self.rows.values(), *self.records.values())):
            self.advance(LEASE_S + 101)
            earlier = len(self.leases)
            self.claim([100])
            for lease in self.leases[earlier:]:
                self.answer_finish(lease, State.SUCCEEDED, [])
            for sending in self.sent(self.run(self.queue.deliveries.claim(100))):
                self.answer_delivered(sending)
        for invocation_id, row in self.rows.items():
            record = self.run(self.queue.get(TARGET, invocation_id))
            assert record is not None
            assert record.state in FINAL
            assert record.state is row.state
            assert record.ended_at is not None
            assert record.next_at is None
            assert (record.attempts, record.throttles) == (row.attempts, row.throttles)
            steps = [State(event.status) for event in record.events]
            assert all(after in LEGAL_MOVES[before] for before, after in itertools.pairwise(steps)), steps
            assert [step for step in steps if step in FINAL] in ([row.state], []), "it ended once"
        left = {letter.record for letter in self.run(self.queue.deliveries.dead_letters("", 1000)).items}
        assert left == self.buried
        assert set(self.records) == self.buried | self.gone
        self.run(self.queue.close())

    @rule(ids=st.lists(IDS, min_size=1, max_size=4), delay=DELAYS)
    def enqueue(self, ids: list[str], delay: float) -> None:
        news = [self.new(invocation_id, delay) for invocation_id in ids]
        accepted = self.run(self.enqueue_apart(news))
        for invocation_id, fresh in zip(ids, accepted, strict=True):
            assert fresh == (invocation_id not in self.rows)
            self.accept(invocation_id, delay)

    async def enqueue_apart(self, news: list[NewInvocation]) -> list[bool]:
        """Each by a caller of its own, all at once."""
        return [fresh for (fresh,) in await asyncio.gather(*(self.queue.enqueue([new]) for new in news))]

    @rule(limits=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def claim(self, limits: list[int]) -> None:
        async def at_once() -> list[list[Leased]]:
            return await asyncio.gather(*(self.queue.claim(limit) for limit in limits))

        parts = self.run(at_once())
        expected = self.due(self.rows, sum(limits))
        running = [row for row in expected if row.state is not State.STOPPING]
        for part, limit in zip(parts, limits, strict=True):
            assert len(part) <= limit
        leases = [lease for part in parts for lease in part]
        assert len(leases) == len(running)
        assert {self.rows[lease.invocation_id].order for lease in leases} == {row.order for row in running}
        for row in expected:
            if row.state is State.STOPPING:
                row.state, row.due_at, row.held = State.STOPPED, None, False
        self.leases += self.claimed(leases)

    @precondition(lambda self: self.leases)
    @rule(
        choice=CHOICES, state=st.sampled_from([State.SUCCEEDED, State.FAILED, State.EXPIRED, State.STOPPED]), then=IDS
    )
    def finish(self, choice: int, state: State, then: str) -> None:
        """By whoever claimed it once, also long ago."""
        lease = self.leases[choice % len(self.leases)]
        record = f"{lease.invocation_id} {lease.epoch} {choice}".encode()
        self.answer_finish(lease, state, [self.new(then, 0.0), _delivery(record)])

    def answer_finish(self, lease: Leased, state: State, then: list[NewInvocation | NewDelivery]) -> None:
        valid = self.is_held(lease)
        assert self.run(self.queue.finish(lease, ended(self.clocks, state), then)) == valid
        if not valid:
            return
        row = self.rows[lease.invocation_id]
        row.state, row.due_at, row.held = state, None, False
        for each in then:
            if isinstance(each, NewInvocation):
                self.accept(each.invocation_id, 0.0)
            else:
                self.records[each.record] = Row(next(self.orders), self.now)

    @precondition(lambda self: self.leases)
    @rule(choice=CHOICES, delay=DELAYS, counted=st.booleans(), started=st.booleans())
    def retry(self, choice: int, delay: float, counted: bool, started: bool) -> None:
        lease = self.leases[choice % len(self.leases)]
        valid = self.is_held(lease)
        if started:
            self.start_once(lease)
        assert self.run(self.queue.retry(lease, self.clocks.wall() + delay, counted=counted, error="e")) == valid
        if valid:
            row = self.rows[lease.invocation_id]
            stopping = row.state is State.STOPPING
            row.state = State.STOPPED if stopping else State.RETRYING
            row.due_at, row.held = None if stopping else self.now + delay, False
            row.attempts += counted
            row.throttles += not counted

    @precondition(lambda self: self.leases)
    @rule(choices=st.lists(CHOICES, min_size=1, max_size=3))
    def extend(self, choices: list[int]) -> None:
        leases = [self.leases[choice % len(self.leases)] for choice in choices]
        assert self.run(self.queue.extend(leases)) == [self.is_held(lease) for lease in leases]
        for lease in leases:
            if self.is_held(lease):
                self.rows[lease.invocation_id].due_at = self.now + LEASE_S

    @precondition(lambda self: self.leases)
    @rule(choice=CHOICES)
    def release(self, choice: int) -> None:
        lease = self.leases[choice % len(self.leases)]
        self.run(self.queue.release([lease]))
        if self.is_held(lease):
            self.give_back(self.rows[lease.invocation_id])

    @precondition(lambda self: self.leases)
    @rule(choice=CHOICES)
    def start(self, choice: int) -> None:
        self.start_once(self.leases[choice % len(self.leases)])

    def start_once(self, lease: Leased) -> None:
        if (lease.seq, lease.epoch) not in self.started:
            self.started.add((lease.seq, lease.epoch))
            self.queue.started(lease, "c-1")

    @rule(invocation_id=IDS)
    def stop(self, invocation_id: str) -> None:
        result = self.run(self.queue.stop(TARGET, invocation_id))
        row = self.rows.get(invocation_id)
        if row is None:
            assert result is StopResult.NOT_FOUND
        elif row.state in FINAL:
            assert result is StopResult.FINISHED
        elif row.held:
            assert result is StopResult.STOPPING
            row.state = State.STOPPING
            assert self.told_to_stop
        else:
            assert result is StopResult.STOPPED
            row.state, row.due_at = State.STOPPED, None
        self.told_to_stop.clear()

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        async def on_the_loop() -> None:
            self.clocks.advance(seconds)

        self.run(on_the_loop())
        self.now += seconds

    @rule(seconds=st.sampled_from([-3600, -60, 60, 3600]))
    def set_the_clock(self, seconds: int) -> None:
        """Changes nothing of what is due: delays and leases last as long as was asked for."""
        self.clocks.set_wall(self.clocks.wall() + seconds)

    @rule(reopen=st.sampled_from([False, False, True]))
    def crash(self, reopen: bool) -> None:
        """The next process goes on from the wall clock, or from the last time that was written if that is later."""
        before = self.queue_time()
        if reopen:
            self.world.reopen()
        self.open()
        self.now += self.queue_time() - before
        for row in self.rows.values():
            if row.held:
                self.give_back(row)
        for record in self.records.values():
            if record.held:
                record.held, record.due_at, record.epoch = False, self.now, record.epoch + 1

    @rule(limit=st.integers(1, 3))
    def claim_records(self, limit: int) -> None:
        expected = self.due(self.records, limit)
        sendings = self.run(self.queue.deliveries.claim(limit))
        assert {self.records[sending.record].order for sending in sendings} == {row.order for row in expected}
        self.sendings += self.sent(sendings)

    @precondition(lambda self: self.sendings)
    @rule(choice=CHOICES)
    def delivered(self, choice: int) -> None:
        self.answer_delivered(self.sendings[choice % len(self.sendings)])

    def answer_delivered(self, sending: LeasedDelivery) -> None:
        valid = self.is_sent(sending)
        assert self.run(self.queue.deliveries.delivered(sending)) == valid
        if valid:
            row = self.records[sending.record]
            row.due_at, row.held = None, False
            self.gone.add(sending.record)

    @precondition(lambda self: self.sendings)
    @rule(choice=CHOICES, delay=DELAYS)
    def deliver_later(self, choice: int, delay: float) -> None:
        sending = self.sendings[choice % len(self.sendings)]
        valid = self.is_sent(sending)
        again = self.queue.deliveries.retry(sending, self.clocks.wall() + delay, counted=True, error="e")
        assert self.run(again) == valid
        if valid:
            row = self.records[sending.record]
            row.due_at, row.held = self.now + delay, False

    @precondition(lambda self: self.sendings)
    @rule(choice=CHOICES)
    def bury(self, choice: int) -> None:
        sending = self.sendings[choice % len(self.sendings)]
        valid = self.is_sent(sending)
        assert self.run(self.queue.deliveries.bury(sending, "refused")) == valid
        if valid:
            row = self.records[sending.record]
            row.due_at, row.held = None, False
            self.buried.add(sending.record)

    @precondition(lambda self: self.buried)
    @rule()
    def replay(self) -> None:
        letter = self.run(self.queue.deliveries.dead_letters("", 1)).items[0]
        assert self.run(self.queue.deliveries.replay(letter.id))
        self.buried.remove(letter.record)
        row = self.records[letter.record]
        row.due_at, row.epoch = self.now, row.epoch + 1

    @invariant()
    def nothing_is_held_twice(self) -> None:
        held = [lease.invocation_id for lease in self.leases if self.is_held(lease)]
        assert len(held) == len(set(held))

    # The model.

    def new(self, invocation_id: str, delay: float) -> NewInvocation:
        return new_invocation(self.clocks, invocation_id=invocation_id, not_before=self.clocks.wall() + delay)

    def accept(self, invocation_id: str, delay: float) -> None:
        if invocation_id not in self.rows:
            self.rows[invocation_id] = Row(next(self.orders), self.now + delay)

    def due(self, rows: dict[Any, Row], limit: int) -> list[Row]:
        due = [row for row in rows.values() if row.due_at is not None and row.due_at <= self.now]
        return sorted(due, key=lambda row: (row.due_at, row.order))[:limit]

    def claimed(self, leases: list[Leased]) -> list[Leased]:
        for lease in leases:
            row = self.rows[lease.invocation_id]
            row.epoch += 1
            row.state, row.held, row.due_at = State.DEQUEUED, True, self.now + LEASE_S
            assert (lease.attempts, lease.throttles) == (row.attempts, row.throttles)
            row.epoch = lease.epoch
        return leases

    def sent(self, sendings: list[LeasedDelivery]) -> list[LeasedDelivery]:
        for sending in sendings:
            row = self.records[sending.record]
            row.held, row.due_at, row.epoch = True, self.now + LEASE_S, sending.epoch
        return sendings

    def give_back(self, row: Row) -> None:
        row.held = False
        row.epoch += 1
        if row.state is State.STOPPING:
            row.state, row.due_at = State.STOPPED, None
        else:
            row.state = State.RETRYING if row.attempts + row.throttles else State.ENQUEUED
            row.due_at = self.now

    def is_held(self, lease: Leased) -> bool:
        row = self.rows[lease.invocation_id]
        return row.held and row.epoch == lease.epoch

    def is_sent(self, sending: LeasedDelivery) -> bool:
        row = self.records[sending.record]
        return row.held and row.epoch == sending.epoch

    def queue_time(self) -> float:
        return self.queue.clock.now()


def _delivery(record: bytes) -> NewDelivery:
    return NewDelivery(destination="https://example.com/", record=record, condition="Success")


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    world = World(place)
    yield world
    world.close()


@FILE_FIRST
def test_the_queue_does_what_its_model_does(world: World) -> None:
    class InThisWorld(Machine):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        InThisWorld,
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
