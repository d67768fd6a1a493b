"""Consumer groups: shards are shared, move only when let go, and checkpoints outlive a restart."""

import asyncio
from pathlib import Path

import pytest
from tests.store.logstores.conftest import opened
from tests.support.fakes import FakeClocks

from sesame.model.errors import AlreadyExists, NotFound, TooMany
from sesame.store.logs.logstores.consumers import GROUPS_MAX, Membership
from sesame.store.logs.logstores.interface import ConsumerGroup
from sesame.store.logs.logstores.store import LogStorage


def test_a_shard_moves_to_a_new_consumer_once_its_holder_lets_go() -> None:
    members = Membership()
    assert members.heart_beat("a", [], range(4), 0.0, 10.0) == [0, 1, 2, 3]
    assert members.heart_beat("b", [], range(4), 1.0, 10.0) == []
    assert members.heart_beat("a", [0, 1, 2, 3], range(4), 2.0, 10.0) == [0, 1]
    assert members.heart_beat("b", [], range(4), 3.0, 10.0) == []
    assert members.heart_beat("a", [0, 1], range(4), 4.0, 10.0) == [0, 1]
    assert members.heart_beat("b", [], range(4), 5.0, 10.0) == [2, 3]


def test_the_shards_of_a_silent_consumer_go_to_the_others() -> None:
    members = Membership()
    members.heart_beat("a", [], range(3), 0.0, 10.0)
    assert members.heart_beat("b", [], range(3), 11.0, 10.0) == [0, 1, 2]
    assert members.owner(0) == "b"


def test_after_a_restart_a_consumer_keeps_what_it_holds() -> None:
    members = Membership()
    assert members.heart_beat("b", [1], range(2), 0.0, 10.0) == [0, 1]
    assert members.heart_beat("a", [0], range(2), 0.0, 10.0) == []


async def test_a_logstore_has_at_most_so_many_groups(storage: LogStorage) -> None:
    groups = [ConsumerGroup(f"g{number}", 30) for number in range(GROUPS_MAX + 2)]
    made = await asyncio.gather(*(storage.create_group("p", "l", each) for each in groups), return_exceptions=True)
    assert [type(each) for each in made if each is not None] == [TooMany, TooMany]
    assert len(await storage.groups("p", "l")) == GROUPS_MAX
    await storage.delete_group("p", "l", "g0")
    twice = await asyncio.gather(
        *(storage.create_group("p", "l", groups[-1]) for _ in range(2)), return_exceptions=True
    )
    assert [type(each) for each in twice] == [type(None), AlreadyExists]


async def test_groups_and_checkpoints_are_durable(storage: LogStorage, tmp_path: Path, clocks: FakeClocks) -> None:
    group = ConsumerGroup("g", 30)
    await storage.create_group("p", "l", group)
    with pytest.raises(AlreadyExists):
        await storage.create_group("p", "l", group)
    await storage.update_group("p", "l", ConsumerGroup("g", 60, in_order=True))
    assert await storage.heart_beat("p", "l", "g", "me", []) == [0, 1]
    with pytest.raises(NotFound):
        await storage.set_checkpoint("p", "l", "g", 1, 0, consumer="other", force=False)
    await storage.set_checkpoint("p", "l", "g", 1, 0, consumer="me", force=False)
    await storage.close()
    again = await opened(tmp_path, clocks)
    assert await again.groups("p", "l") == [ConsumerGroup("g", 60, in_order=True)]
    assert [each.cursor for each in await again.checkpoints("p", "l", "g")] == [None, 0]
    await again.delete_group("p", "l", "g")
    with pytest.raises(NotFound):
        await again.checkpoints("p", "l", "g")
    await again.close()
