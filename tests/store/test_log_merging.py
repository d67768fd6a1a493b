"""Small segments of a cluster's logs are joined in the bucket, and none of their rows is lost. Run by pytest."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from tests.support.databases import ONE_DATABASE
from tests.support.objects_in_memory import Objects

from sesame.model.errors import StoreUnavailable
from sesame.store.logs.file import SourceKey
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.merging import How, Indexed, Merging, to_join
from sesame.store.logs.shared.objects import GIVEN_UP_S, READ_FOR_S, SegmentObjects, path_of
from sesame.store.logs.shared.sealing import NUMBERS
from sesame.store.logs.shared.segment import (
    SEGMENT_BYTES,
    Content,
    Numbered,
    Segment,
    follow,
    joined,
    opened,
    seal,
)
from sesame.store.sql.database import Database

A_DAY = 17_280
EACH_TIME = 60


class Any(msgspec.Struct, frozen=True):
    """`times`: how often some of its bytes were written again."""

    size: int
    digest: str = ""
    times: int = 0


async def nobody(_segments: Sequence[Any], _data: Sequence[bytes]) -> None:
    return None


@pytest.mark.parametrize(
    ("size", "on_average", "at_most"), [(100, 5.22, 9), (2_000, 3.0, 5), (20_000, 1.0, 1), (200_000, 1.0, 1)]
)
def test_of_a_day_few_segments_are_left_and_each_byte_is_written_again_a_few_times(
    size: int, on_average: float, at_most: int
) -> None:
    how = How(SEGMENT_BYTES, lambda _former, _later: True, nobody)
    numbers = itertools.count(1)
    there: list[Indexed[Any]] = []
    most = written = fetched = times = 0
    for _minutes in range(A_DAY // EACH_TIME):
        there += [Indexed(next(numbers), Any(size)) for _ in range(EACH_TIME)]
        most = max(most, len(there))
        for run in to_join(there, how):
            at = there.index(run[0])
            whole = Any(sum(each.segment.size for each in run), "", max(each.segment.times for each in run) + 1)
            times = max(times, whole.times)
            there[at : at + len(run)] = [Indexed(run[-1].number, whole)]
            written += whole.size
            fetched += len(run)
    assert sum(each.segment.size for each in there) == A_DAY * size
    full = A_DAY * size / SEGMENT_BYTES
    assert len(there) <= 2 * full + 12
    assert most <= 2 * full + 12 + EACH_TIME
    assert (round(written / (A_DAY * size), 2), times) == (on_average, at_most)
    assert fetched <= 1.1 * A_DAY


def test_what_a_writer_left_is_joined_at_once_and_nothing_across_a_gap() -> None:
    sizes = [900, 300, 100, 50]
    before = [Indexed(number, Any(size, "a")) for number, size in enumerate(sizes)]
    behind = [Indexed(number + 10, Any(size, "b")) for number, size in enumerate(sizes)]
    how = How(2_000, lambda former, later: former.digest == later.digest, nobody)
    assert to_join([*before, *behind], how) == [before]
    # Of those whose size is not known, nothing.
    assert to_join([Indexed(n, Any(0)) for n in range(5)], How(2_000, lambda _former, _later: True, nobody)) == []


class Wall:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Lines:
    """A cluster's lines in a bucket, one segment each."""

    def __init__(self, database: Database) -> None:
        self.wall, self.bucket = Wall(), Objects()
        self.index = SegmentIndex(database, 3, self.wall)
        self.objects = SegmentObjects(database, self.bucket, self.wall)
        self.merging = Merging(self.index, self.objects, How(SEGMENT_BYTES, follow, self._join))

    async def _join(self, segments: Sequence[Segment], data: Sequence[bytes]) -> tuple[Segment, bytes]:
        made = joined(segments, data)
        return made.segment, made.data

    async def add(self, number: int) -> Segment:
        source = SourceKey("demo", f"f{number % 2}", "1", "c", "", "")
        row = Numbered(number, 10 * number, 0, f"r-{number}", 10 * number, None, b"%d\n" % number)
        sealed = seal(Content([source], [row]))
        await self.objects.put(sealed.segment.digest, sealed.data)
        await self.index.add(sealed.segment)
        return sealed.segment

    async def rows(self) -> list[tuple[int, str]]:
        """Number and function of each, in the order of segments."""
        found = []
        for each in await self.index.all():
            data = (await self.objects.get(each.segment.digest, self.index)).data
            assert data is not None
            content = opened(each.segment.digest, data)
            found += [(row.id, content.sources[row.source].function) for row in content.rows]
        return found


@pytest.fixture
def lines(database: Database) -> Lines:
    return Lines(database)


