"""Where a follower's calls go while its writer goes and comes back. On fakes."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.agents.test_credits_machine import CAPS

from sesame.agents import calls, messages
from sesame.agents.backlog import Backlog
from sesame.agents.calls import Calls, OwnInstances
from sesame.agents.credits import CreditCapacity
from sesame.agents.policies import HERE
from sesame.agents.presence import Presence
from sesame.identity.nonces import UsedNonces
from sesame.model.errors import Unavailable
from sesame.model.invocation import Target

TARGET = Target("s", "LATEST", "f")
TURNS = 10


class Asking:
    """A follower whose questions to the writer are answered by the test; `room` is whether a call runs here."""

    carry = life = link = None
    agent = 2

    def __init__(self) -> None:
        self.writer = Presence()
        self.writer.came()
        self.backlog = Backlog(self.writer.here.is_set, lambda: 0, lambda: 0.0)
        self.nonces = UsedNonces(lambda: 0.0)
        self.questions: list[asyncio.Future[messages.Message]] = []
        self.room = False

    def ask(self, _question: Callable[[int], messages.Message]) -> "asyncio.Future[messages.Message]":
        self.questions.append(asyncio.get_running_loop().create_future())
        return self.questions[-1]

    def finds(self, _snapshot: object, _exchange: object) -> bool:
        return self.room

    def joins(self, _snapshot: object, _caller: object) -> bool:
        return self.room

    def has(self, _snapshot: object) -> bool:
        return self.room

    def of(self, _target: Target) -> Any:
        return SimpleNamespace(key="k", limits=SimpleNamespace(concurrency=10))


def calls_of(follower: Asking, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Of requests that have not moved."""
    monkeypatch.setattr(calls, "connection_of", lambda _exchange: SimpleNamespace(moves=0))
    credits = CreditCapacity(CAPS, lambda: "", lambda: 0.0, lambda _gone: None)
    pool = SimpleNamespace(startup=SimpleNamespace(may_start=lambda _snapshot: True))
    own = OwnInstances(cast(Any, pool), credits, cast(Any, follower), cast(Any, follower), cast(Any, None))
    return Calls(cast(Any, follower), own)


async def test_calls_behind_one_that_asked_a_writer_that_went_are_served_by_what_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follower = Asking()
    asked = calls_of(follower, monkeypatch)
    going = [asyncio.ensure_future(cast(Any, asked.moves(TARGET, cast(Any, None)))) for _ in range(3)]
    await settle()
    assert len(follower.questions) == 1
    follower.writer.lost()
    going[0].cancel()
    await settle()
    assert len(follower.questions) == 1, "nobody waits for the next writer behind another"
    follower.room = True
    for _ in going[1:]:
        follower.backlog.step()
        await settle()
    assert [each.done() and not each.cancelled() and each.result() for each in going[1:]] == [False, False]
    assert all(each.done() for each in going)


@pytest.mark.parametrize(("agent", "moved"), [(2, [2]), (HERE, [])])
async def test_a_call_stays_only_where_the_writer_says_here_as_agents_of_two_machines_may_have_one_number(
    monkeypatch: pytest.MonkeyPatch, agent: int, moved: list[int]
) -> None:
    follower = Asking()
    asked = calls_of(follower, monkeypatch)
    went: list[int] = []

    async def move(place: messages.Place, _exchange: object, *, proven: bool) -> bool:
        went.append(place.agent)
        return True

    monkeypatch.setattr(asked, "move_to", move)
    going = asyncio.ensure_future(cast(Any, asked.moves(TARGET, cast(Any, None))))
    await settle()
    follower.questions[0].set_result(messages.Place(1, "", agent))
    assert await going is bool(moved)
    assert went == moved


@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_call_waits_for_the_next_writer_and_is_told_to_come_again_where_none_comes(
    monkeypatch: pytest.MonkeyPatch, *, comes_back: bool
) -> None:
    follower = Asking()
    follower.writer.patience_s = 60.0 if comes_back else 0.0
    follower.writer.lost()
    asked = calls_of(follower, monkeypatch)
    going = asyncio.ensure_future(cast(Any, asked.moves(TARGET, cast(Any, None))))
    await settle()
    if comes_back:
        follower.writer.came()
        follower.backlog.step()
        await settle()
        follower.questions[0].set_result(messages.Place(1, "", HERE))
        assert await going is False
    else:
        with pytest.raises(Unavailable, match="does not come back"):
            await going
    for waits in (follower.writer.waited(follower.writer.here), follower.writer.waited(follower.writer.takes_requests)):
        if comes_back:
            await waits
        else:
            with pytest.raises(Unavailable):
                await waits


async def settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
