"""Shards are split and merged: keys go to the new ones, what the old ones have is read to its end."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.logstores.conftest import opened
from tests.support.examples import examples
from tests.support.fakes import FakeClocks

from sesame.model.errors import Invalid, NotFound
from sesame.model.logstore import LogGroup, LogRecord, Logstore
from sesame.store.logs.logstores import shards
from sesame.store.logs.logstores.interface import ConsumerGroup, Shard
from sesame.store.logs.logstores.store import LogStorage

NOW_S = int(FakeClocks().wall())
DAY_S = 86_400
FIRST, MIDDLE, LAST = "0" * 32, "8" + "0" * 31, "f" * 32
QUARTER = "4" + "0" * 31


def group(message: str) -> LogGroup:
    return LogGroup((LogRecord(NOW_S, 0, (("message", message),)),))


def shown(found: list[Shard] | object) -> list[tuple[int, str, str, str]]:
    assert isinstance(found, list)
    return [(each.id, each.status, each.begin, each.end) for each in found]


async def read(storage: LogStorage, shard: int) -> list[str]:
    begin = await storage.cursor("p", "l", shard, "begin")
    pulled = await storage.pull("p", "l", shard, begin, 100)
    return [each.records[0].contents[0][1] for each in pulled.groups]


async def test_a_shard_is_split_and_its_keys_go_to_the_new_ones(
    storage: LogStorage, tmp_path: Path, clocks: FakeClocks
) -> None:
    await storage.append("p", "l", group("before"), hash_key=FIRST)
    made = await storage.split_shard("p", "l", 0, key=QUARTER)
    assert shown(made) == [
        (0, "readonly", FIRST, MIDDLE), (2, "readwrite", FIRST, QUARTER), (3, "readwrite", QUARTER, MIDDLE),
    ]  # fmt: skip
    await storage.append("p", "l", group("low"), hash_key="3" + "f" * 31)
    await storage.append("p", "l", group("high"), hash_key=QUARTER)
    await storage.append("p", "l", group("last"), hash_key=LAST)
    assert [await read(storage, shard) for shard in range(4)] == [["before"], ["last"], ["low"], ["high"]]
    for number in range(6):
        await storage.append("p", "l", group(f"{number}"))
    assert [len(await read(storage, shard)) for shard in range(4)] == [1, 3, 3, 3]
    listed = shown(await storage.shards("p", "l"))
    assert (await storage.logstore("p", "l")).shards == 3
    await storage.update_logstore(Logstore("p", "l", ttl_days=2))
    await storage.close()
    again = await opened(tmp_path, clocks)
    assert shown(await again.shards("p", "l")) == listed
    await again.close()


async def test_neighbours_are_merged(storage: LogStorage) -> None:
    made = await storage.merge_shards("p", "l", 0)
    assert shown(made) == [
        (2, "readwrite", FIRST, LAST), (1, "readonly", MIDDLE, LAST), (0, "readonly", FIRST, MIDDLE),
    ]  # fmt: skip
    await storage.append("p", "l", group("one"), hash_key=LAST)
    assert await read(storage, 2) == ["one"]
    assert len(await storage.split_shard("p", "l", 2, count=4)) == 5


@pytest.mark.parametrize("key", [FIRST, MIDDLE, LAST])
async def test_a_key_outside_of_the_shard_splits_nothing(storage: LogStorage, key: str) -> None:
    with pytest.raises(Invalid, match=r"expected keys between 0+ and 80+, found"):
        await storage.split_shard("p", "l", 0, key=key)


async def test_what_is_readonly_missing_or_last_is_refused(storage: LogStorage) -> None:
    await storage.split_shard("p", "l", 0)
    for asked in (storage.split_shard("p", "l", 0), storage.merge_shards("p", "l", 0)):
        with pytest.raises(Invalid, match="expected one whose status is readwrite, found '0, which is readonly'"):
            await asked
    with pytest.raises(Invalid, match="expected one that another open shard follows"):
        await storage.merge_shards("p", "l", 1)
    with pytest.raises(NotFound):
        await storage.split_shard("p", "l", 9)


async def test_readonly_shards_go_with_their_logs(storage: LogStorage, clocks: FakeClocks) -> None:
    await storage.append("p", "l", group("before"), hash_key=FIRST)
    await storage.split_shard("p", "l", 0)
    clocks.set_wall(NOW_S + 6 * DAY_S)
    await storage.expire()
    assert len(await storage.shards("p", "l")) == 4
    clocks.set_wall(NOW_S + 8 * DAY_S)
    await storage.expire()
    assert [each.id for each in await storage.shards("p", "l")] == [1, 2, 3]
    assert [each.id for each in (await storage.merge_shards("p", "l", 2))] == [4, 3, 2]


async def test_consumers_get_the_new_shards_and_in_order_only_once_the_old_one_was_read(storage: LogStorage) -> None:
    await storage.create_group("p", "l", ConsumerGroup("any", 60))
    await storage.create_group("p", "l", ConsumerGroup("ordered", 60, in_order=True))
    await storage.append("p", "l", group("before"), hash_key=FIRST)
    await storage.split_shard("p", "l", 0)
    await storage.split_shard("p", "l", 2)
    assert await storage.heart_beat("p", "l", "any", "me", []) == [0, 1, 2, 3, 4, 5]
    assert await storage.heart_beat("p", "l", "ordered", "me", []) == [0, 1]
    assert [each.shard for each in await storage.checkpoints("p", "l", "ordered")] == [0, 1, 2, 3, 4, 5]
    end = await storage.cursor("p", "l", 0, "end")
    await storage.set_checkpoint("p", "l", "ordered", 0, end, consumer="me")
    # Nothing was written to shard 2 before it was split.
    assert await storage.heart_beat("p", "l", "ordered", "me", [0, 1]) == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**128 - 1)), max_size=12), st.integers(0, 2**128 - 1))
@settings(max_examples=examples(50))
def test_open_shards_part_all_keys_whatever_was_done(changes: list[tuple[bool, int]], key: int) -> None:
    logstore = Logstore("p", "l", 7, shards=3)
    for splits, where in changes:
        taking = [each for each in shards.ranges_of(logstore) if not each.closed_s]
        shard = taking[where % len(taking)].id
        try:
            if splits:
                logstore = shards.split(logstore, shard, [shards.key_text(where)], NOW_S)
            else:
                logstore = shards.merge(logstore, shard, NOW_S)
        except Invalid:
            continue
    taking = sorted((each for each in shards.ranges_of(logstore) if not each.closed_s), key=lambda each: each.begin)
    assert (taking[0].begin, taking[-1].end, len(taking)) == (FIRST, LAST, logstore.shards)
    assert all(one.end == other.begin for one, other in itertools.pairwise(taking))
    text = shards.key_text(key)
    (found,) = [each for each in taking if each.begin <= text < each.end] if text != LAST else taking[-1:]
    assert shards.shard_for(logstore, text, 7) == found.id
