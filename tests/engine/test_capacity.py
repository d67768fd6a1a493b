"""Capacity and start slots: caps as exceptions, fairness between functions, and no slot that is lost or given twice.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import Engine, settle

from sesame.engine.capacity import Capacity, StartSlots
from sesame.engine.instance import Instance, State
from sesame.engine.policies import Caps
from sesame.model import limits
from sesame.model.errors import Exhausted
from sesame.model.invocation import Target

CAPS = Caps(instances_per_function=2, memory_mb=384, starts_at_once=1, keep_alive_s=300)


def make(engine: Engine, name: str, state: State, function: str = "f") -> Instance:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, function))
    instance = Instance(snapshot, name, lambda *_: None, engine.clocks)
    instance.state = state
    return instance


def test_capacity_is_taken_once_and_given_back_once(engine: Engine) -> None:
    capacity = Capacity(CAPS)
    instance = make(engine, "c-1", State.BUSY)
    capacity.take(instance)
    assert (capacity.instances(), capacity.memory_mb) == ([instance], 128)
    capacity.free(instance)
    capacity.free(instance)
    assert (capacity.instances(), capacity.memory_mb) == ([], 0)


def test_more_than_the_available_memory_cannot_be_taken(engine: Engine) -> None:
    capacity = Capacity(CAPS)
    for number in range(3):
        capacity.take(make(engine, f"c-{number}", State.BUSY))
    with pytest.raises(AssertionError, match="more memory"):
        capacity.take(make(engine, "c-4", State.BUSY))


def test_the_sum_of_disks_is_bounded_as_that_of_memory_is(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    bounded = msgspec.structs.replace(CAPS, instances_per_function=9, memory_mb=4096, disk_mb=1024)
    for state, other in ((State.IDLE, State.BUSY), (State.BUSY, State.BUSY)):
        capacity = Capacity(bounded)
        capacity.take(make(engine, "c-0", state))
        assert capacity.require(snapshot) == []
        capacity.take(make(engine, "c-1", other))
        if state is State.IDLE:
            leaving = capacity.require(snapshot)
            assert leaving is not None
            assert [instance.instance_id for instance in leaving] == ["c-0"]
        else:
            with pytest.raises(Exhausted, match=r"disk .* \(1024 of 1024 MB taken, 512 MB asked for\)"):
                capacity.require(snapshot)


def test_as_many_instances_as_one_process_can_hold(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    bounded = msgspec.structs.replace(CAPS, instances_per_function=9, memory_mb=4096, instances=2)
    for state in (State.IDLE, State.BUSY):
        capacity = Capacity(bounded)
        capacity.take(make(engine, "c-0", state))
        assert capacity.require(snapshot) == []
        capacity.take(make(engine, "c-1", State.BUSY))
        if state is State.IDLE:
            leaving = capacity.require(snapshot)
            assert leaving is not None
            assert [instance.instance_id for instance in leaving] == ["c-0"]
        else:
            with pytest.raises(Exhausted, match="open files of this Sesame are enough for 2 instances"):
                capacity.require(snapshot)
            with pytest.raises(Exhausted, match="open files"):
                capacity.require(snapshot, provisioned=True)


def test_nothing_starts_while_something_is_short(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    short = ["the disk is full"]
    capacity = Capacity(CAPS, lambda: short[0])
    with pytest.raises(Exhausted, match="the disk is full"):
        capacity.require(snapshot)
    short[0] = ""
    assert capacity.require(snapshot) == []


def test_a_call_over_a_cap_is_refused_without_a_look_at_the_disk(engine: Engine) -> None:
    """Refusals come in floods, and the look is a system call."""
    looks = []

    def shortage() -> str:
        looks.append(1)
        return "the disk is full"

    capacity = Capacity(CAPS, shortage)
    for number in range(2):
        capacity.take(make(engine, f"c-{number}", State.BUSY))
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    with pytest.raises(Exhausted, match="limit of 2 instances"):
        capacity.require(snapshot)
    assert looks == []


def test_idle_instances_are_evicted_ending_ones_awaited_and_busy_ones_refuse(engine: Engine) -> None:
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    for state, expected in ((State.IDLE, ["c-1"]), (State.DEAD, None)):
        capacity = Capacity(CAPS)
        capacity.take(make(engine, "c-0", State.BUSY))
        capacity.take(make(engine, "c-1", state))
        victims = capacity.require(snapshot)
        assert (None if victims is None else [instance.instance_id for instance in victims]) == expected
    for state in (State.STARTING, State.INITIALIZING, State.BUSY):
        capacity = Capacity(CAPS)
        capacity.take(make(engine, "c-0", State.BUSY))
        capacity.take(make(engine, "c-1", state))
        with pytest.raises(Exhausted, match="limit of 2 instances"):
            capacity.require(snapshot)


def test_a_request_that_can_never_fit_is_refused_without_waiting(engine: Engine) -> None:
    engine.deploy("big", memory_size=320)
    capacity = Capacity(CAPS)
    capacity.take(make(engine, "c-0", State.BUSY))
    capacity.take(make(engine, "c-1", State.DEAD))
    with pytest.raises(Exhausted, match="128 of 384 MB taken, 320 MB asked for"):
        capacity.require(engine.resolver.resolve(Target("s", limits.LATEST, "big")))


class Queue:
    """Callers that take a turn and hold it until told; `order` is who got one, in order."""

    def __init__(self, at_once: int) -> None:
        self.slots = StartSlots(at_once)
        self.order: list[str] = []
        self.holding: list[asyncio.Event] = []
        self.most = 0
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, function: str) -> "asyncio.Task[None]":
        self.tasks.append(asyncio.get_running_loop().create_task(self._hold(function)))
        return self.tasks[-1]

    async def _hold(self, function: str) -> None:
        async with self.slots.slot(function):
            self.order.append(function)
            done = asyncio.Event()
            self.holding.append(done)
            self.most = max(self.most, len(self.holding))
            try:
                await done.wait()
            finally:
                self.holding.remove(done)

    def one_ends(self) -> None:
        if self.holding:
            self.holding[0].set()


async def test_functions_share_start_slots_fairly_and_calls_of_one_function_in_order() -> None:
    queue = Queue(1)
    for function in ("a", "a", "a", "b", "c", "b"):
        queue.come(function)
    for _ in range(6):
        await settle()
        queue.one_ends()
    await settle()
    assert queue.order == ["a", "a", "b", "c", "a", "b"]


async def test_a_slot_granted_during_a_cancellation_goes_to_the_next() -> None:
    queue = Queue(1)
    queue.come("a")
    await settle()
    second, third = queue.come("a"), queue.come("b")
    await settle()
    queue.one_ends()
    # The first leaves in the next turn of the loop, and the second is cancelled before it can wake.
    asyncio.get_running_loop().call_soon(second.cancel)
    await settle()
    assert (second.cancelled(), third.done(), queue.order) == (True, False, ["a", "b"])


async def test_a_waiter_cancelled_before_its_slot_is_skipped() -> None:
    queue = Queue(1)
    queue.come("a")
    await settle()
    second = queue.come("b")
    queue.come("c")
    await settle()
    # The turn is given back after the cancellation, and before who was cancelled knows of it.
    queue.one_ends()
    second.cancel()
    await settle()
    assert queue.order == ["a", "c"]


steps = st.lists(
    st.tuples(st.sampled_from(["come", "end", "cancel", "settle", "tick"]), st.integers(0, 9)), max_size=60
)


@given(at_once=st.integers(1, 3), steps=steps)
def test_no_slot_is_lost_or_granted_twice(at_once: int, steps: list[tuple[str, int]]) -> None:
    async def search() -> None:
        queue = Queue(at_once)
        for kind, number in steps:
            if kind == "come":
                queue.come("abc"[number % 3])
            elif kind == "end":
                queue.one_ends()
            elif kind == "cancel" and queue.tasks:
                queue.tasks[number % len(queue.tasks)].cancel()
            elif kind == "settle":
                await settle()
            else:
                await asyncio.sleep(0)
            assert queue.most <= at_once
        await settle()
        while not all(task.done() for task in queue.tasks):
            # A call waits only because all slots are taken.
            waiting = sum(not task.done() for task in queue.tasks) - len(queue.holding)
            assert len(queue.holding) == at_once or not waiting
            queue.one_ends()
            await settle()
        for _ in range(at_once):
            queue.come("z")
        await settle()
        assert len(queue.holding) == at_once
        assert all(task.cancelled() or task.exception() is None for task in queue.tasks if task.done())
        for task in queue.tasks:
            task.cancel()
        await settle()

    _run(search())


def _run(search: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(search)
