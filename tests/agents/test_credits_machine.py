"""A search for caps that are exceeded: calls at any agent, while followers and the writer come, go and are cut off.

Asynchronous calls are handed over by the writer; of one whose end the writer knows, nothing runs anywhere. The links
are real pairs of sockets; sandboxes are fakes. Never waits for real time.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.agents.quiet_catalog import CopyOfNothing, QuietCatalog
from tests.engine.conftest import Engine, build
from tests.support.examples import examples
from tests.support.fakes import FakeClocks, FakeDriver, FakeSandbox

from sesame.agents.async_places import AsyncPlaces
from sesame.agents.catalog_copy import CatalogCopy
from sesame.agents.credits import CreditCapacity
from sesame.agents.followed import WriterNeeds
from sesame.agents.follower import TELLS_EVERY_S, Follower
from sesame.agents.idle_there import hear_idle
from sesame.agents.link import pair
from sesame.agents.policies import LINGER_S
from sesame.agents.served import Served
from sesame.agents.writer import Writer
from sesame.engine.async_places import LATER, Places, Spot
from sesame.engine.async_work import InvokerDependencies
from sesame.engine.interface import Observer
from sesame.engine.policies import Caps
from sesame.engine.readying import Readying
from sesame.engine.resolver import Resolver
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model import limits, records
from sesame.model.configs import ProvisionConfig, provision_config_name
from sesame.model.invocation import Credentials, Invocation, Target
from sesame.sandbox.interface import InstanceSpec
from sesame.sandbox.network import HostAnswers

CAPS = Caps(instances_per_function=3, memory_mb=768, starts_at_once=2, keep_alive_s=300)
MEMORY_MB = {"a": 128, "b": 128, "c": 256, "several": 128}
# Of "several", so many calls run in one instance.
ROOM = 2
FOLLOWERS = (2, 3)
WRITER = 1
# Turns in which messages of several processes have come and gone.
TURNS = 60

names = st.sampled_from(sorted(MEMORY_MB))
agents = st.sampled_from((WRITER, *FOLLOWERS))
indexes = st.integers(0, 9)


def _never_hangs(agent: int) -> None:
    raise AssertionError(f"agent {agent} hangs")


class _FollowerProcess:
    """A follower with its engine; the resolver stands for its copy of the catalog."""

    def __init__(self, agent: int, resolver: Resolver, served: Served, clocks: FakeClocks) -> None:
        self.driver = FakeDriver(lambda _sandbox, _call: None)
        self.follower = Follower(agent, cast(CatalogCopy, CopyOfNothing()), clocks)
        self.capacity = CreditCapacity(CAPS, lambda: "", clocks.monotonic, self.follower.give_back)
        self.engine = LocalEngine(
            EngineDependencies(
                launcher=self.driver,
                resolver=resolver,
                clocks=clocks,
                caps=CAPS,
                sink=self.follower.written.wrote,
                credentials=lambda _role, _owner, _valid_s, _chain: Credentials(),
                account_id="123",
                region="cn-shanghai",
                around_calls=self.follower.around,
                capacity=self.capacity,
            )
        )
        self.follower.use(self.engine, self.capacity, served)


class _NoLoad:
    def sample(self) -> float:
        return 0.0


class CreditsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clocks = FakeClocks()
        self.tasks: list[asyncio.Task[Any]] = []
        self.followers: dict[int, _FollowerProcess] = {}
        # By their request ids.
        self.handed: dict[str, asyncio.Task[Any]] = {}
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        self._new_writer()
        for agent in FOLLOWERS:
            self._new_follower(agent)
        await _settle()

    def _new_writer(self, held: Iterable[int] = ()) -> None:
        self.engine: Engine = build(CAPS)
        self.engine.driver.behaviour = lambda _sandbox, _call: None
        for name, memory_mb in MEMORY_MB.items():
            room: dict[str, Any] = {"runtime": "custom", "instance_concurrency": ROOM} if name == "several" else {}
            self.engine.deploy(name, memory_size=memory_mb, **room)
        self.served = Served(self.engine.resolver, cast(Any, self.engine.catalog))
        needs = WriterNeeds(
            catalog=cast(Any, QuietCatalog()),
            resolver=self.engine.resolver,
            served=self.served,
            pool=self.engine.pool,
            sink=lambda _source, _request_id, _data, _more: None,
            observer=Observer(),
            packages=cast(Any, None),
            answers=HostAnswers.none(),
            clocks=self.clocks,
            trusted="",
        )
        self.writer = Writer(needs, _never_hangs, held)
        followers = self.writer.followers
        self.engine.local.join(self.writer.calls.around, lambda: hear_idle(list(followers.values())))
        load = _NoLoad()
        self.others = AsyncPlaces(self.writer, self.engine.local, load)
        unused = cast(Any, None)
        self.places = Places(
            InvokerDependencies(
                queue=unused,
                engine=self.engine.local,
                clocks=self.clocks,
                follow=unused,
                wording=unused,
                load=load,
                chance=unused,
                cores=8,
                lease_s=60.0,
                others=self.others,
            )
        )

    def _new_follower(self, agent: int) -> None:
        self.followers[agent] = _FollowerProcess(agent, self.engine.resolver, self.served, self.clocks)
        self._introduce(agent, held=False)

    def _introduce(self, agent: int, *, held: bool) -> None:
        ours, theirs = pair()
        self.writer.meet(agent, ours, held=held)
        self.followers[agent].follower.meet(theirs)

    def inside(self, action: Callable[[], object]) -> None:
        async def act() -> None:
            action()
            await _settle()

        self.loop.run_until_complete(act())

    def _drivers(self) -> Iterator[FakeDriver]:
        yield self.engine.driver
        yield from (each.driver for each in self.followers.values())

    def _hanging(self, index: int) -> FakeSandbox | None:
        waiting = [sandbox for driver in self._drivers() for sandbox in driver.made if sandbox.hanging]
        return waiting[index % len(waiting)] if waiting else None

    @rule(agent=agents, name=names, count=st.integers(1, 3))
    def call(self, agent: int, name: str, count: int) -> None:
        engine = self.engine.local if agent == WRITER else self.followers[agent].engine

        def start() -> None:
            for _ in range(count):
                call = Invocation(f"r-{len(self.tasks)}", Target("s", limits.LATEST, name), b"e")
                self.tasks.append(asyncio.ensure_future(_called(engine, call)))

        self.inside(start)

    @rule(name=names, count=st.integers(1, 3))
    def call_asynchronously(self, name: str, count: int) -> None:
        def start() -> None:
            target = Target("s", limits.LATEST, name)
            for _ in range(count):
                self.places.adjust()
                place = self.places.find(target)
                if place is not None and place is not LATER:
                    call = Invocation(f"a-{len(self.tasks)}", target, b"e", asynchronous=True)
                    task = asyncio.ensure_future(attempt(self.places.begin(target, place), call))
                    self.tasks.append(task)
                    self.handed[call.request_id] = task

        self.inside(start)

    @rule(name=names)
    def provision(self, name: str) -> None:
        """One instance more, at the writer; nobody starts another one in its place."""
        engine, target = self.engine, Target("s", limits.LATEST, name)

        def start() -> None:
            config = ProvisionConfig("s", name, limits.LATEST, target=1)
            engine.catalog.put(records.PROVISION_CONFIG, "s", provision_config_name(name, limits.LATEST), config)
            readying = Readying(engine.pool, engine.clocks, lambda *_asked: Credentials())
            bringing = readying.bring_up(engine.resolver.resolve(target), target, provisioned=True)
            self.tasks.append(asyncio.ensure_future(bringing))

        self.inside(start)

    @rule(index=indexes)
    def answer(self, index: int) -> None:
        sandbox = self._hanging(index)
        if sandbox is not None:
            self.inside(sandbox.answer)

    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        running = [task for task in self.tasks if not task.done()]
        if running:
            self.inside(running[index % len(running)].cancel)

    @rule(seconds=st.sampled_from([TELLS_EVERY_S, LINGER_S, 11.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.inside(lambda: self.clocks.advance(seconds))

    @rule(agent=st.sampled_from(FOLLOWERS))
    def a_follower_is_killed_and_started_again(self, agent: int) -> None:
        killed = self.followers[agent]

        def kill() -> None:
            killed.follower.close()
            for sandbox in list(killed.driver.alive):
                sandbox.die()
            self._new_follower(agent)

        self.inside(kill)

    @rule()
    def the_writer_is_killed_and_started_again(self) -> None:
        killed = self.engine

        def kill() -> None:
            for sandbox in list(killed.driver.alive):
                sandbox.die()
            self._new_writer(FOLLOWERS)
            for agent in FOLLOWERS:
                self._introduce(agent, held=True)

        self.inside(kill)

    def alive(self) -> list[InstanceSpec]:
        """What runs, on any agent, whatever those think of it."""
        return [sandbox.spec for driver in self._drivers() for sandbox in driver.alive]

    @invariant()
    def no_function_has_more_than_its_cap(self) -> None:
        counted = Counter(each.setup["function"]["name"] for each in self.alive())
        assert all(count <= CAPS.instances_per_function for count in counted.values()), counted

    @invariant()
    def memory_is_within_its_cap(self) -> None:
        assert sum(each.memory_mb for each in self.alive()) <= CAPS.memory_mb

    @invariant()
    def of_an_attempt_that_has_ended_nothing_runs(self) -> None:
        for driver in self._drivers():
            for sandbox in driver.alive:
                # Of an instance that serves several calls, the last that came may have ended before others.
                if sandbox.hanging and sandbox.spec.web_server is None:
                    task = self.handed.get(sandbox.calls[-1].request_id)
                    assert task is None or not task.done()

    def teardown(self) -> None:
        self.inside(lambda: [each.cancel() for each in self.tasks])
        for process in self.followers.values():
            self.inside(process.follower.close)
        self.inside(lambda: self.clocks.advance(LINGER_S))
        assert all(each.done() for each in self.tasks)
        assert not self.places.slots
        self.loop.run_until_complete(self.engine.local.drain(0))
        assert self.engine.pool.instances() == []
        self.loop.run_until_complete(self.writer.close())
        self.loop.close()


async def _called(engine: LocalEngine, call: Invocation) -> object:
    return await engine.invoke(call)


async def attempt(spot: Spot, call: Invocation) -> object:
    spot.pace.begun()
    try:
        return await spot.place.invoke(call, spot.enter, lambda _instance: None)
    finally:
        spot.pace.ended(0.0, reached=True)
        spot.leave()


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


TestCredits = CreditsMachine.TestCase
TestCredits.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
