"""A call that comes to one agent while an instance with room for it starts at another: neither refused nor started for.

On fakes, over real links.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from tests.agents.requests_at_agents import RequestsMachine, moving_requests
from tests.agents.test_credits_machine import CAPS, FOLLOWERS, WRITER, agents, indexes, names
from tests.support.examples import examples

from sesame.model.invocation import Invocation, Target

FOLLOWER, OTHER = FOLLOWERS
ROOM = 6
# There is memory for one instance of it.
ALONE: dict[str, Any] = {"runtime": "custom", "instance_concurrency": ROOM, "memory_size": CAPS.memory_mb}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[RequestsMachine]:
    moving_requests(monkeypatch)
    made = RequestsMachine()
    made.engine.deploy("alone", **ALONE)
    yield made
    made.teardown()


@pytest.mark.parametrize("first", [FOLLOWER, WRITER])
@pytest.mark.parametrize("then", [FOLLOWER, OTHER, WRITER])
def test_a_call_joins_one_that_has_found_its_place_and_not_begun(
    machine: RequestsMachine, first: int, then: int
) -> None:
    coming = machine.request(first, "alone", whole=False)
    machine.request(then, "alone")
    machine.body_of(coming)
    assert machine.refusals() == []
    assert machine.calls_of("alone") == [2]


def test_as_many_join_as_there_is_room_for(machine: RequestsMachine) -> None:
    coming = [machine.request(at, "alone", whole=False) for at in (FOLLOWER, OTHER, WRITER) * 2]
    assert len(coming) == ROOM
    machine.request(OTHER, "alone")
    assert len(machine.refusals()) == 1, "the cap holds"
    for each in coming:
        machine.body_of(each)
    assert len(machine.refusals()) == 1
    assert machine.calls_of("alone") == [ROOM]


@pytest.mark.parametrize("then", [OTHER, WRITER])
def test_a_call_waits_where_what_is_to_go_for_the_instance_ends_yet(machine: RequestsMachine, then: int) -> None:
    machine.call(WRITER, "a", 1)
    machine.answer(0)
    machine.engine.driver.ends.closed = True
    machine.request(FOLLOWER, "alone")
    machine.request(then, "alone")
    assert machine.calls_of("alone") == []
    machine.inside(machine.engine.driver.ends.open)
    assert machine.refusals() == []
    assert machine.calls_of("alone") == [2]


@pytest.mark.parametrize("first", [FOLLOWER, WRITER])
def test_calls_that_have_found_the_last_place_leave_none_for_others(machine: RequestsMachine, first: int) -> None:
    """`several` has room for two in each instance."""
    other = OTHER if first == FOLLOWER else FOLLOWER
    for at in (first, other):
        # Both agents have an instance with room for one more.
        machine.call(at, "several", 1)
    assert machine.calls_of("several") == [1, 1]
    machine.request(WRITER, "c")
    machine.request(WRITER, "c")
    coming = [machine.request(first, "several", whole=False) for _ in range(2)]
    for each in coming:
        machine.body_of(each)
    assert machine.refusals() == []
    assert machine.calls_of("several") == [2, 2]


def test_a_call_that_no_request_makes_may_begin_outside_of_any_task(machine: RequestsMachine) -> None:
    coming = machine.request(WRITER, "several", whole=False)
    engine, calls = machine.engine.local, machine.tasks

    def begin() -> None:
        call = engine.invoke(Invocation("r", Target("s", "LATEST", "a"), b"e"))
        calls.append(asyncio.ensure_future(cast(Any, call)))

    machine.loop.call_soon(begin)
    machine.body_of(coming)
    assert (machine.calls_of("several"), machine.calls_of("a")) == ([1], [1])


came = st.tuples(st.sampled_from((WRITER, *FOLLOWERS)), st.booleans())


@settings(max_examples=examples(20), deadline=None)
@given(st.lists(came, min_size=ROOM, max_size=ROOM), st.permutations(range(ROOM)), st.integers(0, 60))
def test_no_call_of_one_instance_is_refused_wherever_and_however_they_come(
    those: list[tuple[int, bool]], order: list[int], turns: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        moving_requests(patch)
        machine = RequestsMachine()
        machine.engine.deploy("alone", **ALONE)

        async def pass_on() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        machine.turns = 0
        numbers: list[int] = []
        for at, whole in those:
            numbers.append(machine.request(at, "alone", whole=whole))
            machine.loop.run_until_complete(pass_on())
        for index in order:
            machine.body_of(numbers[index])
            machine.loop.run_until_complete(pass_on())
        machine.settle()
        assert machine.refusals() == []
        assert machine.calls_of("alone") == [ROOM]
        machine.teardown()


class RoomMachine(RequestsMachine):
    """The search for caps that are exceeded, with requests that move, and whose bodies come when they come."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        moving_requests(self._patch)
        super().__init__()

    @rule(agent=agents, name=names, whole=st.booleans())
    def comes(self, agent: int, name: str, *, whole: bool) -> None:
        self.request(agent, name, whole=whole)

    @rule(index=indexes)
    def body_comes(self, index: int) -> None:
        waiting = [number for number, each in enumerate(self.requests) if not each.body.is_set()]
        if waiting:
            self.body_of(waiting[index % len(waiting)])

    def teardown(self) -> None:
        super().teardown()
        self._patch.undo()


TestRoom = RoomMachine.TestCase
TestRoom.settings = settings(max_examples=examples(15), stateful_step_count=25, deadline=None)