async def test_segments_that_follow_each_other_become_one_whose_objects_go_later(lines: Lines) -> None:
    added = [await lines.add(NUMBERS + n) for n in range(5)]
    before = await lines.rows()
    numbers = [each.number for each in await lines.index.all()]
    assert await lines.merging.merge() == 5
    (whole,) = await lines.index.all()
    assert whole.number == numbers[-1]
    assert (whole.segment.ids.first, whole.segment.ids.end) == (NUMBERS, NUMBERS + 5)
    assert (whole.segment.first_ms, whole.segment.last_ms) == (added[0].first_ms, added[-1].last_ms)
    assert whole.segment.size == sum(each.size for each in added)
    assert set(whole.segment.owners) == {("demo", "f0"), ("demo", "f1")}
    assert await lines.rows() == before
    # Who has read the rows of before still reads their objects.
    await lines.objects.clean()
    assert len(lines.bucket.held) == 6
    lines.wall.now_s += READ_FOR_S
    await lines.objects.clean()
    assert list(lines.bucket.held) == [path_of(whole.segment.digest)]
    assert await lines.merging.merge() == 0


@ONE_DATABASE
async def test_rows_that_come_late_stay_between_those_of_others(lines: Lines) -> None:
    """A node that was lost had numbers 2 and 3, and brings them when it leads again."""
    for n in (0, 1, 10, 11):
        await lines.add(NUMBERS + n)
    assert await lines.merging.merge() == 4
    assert [each.segment.ids.first - NUMBERS for each in await lines.index.all()] == [0, 10]
    for n in (2, 3):
        await lines.add(NUMBERS + n)
    await lines.merging.merge()
    assert sorted(number - NUMBERS for number, _function in await lines.rows()) == [0, 1, 2, 3, 10, 11]
    assert [(each.first - NUMBERS, each.end - NUMBERS) for each in await lines.index.ranges()] == [(0, 4), (10, 12)]


@ONE_DATABASE
async def test_a_writer_that_ends_before_the_rows_are_there_has_lost_nothing(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        await lines.add(NUMBERS + n)
    before = await lines.rows()

    async def lost(*_arguments: object) -> bool:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(lines.index, "replace", lost)
        with pytest.raises(StoreUnavailable):
            await lines.merging.merge()
    assert len(lines.bucket.held) == 4
    assert await lines.rows() == before
    assert await lines.merging.merge() == 3
    assert await lines.rows() == before


@ONE_DATABASE
async def test_what_is_deleted_meanwhile_is_not_brought_back(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        await lines.add(NUMBERS + n)
    get = lines.bucket.get

    async def expire_first(path: str) -> object:
        found = await get(path)
        await lines.index.expire((NUMBERS + 1) * 10, 1_000_000)
        return found

    monkeypatch.setattr(lines.bucket, "get", expire_first)
    assert await lines.merging.merge() == 0
    assert [each.segment.ids.first for each in await lines.index.all()] == [NUMBERS + 1, NUMBERS + 2]


@ONE_DATABASE
@pytest.mark.parametrize("data", [None, b"x"])
async def test_a_lost_segment_is_left_alone_and_the_others_are_joined(lines: Lines, data: bytes | None) -> None:
    added = [await lines.add(NUMBERS + n) for n in range(5)]
    del lines.bucket.held[path_of(added[2].digest)]
    if data is not None:
        lines.bucket.held[path_of(added[2].digest)] = data
    for _time in range(3):
        await lines.merging.merge()
    left = [(each.segment.ids.first - NUMBERS, each.segment.ids.end - NUMBERS) for each in await lines.index.all()]
    assert left == [(0, 2), (2, 3), (3, 5)]


@ONE_DATABASE
@pytest.mark.parametrize("gone", [False, True])
async def test_what_is_left_of_several_may_be_one_of_them_whose_object_stays(lines: Lines, gone: bool) -> None:
    await lines.add(NUMBERS)
    kept = await lines.add(NUMBERS + 1)

    async def the_last(_segments: Sequence[Segment], data: Sequence[bytes]) -> tuple[Segment, bytes]:
        if gone:
            # The other row goes meanwhile.
            await lines.index.expire(kept.last_ms, 1_000_000)
        return kept, data[-1]

    await Merging(lines.index, lines.objects, How(SEGMENT_BYTES, follow, the_last)).merge()
    lines.wall.now_s += 2 * GIVEN_UP_S
    await lines.objects.clean()
    assert [each.segment.digest for each in await lines.index.all()] == [kept.digest]
    assert list(lines.bucket.held) == [path_of(kept.digest)]
