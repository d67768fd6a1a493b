"""A search for leaks and double use: calls, answers, deaths, cancellations, deadlines and changes in any order.

Run by pytest.
Never starts a process and never waits for real time.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.engine.conftest import Engine, build, settle
from tests.support.examples import examples
from tests.support.fakes import FakeSandbox

from sesame.engine.instance import State
from sesame.engine.policies import Caps
from sesame.model import limits
from sesame.model.invocation import Target

CAPS = Caps(instances_per_function=3, memory_mb=768, starts_at_once=1, keep_alive_s=300)
MEMORY_MB = {"a": 128, "b": 128, "c": 256}
INITIALIZED = "b"

names = st.sampled_from(sorted(MEMORY_MB))
indexes = st.integers(0, 9)


# Names of the errors that a call may fail with, none of its subclasses.
_EXPECTED = {"Exhausted", "PlatformError", "Unavailable"}


class PoolMachine(RuleBasedStateMachine):
    """Starts and ends take as long as the search likes. The fake itself refuses a second call at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.engine = self.loop.run_until_complete(self._build())
        self.tasks: list[asyncio.Task[Any]] = []
        self.abrupt = False

    async def _build(self) -> Engine:
        engine = build(CAPS)
        engine.driver.behaviour = lambda _sandbox, _call: None
        for name in MEMORY_MB:
            _deploy(engine, name)
        return engine

    def _inside(self, action: Callable[[], object]) -> None:
        """Does it where the engine lives, on the running loop, and lets all follow that follows."""

        async def act() -> None:
            action()
            await settle()

        self.loop.run_until_complete(act())

    def _hanging(self, index: int) -> FakeSandbox | None:
        waiting = [sandbox for sandbox in self.engine.driver.made if sandbox.hanging]
        return waiting[index % len(waiting)] if waiting else None

    def _running(self, index: int) -> "asyncio.Task[Any] | None":
        running = [task for task in self.tasks if not task.done()]
        return running[index % len(running)] if running else None

    @rule(name=names, count=st.integers(1, 3))
    def call(self, name: str, count: int) -> None:
        def start() -> None:
            for _ in range(count):
                call = self.engine.call(name, request_id=f"r-{len(self.tasks)}")
                self.tasks.append(asyncio.get_running_loop().create_task(call))

        self._inside(start)

    @rule(index=indexes)
    def answer(self, index: int) -> None:
        sandbox = self._hanging(index)
        if sandbox is not None:
            self._inside(sandbox.answer)

    @rule(index=indexes)
    def answer_in_the_moment_of_the_deadline(self, index: int) -> None:
        sandbox = self._hanging(index)
        if sandbox is not None:
            self._inside(lambda: (sandbox.answer(), self.engine.clocks.advance(4)))

    @rule(index=indexes, other=indexes)
    def answer_and_cancel_in_one_moment(self, index: int, other: int) -> None:
        sandbox, task = self._hanging(index), self._running(other)
        if sandbox is not None and task is not None:
            self._inside(lambda: (sandbox.answer(), task.cancel()))

    @rule(index=indexes)
    def die(self, index: int) -> None:
        alive = sorted(self.engine.driver.alive, key=lambda sandbox: sandbox.instance_id)
        if alive:
            self._inside(alive[index % len(alive)].die)

    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        task = self._running(index)
        if task is not None:
            self._inside(task.cancel)

    @rule(index=indexes)
    def go_on_and_cancel_in_one_moment(self, index: int) -> None:
        task = self._running(index)
        if task is not None:
            starts = self.engine.driver.starts
            self._inside(lambda: (starts.let_go(), asyncio.get_running_loop().call_soon(task.cancel)))

    @rule(seconds=st.sampled_from([0.5, 4.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self._inside(lambda: self.engine.clocks.advance(seconds))

    @rule(name=names)
    def update(self, name: str) -> None:
        self._inside(lambda: _deploy(self.engine, name))

    @rule(count=st.integers(1, 4))
    def starts_fail(self, count: int) -> None:
        self.engine.driver.refuse = count

    @initialize(which=st.sampled_from(["", "starts", "ends"]), abrupt=st.booleans())
    def begin(self, which: str, *, abrupt: bool) -> None:
        self.abrupt = abrupt
        if which:
            self.slow_down(which)

    @rule(which=st.sampled_from(["starts", "ends"]))
    def slow_down(self, which: str) -> None:
        getattr(self.engine.driver, which).closed = True

    @rule(which=st.sampled_from(["starts", "ends"]), index=indexes)
    def one_goes_on(self, which: str, index: int) -> None:
        self._inside(lambda: getattr(self.engine.driver, which).let_go(index))

    @rule(which=st.sampled_from(["starts", "ends"]))
    def all_go_on(self, which: str) -> None:
        self._inside(getattr(self.engine.driver, which).open)

    def _there(self) -> Counter[str]:
        """How many sandboxes there are of each function: those that start, live and end."""
        driver = self.engine.driver
        return Counter([*driver.starting, *(sandbox.spec.setup["function"]["name"] for sandbox in driver.alive)])

    @invariant()
    def memory_is_within_its_cap_and_counted(self) -> None:
        used = sum(MEMORY_MB[name] * count for name, count in self._there().items())
        assert used <= self.engine.pool.capacity.memory_mb <= CAPS.memory_mb

    @invariant()
    def no_function_has_more_than_its_cap(self) -> None:
        assert all(count <= CAPS.instances_per_function for count in self._there().values())

    @invariant()
    def no_more_start_at_once_than_may(self) -> None:
        assert len(self.engine.driver.starting) <= CAPS.starts_at_once

    @invariant()
    def what_lives_is_known_and_what_is_known_lives(self) -> None:
        known = {i.instance_id for i in self.engine.pool.instances() if i.state not in (State.STARTING, State.DEAD)}
        on_their_way_out = {sandbox.instance_id for sandbox in self.engine.driver.alive if sandbox.killing}
        alive = {sandbox.instance_id for sandbox in self.engine.driver.alive}
        assert alive - on_their_way_out <= known <= alive

    @invariant()
    def every_busy_instance_has_a_call_and_no_other_has(self) -> None:
        hanging = {s.instance_id for s in self.engine.driver.made if s.hanging and not s.killing}
        going = {s.instance_id for s in self.engine.driver.alive if s.killing}
        calling = (State.BUSY, State.INITIALIZING)
        busy = {i.instance_id for i in self.engine.pool.instances() if i.state in calling}
        assert hanging <= busy <= hanging | going

    @invariant()
    def only_idle_instances_are_frozen(self) -> None:
        states = {i.instance_id: i.state for i in self.engine.pool.instances()}
        for sandbox in self.engine.driver.alive:
            if sandbox.frozen and not sandbox.killing:
                # One that has just been given up stays frozen until its end comes round.
                assert states.get(sandbox.instance_id, State.DEAD) in (State.IDLE, State.DEAD)

    @invariant()
    def no_outdated_instance_waits_for_calls(self) -> None:
        for instance in self.engine.pool.instances():
            if instance.state is State.IDLE:
                name = instance.snapshot.function
                assert instance.snapshot.key == self.engine.resolver.resolve(Target("s", limits.LATEST, name)).key

    @invariant()
    def failures_are_of_the_expected_kinds(self) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                assert type(task.exception()).__name__ in _EXPECTED, task.exception()

    def teardown(self) -> None:
        """Either all calls are served before the end, or it comes in the middle of them."""
        driver = self.engine.driver
        closing = self.engine.local.drain(0)
        if self.abrupt:
            ended = self.loop.create_task(closing)
            self._inside(lambda: None)
            self._inside(lambda: (driver.ends.open(), driver.starts.open()))
            self.loop.run_until_complete(ended)
            self._inside(lambda: None)
        else:
            self._inside(lambda: (driver.starts.open(), driver.ends.open()))
            self._everyone_is_served()
            self.loop.run_until_complete(closing)
        assert not driver.alive
        assert (self.engine.pool.instances(), self.engine.pool.capacity.memory_mb) == ([], 0)
        assert all(task.done() for task in self.tasks)
        self.failures_are_of_the_expected_kinds()
        self._logs_are_whole()
        self.loop.close()

    def _everyone_is_served(self) -> None:
        """What waits goes on when what runs is answered; then every instance is idle, and one more call works."""
        engine = self.engine
        engine.driver.refuse = 0
        for _ in range(3 * len(self.tasks)):
            sandbox = self._hanging(0)
            if sandbox is None:
                break
            self._inside(sandbox.answer)
        assert all(task.done() for task in self.tasks)
        assert all(instance.state is State.IDLE for instance in engine.pool.instances())
        counts = engine.pool.counts
        assert counts.warm + counts.cold + counts.refused + counts.failed == len(self.tasks)
        self.call("c", 1)
        sandbox = self._hanging(0)
        assert sandbox is not None
        self._inside(sandbox.answer)
        assert self.tasks[-1].result().error is None

    def _logs_are_whole(self) -> None:
        kept: dict[str, bytes] = {}
        for _source, request_id, data in self.engine.kept:
            kept[request_id] = kept.get(request_id, b"") + data
        for log in kept.values():
            for step in (b"Invoke", b"Initialize"):
                assert log.count(b"FC %s Start" % step) == log.count(b"FC %s End" % step) <= 1


def _deploy(engine: Engine, name: str) -> None:
    initializer = "index.init" if name == INITIALIZED else ""
    engine.deploy(name, memory_size=MEMORY_MB[name], initializer=initializer)


PoolMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
