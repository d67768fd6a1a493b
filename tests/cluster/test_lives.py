"""What a writer and a follower do about each other when the link between them, or its other end, is gone.

The links are real connections on loopback, with the handshake; instances, clocks and the database are fakes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
import structlog
from tests.agents.quiet_catalog import CopyOfNothing, QuietCatalog
from tests.engine.conftest import Engine, build
from tests.support.fakes import FakeClocks, FakeDriver

from sesame.agents import messages
from sesame.agents.catalog_copy import CatalogCopy
from sesame.agents.credits import CreditCapacity
from sesame.agents.followed import Followed, WriterNeeds
from sesame.agents.follower import Follower
from sesame.agents.policies import WRITER
from sesame.agents.served import Served
from sesame.agents.writer import Writer
from sesame.cluster.following import Following, Own
from sesame.cluster.handshake import Purpose
from sesame.cluster.joining import Joined, Joins, join, speaks
from sesame.cluster.members import Members
from sesame.cluster.port import connect
from sesame.cluster.rules import BEAT_S, GRACE_S, HOLD_S, LIFE_S, SILENT_S
from sesame.cluster.sameness import told
from sesame.cluster.seat import Seat, holder_of_follower
from sesame.engine.instance import State
from sesame.engine.interface import Observer
from sesame.engine.policies import Caps
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model import limits
from sesame.model.errors import Exhausted, PlatformError
from sesame.model.invocation import Credentials, Invocation, Target
from sesame.sandbox.network import HostAnswers
from sesame.store.catalog import Change
from sesame.store.sql.leadership import Leadership, Seen

CAPS = Caps(instances_per_function=1, memory_mb=768, starts_at_once=2, keep_alive_s=300)
KEY = b"k" * 32
SAME = {"objects": told(KEY, "objects", "s3://one"), "access_key_secret": told(KEY, "access_key_secret", "a", shown="")}
# Below what any of the clocks here looks at.
STEP_S = 0.25


class _Rows:
    """The row of the leadership and those of holders, without a database."""

    shown = "postgresql://10.0.0.9/sesame"

    def __init__(self) -> None:
        self.seen = Seen(0, "", "", 0.0)
        self.named: set[str] = set()
        self.read = 0

    async def look(self) -> Seen:
        return self.seen

    async def hold(self, epoch: int, holder: str) -> bool:
        if epoch == self.seen.epoch:
            self.named.add(holder)
        return epoch == self.seen.epoch

    async def release(self, epoch: int, holder: str) -> None:
        if epoch == self.seen.epoch:
            self.named.discard(holder)

    async def holders(self) -> list[str]:
        self.read += 1
        return sorted(self.named)


class _Seat:
    """A writer's right to lead, which a test takes away and gives back."""

    def __init__(self, rows: _Rows, epoch: int, inherited: list[str]) -> None:
        self.leadership, self.epoch, self.inherited = rows, epoch, inherited
        self.does, self.node = True, f"w{epoch}"
        self.same = SAME

    def leads(self) -> bool:
        return self.does


class WriterProcess:
    def __init__(
        self, rows: _Rows, clocks: FakeClocks, epoch: int, inherited: list[str], *, serves: bool = True
    ) -> None:
        self.engine: Engine = build(CAPS)
        self.engine.driver.behaviour = lambda _sandbox, _call: None
        self.engine.deploy("f", memory_size=128, timeout=600)
        self.catalog = QuietCatalog()
        self.seat = _Seat(rows, epoch, inherited)
        listening = socket.create_server(("127.0.0.1", 0))
        self.members = Members(cast(Seat, self.seat), listening, KEY, clocks)
        needs = WriterNeeds(
            catalog=cast(Any, self.catalog),
            resolver=self.engine.resolver,
            served=Served(self.engine.resolver, cast(Any, self.engine.catalog)),
            pool=self.engine.pool,
            sink=lambda _source, _request_id, _data, _more: None,
            observer=Observer(),
            packages=cast(Any, None),
            answers=HostAnswers.none(),
            clocks=clocks,
            trusted="",
            lives=self.members,
        )
        self.writer = Writer(needs, self.members.give_up, self.members.awaited)
        self.members.begin()
        if serves:
            self.members.serve(self.writer)
        rows.seen = Seen(epoch, f"w{epoch}", f"127.0.0.1:{self.members.port.address[1]}", 0.0)

        # By the names of their nodes, once they have said what they hold.
        self.followers: dict[str, Followed] = {}
        arrived = self.members.arrived

        def arrives(followed: Followed) -> bool:
            self.followers[self.members.addresses[followed.agent]] = followed
            return arrived(followed)

        self.members.arrived = arrives  # type: ignore[method-assign]

    async def asked_by(self, followed: Followed, function: str) -> messages.Place:
        target = Target("s", limits.LATEST, function)
        key = self.engine.resolver.resolve(target).key
        return await self.writer.place(followed, messages.Ask(1, target, key, 0))

    async def edit(self, revision: int) -> None:
        """As an edit that is to be answered."""
        self.catalog.revision = revision
        self.catalog.tells(Change("thing", "", "a", None, revision))
        await self.catalog.confirm(revision)

    async def close(self) -> None:
        self.members.close()
        await self.writer.close()


