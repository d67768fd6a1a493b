"""The pool: caps, eviction, keep-alive, idle deaths, and a stateful search for leaks and double use.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.engine.conftest import Engine, build

from sesame.engine.instance import LEGAL_MOVES, Instance, State
from sesame.engine.journal import Journal, LogSource
from sesame.engine.scaling import Caps
from sesame.model import limits, records
from sesame.model.configs import OnDemandConfig
from sesame.model.errors import ResourceExhausted
from sesame.model.invocation import Target
from sesame.sandbox.seam import SandboxDied

CAPS = Caps(instances_per_function=2, memory_mb=512, starts_at_once=2, keep_alive_s=300)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def hanging(engine: Engine, count: int, name: str = "f") -> list["asyncio.Task[Any]"]:
    engine.driver.behaviour = lambda _sandbox, _call: None
    return [asyncio.create_task(engine.call(name)) for _ in range(count)]


async def test_the_cap_of_a_function_is_a_429_that_says_which() -> None:
    engine = build(CAPS)
    engine.deploy()
    tasks = hanging(engine, 2)
    await settle()
    with pytest.raises(ResourceExhausted, match=r"function 'f' of service 's' has reached its limit of 2 instances"):
        await engine.call()
    for sandbox in engine.driver.made:
        sandbox.answer()
    await asyncio.gather(*tasks)


async def test_the_cap_of_memory_is_a_429_that_says_which() -> None:
    engine = build(CAPS)
    engine.deploy(memory_size=256)
    engine.deploy("g", memory_size=320)
    tasks = hanging(engine, 1)
    await settle()
    with pytest.raises(ResourceExhausted, match=r"256 of 512 MB taken, 320 MB asked for"):
        await engine.call("g")
    engine.driver.made[0].answer()
    await asyncio.gather(*tasks)


async def test_idle_instances_make_room_the_longest_idle_first() -> None:
    engine = build(CAPS)
    for name in ("a", "b", "c"):
        engine.deploy(name, memory_size=192)
    await engine.call("a")
    engine.clock.advance(1)
    await engine.call("b")
    engine.clock.advance(1)
    await engine.call("c")
    names = sorted(sandbox.spec.setup["function"]["name"] for sandbox in engine.driver.alive)
    assert names == ["b", "c"]


async def test_an_on_demand_cap_counts_and_zero_refuses_every_call() -> None:
    engine = build(CAPS)
    engine.deploy()
    resource = "services/s.LATEST/functions/f"
    engine.catalog.put(
        records.ON_DEMAND_CONFIG, "", resource, OnDemandConfig(resource=resource, maximum_instance_count=0)
    )
    with pytest.raises(ResourceExhausted, match="limit of 0 instances"):
        await engine.call()


async def test_an_idle_instance_goes_after_its_keep_alive_and_not_before() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.clock.advance(299)
    await settle()
    assert len(engine.driver.alive) == 1
    engine.clock.advance(2)
    await settle()
    assert not engine.driver.alive
    assert engine.pool.instances() == []


async def test_an_idle_instance_is_frozen_after_a_grace_and_thawed_for_its_next_call() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    (sandbox,) = engine.driver.made
    engine.clock.advance(0.5)
    assert not sandbox.frozen
    engine.clock.advance(1.5)
    assert sandbox.frozen
    outcome = await engine.call()
    assert not outcome.cold
    assert not sandbox.frozen


async def test_an_instance_that_dies_while_idle_is_replaced() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.driver.made[0].die()
    await settle()
    assert engine.pool.instances() == []
    assert (await engine.call()).cold


async def test_starts_at_once_are_bounded() -> None:
    engine = build(Caps(instances_per_function=50, memory_mb=10**6, starts_at_once=2, keep_alive_s=300))
    engine.deploy()
    running, most = 0, 0
    create = engine.driver.create

    async def counted(*arguments: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await create(*arguments)
        finally:
            running -= 1

    engine.driver.create = counted  # type: ignore[method-assign]
    outcomes = await asyncio.gather(*(engine.call() for _ in range(20)))
    assert most == 2
    assert all(outcome.error is None for outcome in outcomes)


async def test_a_deleted_function_leaves_no_instance() -> None:
    engine = build(CAPS)
    engine.deploy()
    await engine.call()
    engine.catalog.delete("function", "s", "f")
    await settle()
    assert not engine.driver.alive


def test_every_other_move_of_an_instance_is_refused() -> None:
    engine = build(CAPS)
    engine.deploy()
    snapshot = engine.resolver.resolve(Target("s", limits.LATEST, "f"))
    source = LogSource("s", "f", "LATEST", "c-1", "", "")
    for state in State:
        for to in State:
            instance = Instance(snapshot, "c-1", Journal(source, lambda *_: None), engine.clock)
            instance.state = state
            if to in LEGAL_MOVES[state]:
                instance.move(to)
                assert instance.state is to
            else:
                with pytest.raises(AssertionError, match="illegal move"):
                    instance.move(to)


class PoolMachine(RuleBasedStateMachine):
    """Calls, answers, deaths, cancellations, timeouts and changes in any order; the invariants stand throughout."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.engine = self.loop.run_until_complete(self._build())
        self.tasks: list[asyncio.Task[Any]] = []

    async def _build(self) -> Engine:
        engine = build(CAPS)
        engine.driver.behaviour = lambda _sandbox, _call: None
        for name in ("a", "b", "c"):
            engine.deploy(name, memory_size=128 if name != "c" else 256)
        return engine

    def _settle(self) -> None:
        self.loop.run_until_complete(settle())

    def _inside(self, action: Callable[[], object]) -> None:
        """Does it where the engine lives, on the running loop, and lets all follow that follows."""

        async def act() -> None:
            action()
            await settle()

        self.loop.run_until_complete(act())

    def _hanging(self, index: int) -> Any:
        waiting = [sandbox for sandbox in self.engine.driver.made if sandbox.hanging]
        return waiting[index % len(waiting)] if waiting else None

    @rule(name=names)
    def call(self, name: str) -> None:
        async def start() -> "asyncio.Task[Any]":
            return asyncio.create_task(self.engine.call(name))

        self.tasks.append(self.loop.run_until_complete(start()))
        self._settle()

    @rule(index=st.integers(0, 9))
    def answer(self, index: int) -> None:
        sandbox = self._hanging(index)
        if sandbox is not None:
            self._inside(sandbox.answer)

    @rule(index=st.integers(0, 9))
    def die(self, index: int) -> None:
        alive = sorted(self.engine.driver.alive, key=lambda sandbox: sandbox.instance_id)
        if alive:
            self._inside(alive[index % len(alive)].die)

    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        running = [task for task in self.tasks if not task.done()]
        if running:
            self._inside(running[index % len(running)].cancel)

    @rule(seconds=st.sampled_from([0.5, 4.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self._inside(lambda: self.engine.clock.advance(seconds))

    @rule(name=names)
    def update(self, name: str) -> None:
        self._inside(lambda: self.engine.deploy(name, description="new", memory_size=128 if name != "c" else 256))

    @rule(count=st.integers(1, 4))
    def starts_fail(self, count: int) -> None:
        self.engine.driver.refuse = count

    @invariant()
    def memory_is_within_its_cap_and_counted_right(self) -> None:
        instances = self.engine.pool.instances()
        used = sum(instance.snapshot.function.memory_size for instance in instances)
        assert used == self.engine.pool._memory_mb
        assert used <= CAPS.memory_mb

    @invariant()
    def what_lives_is_known_and_what_is_known_lives(self) -> None:
        known = {i.instance_id for i in self.engine.pool.instances() if i.state is not State.STARTING}
        assert {sandbox.instance_id for sandbox in self.engine.driver.alive} == known

    @invariant()
    def every_busy_instance_has_a_call_and_no_idle_one_has(self) -> None:
        hanging = {sandbox.instance_id for sandbox in self.engine.driver.made if sandbox.hanging}
        busy = {i.instance_id for i in self.engine.pool.instances() if i.state is State.BUSY}
        assert busy == hanging

    @invariant()
    def failures_are_of_the_expected_kinds(self) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                assert type(task.exception()).__name__ in {"ResourceExhausted", "PlatformError"}

    def teardown(self) -> None:
        self.loop.run_until_complete(self.engine.dispatcher.close())
        self._settle()
        assert not self.engine.driver.alive
        assert self.engine.pool.instances() == []
        assert all(task.done() for task in self.tasks)
        self.loop.close()


PoolMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestPoolMachine = PoolMachine.TestCase


async def test_a_death_of_the_process_before_the_call_is_an_exit() -> None:
    engine = build(CAPS)
    engine.deploy()
    engine.driver.behaviour = lambda _sandbox, _call: SandboxDied("exit")
    outcome = await engine.call()
    assert outcome.error is not None
    assert outcome.error.reason == "exit"
