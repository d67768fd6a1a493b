"""Asynchronous calls that the writer hands over: who runs them, how they end, and what a link that ends leaves behind.

The links are real pairs of sockets; engines are fakes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.support.fakes import FakeClocks

from sesame.agents import messages as m
from sesame.agents.calls import OwnInstances
from sesame.agents.handed_over import HandedOver, NotHere
from sesame.agents.link import Link, pair
from sesame.agents.runs import Runs
from sesame.engine.instance import State
from sesame.engine.steps import STOPPED
from sesame.model.errors import Exhausted, PlatformError
from sesame.model.invocation import Invocation, Outcome, Phases, Target

TARGET = Target("s", "LATEST", "f")
KEY = "made from this"
TURNS = 20


@dataclass
class FollowersEngine:
    """Holds each call until it is told how that ends; a cancelled call ends its instance when `ends` is set."""

    calls: dict[str, "asyncio.Future[Outcome]"] = field(default_factory=dict)
    cancelled: list[tuple[object, ...]] = field(default_factory=list)
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    calls_in_flight: int = 0
    calls_ended: int = 0
    served: str = KEY
    # Of the instance that a call ran on, None for one that has gone.
    state: State | None = None
    told_idle: list[str] = field(default_factory=list)

    @property
    def pool(self) -> Any:
        return self

    def instance(self, instance_id: str) -> Any:
        return None if self.state is None else type("Instance", (), {"instance_id": instance_id, "state": self.state})

    async def invoke(self, invocation: Invocation, began: Callable[[str], None]) -> Outcome:
        began(f"c-{invocation.request_id}")
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.calls[invocation.request_id] = answer
        try:
            return await answer
        except asyncio.CancelledError as error:
            self.cancelled.append(error.args)
            await self.ends.wait()
            raise

    def of(self, _target: Target) -> Any:
        return SimpleNamespace(key=self.served, limits=SimpleNamespace(concurrency=1))

    def are_busy(self, _instance_ids: object) -> None:
        """As `HeldInstances`."""

    def is_idle(self, instance_id: str) -> None:
        self.told_idle.append(instance_id)

    def grant(self, _key: str, instance_id: str, _task: object) -> None:
        self.granted = instance_id


class Both:
    """A writer's side and a follower's, with the link between them."""

    def __init__(self) -> None:
        self.engine = FollowersEngine()
        self.runs = Runs(FakeClocks())
        engine = cast(Any, self.engine)
        self.runs.use(engine, OwnInstances(engine, engine, engine, engine, engine))
        self.idle_changes: list[m.IdleChanges] = []
        self.handed_over = HandedOver(lambda message: self.writers.send(message), self.idle_changes.append)
        self.gone: list[str] = []
        self.began: list[str] = []
        self.begun = asyncio.Event()
        self.link()

    def link(self) -> None:
        ours, theirs = pair()
        self.writers = Link(ours, self._writer_takes, self.handed_over.unlinked)
        self.followers = Link(theirs, self._follower_takes, self.runs.lost)
        self.runs.met(self.followers)
        self.runs.tell()

    def _follower_takes(self, message: m.Message, _fds: list[int]) -> None:
        assert isinstance(message, m.Run | m.EndRun)
        self.runs.take(message)

    def _writer_takes(self, message: m.Message, _fds: list[int]) -> None:
        match message:
            case m.Began() | m.Ran():
                self.handed_over.took(message)
            case m.Loaded():
                self.handed_over.has_loaded(message, 0.0)
            case m.Gone():
                self.gone.append(message.instance_id)

    def run(self, request_id: str, credit: str = "") -> "asyncio.Task[Outcome]":
        call = Invocation(request_id, TARGET, b"event", asynchronous=True)
        return asyncio.ensure_future(self.handed_over.run(call, KEY, credit, self._begins))

    def _begins(self, instance_id: str) -> None:
        self.began.append(instance_id)
        self.begun.set()

    def close(self) -> None:
        self.writers.close()
        self.followers.close()


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    made = Both()
    await settle()
    yield made
    made.engine.ends.set()
    made.close()
    made.handed_over.lost()
    await settle()


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def outcome(payload: bytes = b"ok") -> Outcome:
    return Outcome(payload, None, 1.0, 1.0, b"", "c-1", "LATEST", "1", False, Phases(0.0, 0.0, 0.0, 1.0))


async def test_a_call_runs_at_the_follower_and_its_outcome_comes_back(both: Both) -> None:
    task = both.run("r-1", "c-credit")
    async with asyncio.timeout(60):
        # What is told of a call that begins is gathered for a moment.
        await both.begun.wait()
    assert (both.engine.granted, both.began, both.handed_over.calls) == ("c-credit", ["c-r-1"], 1)
    both.engine.calls["r-1"].set_result(outcome(b"x" * 1_000_000))
    await settle()
    assert (await task).payload == b"x" * 1_000_000
    assert (both.handed_over.calls, both.handed_over.ended) == (0, 1)


@pytest.mark.parametrize("error", [Exhausted("the cap is reached"), PlatformError("it broke"), RuntimeError("a fault")])
async def test_what_could_not_run_comes_back_as_its_kind(both: Both, error: Exception) -> None:
    task = both.run("r-1")
    await settle()
    both.engine.calls["r-1"].set_exception(error)
    await settle()
    with pytest.raises(Exhausted if isinstance(error, Exhausted) else PlatformError, match=str(error)):
        await task


async def test_an_outcome_that_cannot_be_told_is_answered_and_nothing_waits_for_it(both: Both) -> None:
    task = both.run("r-1")
    await settle()
    both.engine.calls["r-1"].set_result(msgspec.structs.replace(outcome(), version_id="\ud800"))
    with capture_logs() as logs:
        await settle()
    with pytest.raises(PlatformError, match="cannot tell"):
        await task
    assert [each["event"] for each in logs] == ["what came of an asynchronous invocation cannot be told"]
    await both.runs.close(60.0)


async def test_an_instance_that_another_call_has_taken_since_is_not_told_idle(both: Both) -> None:
    first, second = both.run("r-1"), both.run("r-2")
    await settle()
    both.engine.state = State.IDLE
    both.engine.calls["r-1"].set_result(outcome())
    # The call is over, and what came of it is told in the next turn.
    await asyncio.sleep(0)
    both.engine.state = State.BUSY
    await settle()
    assert first.done()
    assert both.engine.told_idle == []
    both.engine.state = State.IDLE
    both.engine.calls["r-2"].set_result(outcome())
    await settle()
    await second
    assert both.engine.told_idle == ["c-1"]
    assert [each.idle for each in both.idle_changes if each.idle] == [("c-1",)]


async def test_a_call_that_cannot_be_sent_leaves_nothing_behind(both: Both) -> None:
    unsendable = Invocation("r-1", Target("s", "LATEST", "\ud800"), b"event", asynchronous=True)
    with pytest.raises(UnicodeEncodeError):
        await both.handed_over.run(unsendable, KEY, "", both.began.append)
    assert (both.handed_over.calls, both.handed_over.promised) == (0, {})


async def test_what_the_follower_does_not_run_is_not_called_and_its_credit_is_back(both: Both) -> None:
    both.engine.served = "made from something newer"
    task = both.run("r-1", "c-credit")
    await settle()
    with pytest.raises(NotHere):
        await task
    assert (both.gone, both.engine.calls, both.handed_over.declined) == (["c-credit"], {}, {TARGET})


async def test_one_that_is_stopped_is_in_flight_until_its_instance_has_ended(both: Both) -> None:
    task = both.run("r-1")
    await settle()
    task.cancel(STOPPED)
    await settle()
    assert both.engine.cancelled == [(STOPPED,)]
    assert not task.done()
    both.engine.ends.set()
    await settle()
    assert task.cancelled()
    assert both.handed_over.calls == 0


async def test_one_that_is_stopped_before_it_came_is_not_called(both: Both) -> None:
    task = both.run("r-1")
    await asyncio.sleep(0)
    task.cancel(STOPPED)
    await settle()
    both.engine.ends.set()
    await settle()
    assert task.cancelled()


async def test_a_link_that_ends_ends_the_calls_and_the_next_one_says_when_they_have(both: Both) -> None:
    task = both.run("r-1")
    await settle()
    both.close()
    await settle()
    assert both.engine.cancelled, "the follower ends what came over the link"
    both.link()
    await settle()
    assert not task.done(), "its instance still ends"
    assert both.handed_over.loaded is None, "so nothing is handed over"
    both.engine.ends.set()
    await settle()
    both.runs.tell()
    await settle()
    with pytest.raises(PlatformError, match="has ended"):
        await task


async def test_no_answer_of_a_link_before_is_taken_for_one_of_the_next(both: Both) -> None:
    first, of_first = both.run("r-1"), both.handed_over
    await settle()
    both.close()
    # Another writer, which counts from one again.
    both.handed_over = HandedOver(lambda message: both.writers.send(message), lambda _rests: None)
    both.link()
    await settle()
    second = both.run("r-2")
    await settle()
    both.engine.ends.set()
    await settle()
    assert not second.done()
    both.engine.calls["r-2"].set_result(outcome(b"second"))
    await settle()
    assert (await second).payload == b"second"
    of_first.lost()
    with pytest.raises(PlatformError):
        await first


async def test_at_its_end_a_follower_waits_for_what_runs_and_takes_no_more(both: Both) -> None:
    first = both.run("r-1")
    await settle()
    closing = asyncio.ensure_future(both.runs.close(60.0))
    await settle()
    with pytest.raises(NotHere):
        await both.run("r-2", "c-credit")
    assert both.gone == ["c-credit"]
    assert not closing.done()
    both.engine.calls["r-1"].set_result(outcome())
    await settle()
    assert (await first).payload == b"ok"
    await closing


async def test_what_is_cut_at_the_end_is_no_outcome(both: Both) -> None:
    both.engine.ends.set()
    task = both.run("r-1")
    await settle()
    both.runs.hurry()
    await both.runs.close(60.0)
    await settle()
    with pytest.raises(PlatformError, match="cut"):
        await task