class FollowerProcess:
    def __init__(
        self, rows: _Rows, clocks: FakeClocks, engine: Engine, node: str = "n", *, memory_mb: int = 768
    ) -> None:
        self.until = 0.0
        self.following = Following(
            Own(node, f"{node}:1", KEY, memory_mb, None, SAME), cast(Leadership, rows), self._lives, clocks
        )
        self.driver = FakeDriver(lambda _sandbox, _call: None)
        self.catalog = CopyOfNothing()
        self.follower = Follower(2, cast(CatalogCopy, self.catalog), clocks, self.following.life)
        self.capacity = CreditCapacity(CAPS, lambda: "", clocks.monotonic, self.follower.give_back)
        self.engine = LocalEngine(
            EngineDependencies(
                launcher=self.driver,
                resolver=engine.resolver,
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
        self.follower.use(self.engine, self.capacity, Served(engine.resolver, cast(Any, engine.catalog)))
        self.following.begin(self.follower, lambda _task: None)

    def call(self) -> "asyncio.Task[object]":
        return asyncio.ensure_future(_called(self.engine))

    async def close(self) -> None:
        self.following.close()
        self.follower.close()
        await self.engine.drain(0)

    def _lives(self, until: float) -> None:
        self.until = until


async def _called(engine: LocalEngine) -> object:
    return await engine.invoke(Invocation("r", Target("s", limits.LATEST, "f"), b"e"))


class Stage:
    """A writer, a follower and the time."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.clocks, self.rows = FakeClocks(), _Rows()
        self.writer = self.new_writer(1, [])
        self.follower = FollowerProcess(self.rows, self.clocks, self.writer.engine)
        stack.push_async_callback(self.follower.close)

    def closes(self, process: FollowerProcess) -> None:
        self._stack.push_async_callback(process.close)

    def new_writer(self, epoch: int, inherited: list[str], *, serves: bool = True) -> WriterProcess:
        writer = self.writer = WriterProcess(self.rows, self.clocks, epoch, inherited, serves=serves)
        self._stack.push_async_callback(writer.close)
        return writer

    async def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.clocks.advance(STEP_S)
            await self.settles()

    async def settles(self) -> None:
        """What is under way on loopback arrives within the turns of the event loop that these take."""
        for _ in range(4):
            await asyncio.sleep(0.001)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60.0):
            while not condition():
                await self.passes(STEP_S)

    async def with_an_instance(self) -> "asyncio.Task[object]":
        """A call that goes on, on the follower's instance: the only one that the cap allows."""
        await self.until(lambda: self.follower.following.life.lasts() and self.follower.follower.is_linked)
        call = self.follower.call()
        await self.until(lambda: self.follower.driver.alive)
        assert [each.snapshot.function for each in self.writer.engine.pool.instances()] == ["f"]
        return call


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(stack)


async def test_instances_end_before_their_capacity_is_granted_again(stage: Stage) -> None:
    call = await stage.with_an_instance()
    assert stage.rows.named == {holder_of_follower("n")}
    stage.writer.seat.does = False
    began = stage.clocks.monotonic()
    await stage.until(lambda: not stage.follower.driver.alive)
    assert LIFE_S - 2 * BEAT_S <= stage.clocks.monotonic() - began <= LIFE_S
    await call
    assert len(stage.writer.engine.pool.instances()) == 1, "nobody has told the writer"
    with pytest.raises(PlatformError, match="not heard from the writer"):
        await stage.follower.call()
    await stage.until(lambda: not stage.writer.engine.pool.instances())
    assert HOLD_S - 2 * BEAT_S <= stage.clocks.monotonic() - began <= HOLD_S + BEAT_S
    await stage.until(lambda: not stage.rows.named)


async def test_a_link_that_is_cut_and_comes_back_costs_no_instance(stage: Stage) -> None:
    call = await stage.with_an_instance()
    instance = stage.writer.engine.pool.instances()[0]
    for _ in range(3):
        stage.follower.follower.unlink()
        await stage.until(lambda: stage.follower.follower.is_linked)
    read = stage.rows.read
    await stage.passes(HOLD_S + LIFE_S)
    assert stage.rows.read == read, "while all are linked and answered, nobody is waited for"
    assert stage.writer.engine.pool.instances() == [instance]
    assert not call.done()
    assert len(stage.follower.driver.alive) == 1


async def test_an_instance_that_is_idle_may_be_ended_for_others_by_the_next_writer_and_over_the_next_link(
    stage: Stage,
) -> None:
    call = await stage.with_an_instance()
    next(iter(stage.follower.driver.alive)).answer()
    await call

    def is_known_to_be_idle() -> bool:
        return [each.state for each in stage.writer.engine.pool.instances()] == [State.IDLE]

    await stage.until(is_known_to_be_idle)
    stage.follower.follower.unlink()
    await stage.until(lambda: stage.follower.follower.is_linked)
    await stage.until(is_known_to_be_idle)
    stage.writer.seat.does = False
    stage.new_writer(2, [holder_of_follower("n")])
    await stage.until(is_known_to_be_idle)


async def test_an_edit_waits_for_a_silent_follower_no_longer_than_its_life(stage: Stage) -> None:
    await stage.with_an_instance()
    stage.writer.seat.does = False
    await stage.passes(SILENT_S + BEAT_S)
    assert not stage.follower.follower.is_linked
    edit = asyncio.ensure_future(stage.writer.edit(5))
    await stage.settles()
    assert not edit.done(), "the follower still answers calls as before the edit"
    await stage.until(lambda: edit.done())
    assert not stage.follower.driver.alive


async def test_an_edit_waits_for_a_follower_that_cannot_take_it_no_longer_than_its_life(stage: Stage) -> None:
    call = await stage.with_an_instance()
    await stage.writer.edit(1)
    stage.follower.catalog.fails = True
    began = stage.clocks.monotonic()
    edit = asyncio.ensure_future(stage.writer.edit(2))
    await stage.until(lambda: not stage.follower.driver.alive)
    assert stage.clocks.monotonic() - began <= LIFE_S, "it asks for everything again, and is not answered meanwhile"
    await call
    with pytest.raises(PlatformError, match="not heard from the writer"):
        await stage.follower.call()
    await stage.until(lambda: edit.done())
    assert stage.clocks.monotonic() - began <= HOLD_S + 2 * BEAT_S
    assert not stage.follower.following.life.lasts()
    # It is tried again all the time, and holds up no other edit: it may answer no call.
    began = stage.clocks.monotonic()
    await stage.writer.edit(3)
    assert stage.clocks.monotonic() == began
    stage.follower.catalog.fails = False
    await stage.until(stage.follower.following.life.lasts)
    call = stage.follower.call()
    await stage.until(lambda: stage.follower.driver.alive)
    edit = asyncio.ensure_future(stage.writer.edit(4))
    await stage.until(lambda: edit.done())
    assert not call.done()


async def test_a_new_writer_grants_nothing_until_it_has_heard_from_those_that_were_there(stage: Stage) -> None:
    call = await stage.with_an_instance()
    former = stage.writer
    former.seat.does = False
    stage.rows.named.add("writer w1")
    writer = stage.new_writer(2, [holder_of_follower("n"), "writer w1"])
    gathered = asyncio.ensure_future(writer.writer.open())
    await stage.until(lambda: writer.engine.pool.instances())
    await stage.settles()
    assert not gathered.done(), "of the writer before nothing was heard"
    assert stage.follower.following.epoch == 2
    await stage.until(lambda: gathered.done())
    assert not call.done()
    assert len(stage.follower.driver.alive) == 1
    with pytest.raises(Exhausted):
        await _called(writer.engine.local)


async def test_an_instance_of_a_function_that_has_changed_since_counts_as_what_it_is(stage: Stage) -> None:
    call = await stage.with_an_instance()
    (there,) = stage.follower.engine.pool.instances()
    stage.writer.seat.does = False
    writer = stage.new_writer(2, [holder_of_follower("n")])
    writer.engine.deploy("f", memory_size=512, timeout=600)
    writer.engine.deploy("f", memory_size=768, timeout=600)
    gathered = asyncio.ensure_future(writer.writer.open())
    await stage.until(lambda: gathered.done())
    (stand_in,) = writer.engine.pool.instances()
    assert (stand_in.snapshot.key, stand_in.snapshot.limits.memory_mb) == (there.snapshot.key, 128)
    assert writer.engine.resolver.resolve(Target("s", limits.LATEST, "f")).key != there.snapshot.key
    assert not call.done()


async def test_instances_outlive_a_writer_that_takes_long_to_start(stage: Stage) -> None:
    call = await stage.with_an_instance()
    stage.writer.seat.does = False
    writer = stage.new_writer(2, [holder_of_follower("n")], serves=False)
    await stage.passes(3 * LIFE_S)
    assert len(stage.follower.driver.alive) == 1
    assert not call.done()
    writer.members.serve(writer.writer)
    await writer.writer.open()
    assert len(writer.engine.pool.instances()) == 1
    await stage.passes(2 * HOLD_S)
    assert len(writer.engine.pool.instances()) == 1
    assert not call.done()


async def test_what_was_heard_early_is_waited_for_when_the_link_ends(stage: Stage) -> None:
    await stage.with_an_instance()
    stage.writer.seat.does = False
    writer = stage.new_writer(2, [holder_of_follower("n")], serves=False)
    await stage.until(lambda: stage.follower.following.epoch == 2)
    await stage.passes(HOLD_S)
    writer.seat.does = False
    stage.rows.seen = Seen(2, "", "", 0.0)
    stage.follower.follower.unlink()
    await stage.settles()
    writer.members.serve(writer.writer)
    gathered = asyncio.ensure_future(writer.writer.open())
    await stage.until(lambda: gathered.done())
    assert not stage.follower.driver.alive


async def test_a_new_writer_need_not_wait_for_one_of_which_nothing_is_left(stage: Stage) -> None:
    stage.rows.named = {"writer w1"}
    writer = stage.new_writer(2, ["writer w1"])
    began = stage.clocks.monotonic()
    gathered = asyncio.ensure_future(writer.writer.open())
    await stage.passes(3 * BEAT_S)
    assert not gathered.done()
    stage.rows.named.discard("writer w1")
    await stage.until(lambda: gathered.done())
    assert stage.clocks.monotonic() - began < HOLD_S - BEAT_S


async def test_a_supervisor_is_told_by_when_to_end_a_follower_that_is_stopped(stage: Stage) -> None:
    await stage.with_an_instance()
    life = stage.follower.following.life.rule
    assert stage.follower.until == life.until + GRACE_S
    stage.writer.seat.does = False
    await stage.until(lambda: not stage.follower.driver.alive)
    await stage.passes(2 * STEP_S)
    assert stage.follower.until == 0.0


async def test_a_node_that_speaks_otherwise_is_refused_with_what_to_do_whatever_its_version(stage: Stage) -> None:
    connected = await connect(stage.writer.members.port.address, KEY, Purpose.LINK)
    with connected, pytest.raises(PlatformError, match=r"it runs Sesame 0\.0\.1, whose messages .*install one version"):
        await join(connected, Joins("m", "127.0.0.1:1", 1, 768, None, sesame="0.0.1"))
    assert holder_of_follower("m") not in stage.rows.named
    connected = await connect(stage.writer.members.port.address, KEY, Purpose.LINK)
    with connected:
        joins = Joins("m", "127.0.0.1:1", 1, 768, None, sesame="0.0.1", settings=SAME, speaks=speaks())
        assert (await join(connected, joins)).agent
    assert holder_of_follower("m") in stage.rows.named


async def test_a_node_with_other_settings_is_refused_and_both_say_which_without_secrets(stage: Stage) -> None:
    others = {
        "objects": told(KEY, "objects", "s3://two"),
        "access_key_secret": told(KEY, "access_key_secret", "a secret of theirs", shown=""),
    }
    joins = Joins("m", "127.0.0.1:1", 1, 768, None, settings=others, speaks=speaks())
    with structlog.testing.capture_logs() as logs:
        connected = await connect(stage.writer.members.port.address, KEY, Purpose.LINK)
        with connected, pytest.raises(PlatformError) as refused:
            await join(connected, joins)
        await stage.settles()
    for said in (str(refused.value), str(logs)):
        assert 'objects is "s3://two" on m and "s3://one" on w1' in said.replace("\\", "")
        assert "access_key_secret, a secret, is another one on m than on w1" in said
        assert "stop every node first" in said
        assert "secret of theirs" not in said
    assert holder_of_follower("m") not in stage.rows.named


async def test_who_only_asks_is_not_linked(stage: Stage) -> None:
    connected = await connect(stage.writer.members.port.address, KEY, Purpose.LINK)
    with connected:
        asks = Joins("m", "127.0.0.1:1", 1, 768, None, settings=SAME, only_asks=True, speaks=speaks())
        assert await join(connected, asks) == Joined(0)
    await stage.settles()
    assert holder_of_follower("m") not in stage.rows.named


async def test_a_node_whose_database_is_a_copy_does_not_follow_the_writer_of_the_other(stage: Stage) -> None:
    copied = _Rows()
    copied.seen = stage.rows.seen
    other = FollowerProcess(copied, stage.clocks, stage.writer.engine, "m")
    stage.closes(other)
    with structlog.testing.capture_logs() as logs:
        await stage.until(lambda: "has another database than postgresql://10.0.0.9/sesame" in str(logs))
    assert not other.follower.is_linked


async def test_a_database_that_was_set_back_is_followed_once_nothing_is_left_of_the_time_before(stage: Stage) -> None:
    call = await stage.with_an_instance()
    stage.follower.following.epoch = 7
    stage.writer.seat.does = False
    writer = stage.new_writer(2, [holder_of_follower("n")])
    gathered = asyncio.ensure_future(writer.writer.open())
    with structlog.testing.capture_logs() as logs:
        await stage.until(lambda: not stage.follower.driver.alive)
        assert stage.follower.following.epoch == 7
        await call
        await stage.until(lambda: stage.follower.following.life.lasts())
    assert stage.follower.following.epoch == 2
    assert "epoch 2 is older than 7" in str(logs)
    assert "was set back" in str(logs)
    await stage.until(lambda: gathered.done())


async def test_a_supervisor_is_told_of_a_life_before_anything_is_granted_by_it() -> None:
    clocks, told = FakeClocks(), list[float]()
    life = Following(Own("n", "n", KEY, 768, None), cast(Leadership, None), told.append, clocks).life
    life.rule.sent(began := clocks.monotonic())
    life.answered()
    assert told == [began + LIFE_S + GRACE_S]
    life.rule.sent(clocks.monotonic())
    clocks.advance(LIFE_S + GRACE_S)
    life.answered()
    assert told == [began + LIFE_S + GRACE_S], "an answer that comes too late ends nobody"


async def test_a_call_that_finds_no_memory_on_its_machine_goes_to_one_that_has_some(stage: Stage) -> None:
    writer = stage.writer
    for name in ("large", "larger"):
        writer.engine.deploy(name, memory_size=512, timeout=600)
    other = FollowerProcess(stage.rows, stage.clocks, writer.engine, "m", memory_mb=1024)
    stage.closes(other)
    await stage.until(lambda: len(writer.followers) == 2)
    (n, m), capacity = sorted(writer.followers.values(), key=lambda each: each.agent), writer.engine.pool.capacity
    assert (await writer.asked_by(n, "large")).instance_id
    place = await writer.asked_by(n, "larger")
    assert (place.instance_id, place.agent) == ("", m.agent)
    assert (await writer.asked_by(m, "larger")).instance_id
    assert [capacity.memory_left(machine) for machine in (0, n.agent, m.agent)] == [768, 768 - 512, 1024 - 512]
    assert (await writer.asked_by(n, "larger")).agent == WRITER, "it is at its cap"
