"""The rows that say which segments a cluster's log has, on each database. Run by pytest."""

from collections.abc import Collection

import pytest
import sqlalchemy as sa
from tests.support.objects_in_memory import Objects

from sesame.model.errors import StoreUnavailable
from sesame.store import outbox
from sesame.store.blobs.bucket import Piece
from sesame.store.logs.logstores.bucket_groups import GroupSegment, Part
from sesame.store.logs.shared import index as rules
from sesame.store.logs.shared.group_index import GroupIndex
from sesame.store.logs.shared.index import IDS_PER_SECOND, SegmentIndex
from sesame.store.logs.shared.objects import GIVEN_UP_S, SegmentObjects, path_of
from sesame.store.logs.shared.sealing import NUMBERS
from sesame.store.logs.shared.segment import Range, Segment
from sesame.store.sql.database import Database
from sesame.store.sql.log_schema import log_segments
from sesame.store.sql.schema import counters

NOW_S = 1_000_000.0


class Bucket:
    """It takes what comes, and remembers what was deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def put(self, _path: str, _data: bytes) -> None: ...
    async def get(self, path: str) -> Piece:
        raise FileNotFoundError(path)

    async def delete(self, paths: Collection[str]) -> None:
        self.deleted += paths


class Wall:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def segment(first: int, count: int = 10, *, at_ms: int = 1_000, size: int = 100) -> Segment:
    owners = (("demo", "a"), ("", "ü"))
    return Segment(f"{first:064x}", Range(first, first + count), at_ms, at_ms + 5_000, size, owners)


async def test_each_writer_has_numbers_of_its_own(database: Database) -> None:
    index = SegmentIndex(database, 1, Wall())
    first = (await index.reserve()).next_id
    second = (await index.reserve()).next_id
    assert (first, second) == (NUMBERS, 2 * NUMBERS)
    # One that has used nearly all of them gets more.
    await index.add(segment(3 * NUMBERS - 11))
    assert (await index.reserve()).next_id == 3 * NUMBERS - 1 + NUMBERS // 2


async def test_a_database_that_was_set_back_gives_no_number_again(database: Database) -> None:
    wall = Wall()
    wall.now_s = 1_800_000_000.0
    index = SegmentIndex(database, 1, wall)
    given = (await index.reserve()).next_id
    await database.write(lambda c: c.execute(sa.delete(counters)))
    wall.now_s += 60.0
    # The writer before has written more than it had reserved by then, and has told nobody.
    assert (await index.reserve()).next_id >= given + 50 * IDS_PER_SECOND
    # A clock that is behind gives none either.
    wall.now_s -= 3600.0
    again = (await index.reserve()).next_id
    assert again > given
    assert (await index.reserve()).next_id == again + NUMBERS


async def test_times_of_rows_go_on_from_those_of_the_writer_before(database: Database) -> None:
    index = SegmentIndex(database, 1, Wall())
    assert (await index.reserve()).after_ms == 0
    for first, at_ms in ((NUMBERS, 50_000), (NUMBERS + 10, 7_000)):
        await index.add(segment(first, at_ms=at_ms))
    assert (await index.reserve()).after_ms == 55_000


async def test_segments_are_listed_the_newest_first_and_are_there_once(database: Database) -> None:
    index, objects = SegmentIndex(database, 7, Wall()), SegmentObjects(database, Bucket(), Wall())
    added = [segment(NUMBERS), segment(NUMBERS + 10), segment(3 * NUMBERS)]
    for each in (*added, added[0]):
        await objects.put(each.digest, b"")
        await index.add(each)
    found = await index.newest()
    assert [each.segment for each in found] == added[::-1]
    assert [each.segment for each in await index.newest(found[1].number)] == [added[0]]
    assert await index.ranges() == [Range(NUMBERS, NUMBERS + 20), Range(3 * NUMBERS, 3 * NUMBERS + 10)]
    epochs = await database.read(lambda c: c.execute(sa.select(log_segments.c.epoch)).scalars().all())
    assert set(epochs) == {7}
    assert await database.read(lambda c: outbox.pending(c, outbox.SEGMENT_ANNOUNCED)) == []


async def test_what_is_too_old_or_too_much_loses_its_row_and_is_to_be_deleted(database: Database) -> None:
    index = SegmentIndex(database, 1, Wall())
    added = [segment(NUMBERS + 10 * number, at_ms=1_000 * number) for number in range(6)]
    for each in added:
        await index.add(each)
    assert await index.expire(before_ms=5_500, size_max=10_000) == 1
    assert await index.expire(before_ms=0, size_max=300) == 2
    assert [each.segment for each in await index.newest()] == added[:2:-1]
    bucket = Bucket()
    objects = SegmentObjects(database, bucket, Wall())
    await objects.clean()
    assert bucket.deleted == [path_of(each.digest) for each in added[:3]]
    await objects.clean()
    assert len(bucket.deleted) == 3


async def test_more_than_one_page_is_removed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SegmentIndex(database, 1, Wall())
    for number in range(5):
        await index.add(segment(NUMBERS + 10 * number))
    monkeypatch.setattr(rules, "AT_ONCE", 2)
    assert await index.expire(before_ms=10_000, size_max=10_000) == 5


async def test_an_object_that_got_no_row_is_deleted_a_day_later(database: Database) -> None:
    wall, bucket = Wall(), Bucket()
    objects = SegmentObjects(database, bucket, wall)
    await objects.put("early", b"")
    wall.now_s += GIVEN_UP_S / 2
    await objects.put("later", b"")
    wall.now_s += GIVEN_UP_S / 2
    await objects.clean()
    assert bucket.deleted == [path_of("early")]
    assert [each.subject for each in await database.read(lambda c: outbox.pending(c, outbox.SEGMENT_ANNOUNCED))] == [
        "later"
    ]


async def test_an_object_that_comes_after_all_is_not_deleted(database: Database) -> None:
    """The bucket was away for longer than a day, also for what was to be deleted there."""
    wall, bucket = Wall(), Objects()
    index, objects = SegmentIndex(database, 1, wall), SegmentObjects(database, bucket, wall)
    late = segment(NUMBERS)
    bucket.away = True
    for waited_s in (0, GIVEN_UP_S):
        wall.now_s += waited_s
        with pytest.raises(StoreUnavailable):
            await objects.put(late.digest, b"x")
        assert len(await database.read(lambda c: outbox.pending(c, outbox.SEGMENT_ANNOUNCED))) == 1
    wall.now_s += GIVEN_UP_S
    with pytest.raises(StoreUnavailable):
        await objects.clean()
    bucket.away = False
    await objects.put(late.digest, b"x")
    await index.add(late)
    await objects.clean()
    assert await objects.get(late.digest, index) == (b"x", False)


async def test_segments_of_logstores_are_kept_while_a_logstore_keeps_one_of_their_groups(database: Database) -> None:
    bucket = Bucket()
    index, objects = GroupIndex(database, 1, Wall()), SegmentObjects(database, bucket, Wall())
    added = [
        GroupSegment("a", (Part(1, 0, 5, 100, ("t",)), Part(2, 0, 1, 200))),
        GroupSegment("b", (Part(1, 5, 6, 300),)),
        GroupSegment("c", (Part(3, 0, 1, 400),)),
    ]
    for each in (*added, added[0]):
        await objects.put(each.digest, b"")
        await index.add(each)
    page = await index.page()
    assert [each.segment for each in page] == added
    assert [each.segment for each in await index.page(page[0].number)] == added[1:]
    await index.expire({1: 300, 2: 200})
    assert [each.segment for each in await index.page()] == added[:2]
    await index.expire({1: 300, 2: 201})
    assert [each.segment for each in await index.page()] == added[1:2]
    await objects.clean()
    assert bucket.deleted == [path_of("c"), path_of("a")]
