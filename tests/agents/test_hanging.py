"""A follower that hangs holds up one question of the writer, and not one after another."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.fakes import FakeClocks

from sesame.agents import idle_there
from sesame.agents import messages as m
from sesame.agents.idle_there import IdleThere

SNAPSHOT = cast(Any, SimpleNamespace(key="k", limits=SimpleNamespace(concurrency=10)))


async def test_one_that_has_not_answered_is_asked_nothing_more_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []
    follower = IdleThere({}, lambda _key: (), sent.append, FakeClocks(), lambda: None)
    monkeypatch.setattr(idle_there, "ANSWERS_WITHIN_S", 0.01)
    assert not await follower.keeps(SNAPSHOT, room=True)
    assert not await follower.keeps(SNAPSHOT, room=True)
    assert len(sent) == 1
    follower.answered(m.Takes(sent[0].n, kept=True, idle=False))
    assert not await follower.keeps(SNAPSHOT, room=True)
    assert len(sent) == 2
    follower.lost()
    await follower.tell()
    assert len(sent) == 3
