"""Logs in a cluster's logstores are in the bucket, and with whoever is the writer. Run by pytest."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
import structlog
from tests.support.databases import ONE_DATABASE
from tests.support.logstores_of_cluster import INDEX, NOW_S, Cluster, filled, group, texts

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.errors import PlatformError, StoreUnavailable
from sesame.model.logstore import LogGroup, LogRecord, Logstore
from sesame.store.blobs.bucket import Piece
from sesame.store.logs.logstores import bucket_groups, shared_groups
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.logstores.interface import Query as LogQuery
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.reader import Query
from sesame.store.logs.shared.objects import GIVEN_UP_S, SegmentObjects, path_of
from sesame.store.sql.database import Database
from sesame.store.sql.log_schema import group_segments


@pytest.fixture
async def cluster(database: Database, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(database, tmp_path / "nodes", stack)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()


async def every_text(storage: LogStorage) -> list[str]:
    """As a query finds them."""
    result = await storage.query("p", "l", LogQuery("*", NOW_S - 10, NOW_S + 10))
    return [row["message"] for row in msgspec.json.decode(result.rows)]


@ONE_DATABASE
async def test_the_next_writer_has_the_logs_that_were_brought_into_the_bucket(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.create_index("p", "l", INDEX)
    for text in ("1", "2"):
        await first.append("p", "l", group(text))
    await cluster.groups.bring()
    await first.append("p", "l", group("3"))
    await cluster.groups.bring()
    await first.append("p", "l", group("late"))
    held = len(cluster.objects.held)
    assert held == 2

    second = await cluster.lead("n2")
    await second.append("p", "l", group("4"))
    assert await texts(second) == ["1", "2", "3", "4"]
    assert sorted(await every_text(second)) == ["1", "2", "3", "4"]
    assert await second.topics("p", "l", after=None, most=10) == ["t"]
    # They are one segment for queries, and found there too.
    await second.seal()
    assert (await second.kept()).segments == 1
    assert sorted(await every_text(second)) == ["1", "2", "3", "4"]
    await cluster.groups.bring()
    assert len(cluster.objects.held) == held + 1

    again = await cluster.lead("n1")
    assert await texts(again) == ["1", "2", "3", "late", "4"]
    await cluster.groups.bring()
    third = await cluster.lead("n3")
    assert await texts(third) == ["1", "2", "3", "late", "4"]
    assert await cluster.groups.copy() == 0
    for storage in (again, third):
        await storage.seal()
        assert sorted(await every_text(storage)) == ["1", "2", "3", "4", "late"]


@ONE_DATABASE
async def test_nothing_is_read_before_all_is_here(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    await cluster.groups.bring()
    second = await cluster.lead("n2", whole=False)
    reading = asyncio.ensure_future(texts(second))
    # What comes is taken meanwhile.
    await second.append("p", "l", group("2"))
    assert not reading.done()
    monkeypatch.setattr(shared_groups, "READS_WAIT_S", 0.0)
    with pytest.raises(StoreUnavailable, match="ask again"):
        await second.cursor("p", "l", 0, "begin")
    await cluster.groups.copy()
    assert await reading == ["1", "2"]


@ONE_DATABASE
async def test_lines_that_others_took_are_read_before_those_of_this_writer(cluster: Cluster) -> None:
    def line(text: str) -> LogGroup:
        fields = dict.fromkeys(("functionName", "serviceName", "qualifier", "versionId", "instanceID"), "f")
        return LogGroup((LogRecord(NOW_S, 0, (*fields.items(), ("message", text))),), topic="f")

    first = await cluster.lead("n1")
    await filled(first)
    for text in ("1", "2"):
        await first.append("p", "l", line(text))
        await cluster.groups.bring()
    second = await cluster.lead("n2", whole=False)
    await second.append("p", "l", line("3"))
    await cluster.groups.copy()
    await second.append("p", "l", line("4"))
    await cluster.groups.bring()
    again = await cluster.lead("n1", whole=False)
    await again.append("p", "l", line("5"))
    await cluster.groups.copy()
    for node, expected in (("n2", "1234"), ("n1", "12345")):
        lines, _last = FunctionLines(cluster.file(node)).read_on(Query(service="f", function="f"))
        assert "".join(each.text for each in lines) == expected


@ONE_DATABASE
async def test_a_lost_segment_costs_its_own_logs_alone(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    for text in ("1", "2", "3"):
        await first.append("p", "l", group(text))
        await cluster.groups.bring()
    paths = list(cluster.objects.held)
    del cluster.objects.held[paths[0]]
    cluster.objects.held[paths[1]] = b"x"
    with structlog.testing.capture_logs() as said:
        second = await cluster.lead("n2")
    lost = [each for each in said if each["event"] == "a segment of logs is lost"]
    assert [each["logstores"] for each in lost] == [["p/l"]] * 2
    assert [each["problem"].partition(":")[0] for each in lost] == ["it is not in the bucket", "it is damaged"]
    assert await texts(second) == ["3"]


@ONE_DATABASE
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it cannot be read: Input data was truncated"),
        (b"\x93\x01\x02\x03", "it cannot be read: Expected `array`, got `int`"),
        (msgspec.msgpack.encode([[]]), "it has other groups than the database says"),
        (msgspec.msgpack.encode([[(7, 0, 1, 1, 1, 1, b"")]]), "it has other groups than the database says"),
    ],
)
async def test_a_segment_that_cannot_be_decoded_costs_its_own_logs_alone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, data: bytes, problem: str
) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    with monkeypatch.context() as patched:
        patched.setattr(bucket_groups, "encode", lambda _rows: data)
        await cluster.groups.bring()
    await first.append("p", "l", group("2"))
    await cluster.groups.bring()
    with structlog.testing.capture_logs() as said:
        second = await cluster.lead("n2")
    (lost,) = [each for each in said if each["event"] == "a segment of logs is lost"]
    assert lost["problem"].startswith(problem)
    assert lost["digest"] == hashlib.sha256(data).hexdigest()
    assert await texts(second) == ["2"]


@ONE_DATABASE
async def test_a_segment_that_is_deleted_while_it_is_copied_is_not_said_to_be_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    await cluster.groups.bring()
    second = await cluster.lead("n2", whole=False)
    get = cluster.objects.get

    async def expire_first(path: str) -> Piece:
        await second.delete_logstore("p", "l")
        await cluster.groups.expire()
        return await get(path)

    monkeypatch.setattr(cluster.objects, "get", expire_first)
    with structlog.testing.capture_logs() as said:
        assert await cluster.groups.copy() == 0
    assert said == []


@ONE_DATABASE
async def test_what_a_logstore_does_not_keep_goes_from_the_bucket_too(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.create_logstore(Logstore("p", "m", ttl_days=7, shards=1))
    await first.append("p", "m", group("of m"))
    await cluster.groups.bring()
    await first.append("p", "l", group("of l"))
    await cluster.groups.bring()
    await cluster.groups.expire()
    assert len(cluster.objects.held) == 2
    await first.delete_logstore("p", "m")
    await cluster.groups.expire()
    assert len(cluster.objects.held) == 1
    second = await cluster.lead("n2")
    assert await texts(second) == ["of l"]


@ONE_DATABASE
async def test_a_node_that_was_killed_before_its_own_note_has_nothing_twice(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    await cluster.groups.bring()
    await first.close()
    bucket_groups.forget_bucket(cluster.file("n1"))
    again = await cluster.lead("n1")
    await cluster.groups.bring()
    assert await texts(again) == ["1"]
    assert len(cluster.objects.held) == 1


@ONE_DATABASE
async def test_a_writer_that_could_not_note_what_it_had_brought_loses_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))

    def mark(_db: object, _segment: object) -> None:
        raise PlatformError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(bucket_groups, "mark", mark)
        with pytest.raises(PlatformError):
            await cluster.groups.bring()
    await first.append("p", "l", group("2"))
    await cluster.groups.bring()
    second = await cluster.lead("n2")
    assert await texts(second) == ["1", "2"]


@ONE_DATABASE
async def test_small_segments_are_joined_and_the_next_writer_has_the_logs_of_all(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.create_index("p", "l", INDEX)
    for name in ("gone", "m"):
        await first.create_logstore(Logstore("p", name, ttl_days=7, shards=1))
    for number in range(6):
        await first.append("p", "l", group(f"{number}"))
        await first.append("p", ("gone", "m")[number % 2], group(f"other {number}"))
        await cluster.groups.bring()
    await first.delete_logstore("p", "gone")
    assert await cluster.groups.merging.merge() == 6
    (whole,) = await cluster.index.all()
    names = {known.id: known.logstore.name for known in first.metadata.all()}
    assert [(names[part.logstore], part.end - part.first) for part in whole.segment.parts] == [("l", 6), ("m", 3)]
    await first.append("p", "l", group("6"))
    await cluster.groups.bring()
    cluster.objects.fetched = 0
    second = await cluster.lead("n2")
    assert cluster.objects.fetched == 2
    assert await texts(second) == [f"{number}" for number in range(7)]
    assert await second.topics("p", "l", after=None, most=10) == ["t"]
    # Who had them before they were joined fetches nothing.
    with structlog.testing.capture_logs() as said:
        await cluster.lead("n1")
    assert cluster.objects.fetched == 2
    assert said == []


@ONE_DATABASE
async def test_what_a_database_that_was_set_back_does_not_know_is_brought_again(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    for text in ("1", "2"):
        await first.append("p", "l", group(text))
        await cluster.groups.bring()
    await cluster.database.write(lambda c: c.execute(sa.delete(group_segments).where(group_segments.c.number > 1)))
    await cluster.lead("n1")
    await cluster.groups.bring()
    assert await texts(await cluster.lead("n2")) == ["1", "2"]


@ONE_DATABASE
async def test_many_groups_are_several_segments(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_groups, "SEGMENT_BYTES", 100)
    first = await cluster.lead("n1")
    await filled(first)
    for number in range(9):
        await first.append("p", "l", group(f"{number}"))
    await cluster.groups.bring()
    assert 1 < len(cluster.objects.held) < 9
    second = await cluster.lead("n2")
    assert await texts(second) == [f"{number}" for number in range(9)]


@ONE_DATABASE
@pytest.mark.parametrize("gone_first", [True, False])
async def test_what_is_left_of_joined_segments_stays_although_it_is_one_of_them(
    cluster: Cluster, gone_first: bool
) -> None:
    """All logs of the other are of a logstore that is gone: the bytes are those of the one, under the same digest."""
    first = await cluster.lead("n1")
    await filled(first)
    await first.create_logstore(Logstore("p", "gone", ttl_days=7, shards=1))
    for name in ("gone", "l") if gone_first else ("l", "gone"):
        await first.append("p", name, group("kept" if name == "l" else "gone"))
        await cluster.groups.bring()
    await first.delete_logstore("p", "gone")
    assert await cluster.groups.merging.merge() == 2
    (left,) = await cluster.index.all()
    late = SegmentObjects(cluster.database, cluster.objects, lambda: SYSTEM_CLOCKS.wall() + 10 * GIVEN_UP_S)
    await late.clean()
    assert list(cluster.objects.held) == [path_of(left.segment.digest)]
    assert await texts(await cluster.lead("n2")) == ["kept"]
