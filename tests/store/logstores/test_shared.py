"""A cluster's Log Service has its projects, logstores, indexes and consumers wherever its writer is. Run by pytest."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support.databases import ONE_DATABASE
from tests.support.logstores_of_cluster import INDEX, Cluster, filled, group, texts

from sesame.model.errors import AlreadyExists, PlatformError
from sesame.model.logstore import LogProject, Logstore
from sesame.store.logs.logstores import shared_changes
from sesame.store.logs.logstores.interface import ConsumerGroup
from sesame.store.logs.logstores.shared import GROUPS_COUNT, IDS_COUNT, LINEAGE
from sesame.store.sql import sqlite_file
from sesame.store.sql.database import Database
from sesame.store.sql.schema import counters


@pytest.fixture
async def cluster(database: Database, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(database, tmp_path / "nodes", stack)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()


@pytest.mark.parametrize("place", ["sqlite", "postgresql"], indirect=True)
async def test_the_next_writer_has_what_the_one_before_had(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.create_index("p", "l", INDEX)
    await first.create_group("p", "l", ConsumerGroup("g", 60))
    await first.append("p", "l", group("1"))
    end = await first.cursor("p", "l", 0, "end")
    await first.set_checkpoint("p", "l", "g", 0, end)
    await first.split_shard("p", "l", 0)
    await first.reader_cursors.set("p", "l", "service:trigger", {0: end})

    second = await cluster.lead("n2")
    assert [each.description for each in await second.projects()] == ["a shop"]
    assert await second.logstore("p", "l") == await first.logstore("p", "l")
    assert (await second.index("p", "l")).line == INDEX.line
    assert await second.groups("p", "l") == [ConsumerGroup("g", 60)]
    assert (await second.checkpoints("p", "l", "g"))[0].cursor == end
    assert await second.reader_cursors.get("p", "l", "service:trigger") == {0: end}
    # A reader goes on from where it was.
    assert await texts(second, end) == []
    for _ in range(2):
        await second.append("p", "l", group("2"))
    pulled = [text for shard in (1, 2) for each in (await second.pull("p", "l", shard, end, 10)).groups
              for text in (each.records[0].contents[0][1],)]  # fmt: skip
    assert pulled == ["2", "2"]

    # Where the lines of before are, those of both are in order.
    await second.delete_group("p", "l", "g")
    await second.create_project(LogProject("q"))
    again = await cluster.lead("n1")
    assert await texts(again) == ["1"]
    assert await again.groups("p", "l") == []
    assert [each.name for each in await again.projects()] == ["p", "q"]


@ONE_DATABASE
async def test_numbers_are_given_once(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    second = await cluster.lead("n2")
    await second.create_logstore(Logstore("p", "m", ttl_days=7))
    ids = {known.logstore.name: known.id for known in second.metadata.all()}
    assert ids["m"] > ids["l"] + IDS_COUNT // 4
    assert await second.cursor("p", "l", 0, "end") >= GROUPS_COUNT
    third = await cluster.lead("n3")
    assert await third.cursor("p", "l", 0, "end") >= await second.cursor("p", "l", 0, "end") + GROUPS_COUNT // 4


@ONE_DATABASE
async def test_a_database_that_was_set_back_gives_no_number_again(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    end = await first.cursor("p", "l", 0, "end")
    await cluster.database.write(lambda c: c.execute(sa.delete(counters).where(counters.c.name != LINEAGE)))
    cluster.later_s = 60.0
    second = await cluster.lead("n2")
    await second.create_logstore(Logstore("p", "m", ttl_days=7))
    assert await second.cursor("p", "l", 0, "end") >= end
    ids = {known.logstore.name: known.id for known in second.metadata.all()}
    assert ids["m"] > ids["l"]


@ONE_DATABASE
async def test_what_was_deleted_elsewhere_goes_here_too_with_its_logs(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    second = await cluster.lead("n2")
    await second.delete_project("p")
    await filled(second)
    again = await cluster.lead("n1")
    assert await texts(again) == []
    await again.expire()
    assert (await again.kept()).lines == 0


@ONE_DATABASE
async def test_what_a_node_had_before_the_cluster_is_the_first_ones_alone(cluster: Cluster) -> None:
    for node in ("n1", "n2"):
        alone = await cluster.alone(node)
        await filled(alone)
        await alone.append("p", "l", group(f"of {node}"))
        await alone.close()
    first = await cluster.lead("n1")
    assert await texts(first) == ["of n1"]
    second = await cluster.lead("n2")
    assert await texts(second) == []
    assert (await second.logstore("p", "l")) == (await first.logstore("p", "l"))
    aside = cluster.file("n2").parent / "quarantine" / "logs" / "logstores.db.1"
    assert aside.exists()
    again = await cluster.lead("n1")
    assert await texts(again) == ["of n1"]


@contextlib.contextmanager
def away(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, commits: bool = False) -> Iterator[None]:
    """The database answers no write; with `commits`, it makes them."""
    write = cluster.database.write

    async def refuse(act: Callable[[sa.Connection], object]) -> None:
        if commits:
            await write(act)
        raise PlatformError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(cluster.database, "write", refuse)
        yield


@ONE_DATABASE
@pytest.mark.parametrize("commits", [False, True])
async def test_a_change_that_the_database_does_not_take_is_not_made(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    await first.create_group("p", "l", ConsumerGroup("g", 60))
    with away(cluster, monkeypatch, commits=commits):
        for change in (
            first.create_project(LogProject("q")),
            first.create_logstore(Logstore("p", "m", ttl_days=7)),
            first.create_index("p", "l", INDEX),
            first.update_logstore(Logstore("p", "l", ttl_days=9)),
            first.set_checkpoint("p", "l", "g", 0, 1),
            first.delete_group("p", "l", "g"),
            first.delete_logstore("p", "l"),
            first.delete_project("p"),
        ):
            with pytest.raises(PlatformError, match="is away"):
                await change
        # Logs do not wait for it.
        await first.append("p", "l", group("2"))
    await first.expire()
    assert await texts(first) == ["1", "2"]
    assert await first.topics("p", "l", after=None, most=10) == ["t"]
    assert (await first.logstore("p", "l")).ttl_days == 7
    assert [each.cursor for each in await first.checkpoints("p", "l", "g")] == [None]
    # Each may be asked for again. With the next one the database has what the file has.
    await first.create_project(LogProject("r"))
    second = await cluster.lead("n2")
    assert [each.name for each in await second.projects()] == ["p", "r"]
    assert await second.groups("p", "l") == [ConsumerGroup("g", 60)]
    await second.create_project(LogProject("q"))
    await second.create_logstore(Logstore("p", "m", ttl_days=7))
    await second.create_index("p", "l", INDEX)


@ONE_DATABASE
async def test_what_the_database_took_without_an_answer_is_set_right_without_another_change(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await cluster.lead("n1")
    with away(cluster, monkeypatch, commits=True), pytest.raises(PlatformError, match="is away"):
        await first.create_project(LogProject("p"))
    await cluster.rows.tell_numbers()
    assert await (await cluster.lead("n2")).projects() == []


@ONE_DATABASE
async def test_a_change_that_the_file_does_not_take_is_taken_back_from_the_database(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await cluster.lead("n1")

    def full(*_arguments: object) -> None:
        raise sqlite_file.Error("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(shared_changes, "apply", full)
        with pytest.raises(PlatformError, match="the disk is full"):
            await first.create_project(LogProject("p"))
    assert await first.projects() == []
    second = await cluster.lead("n2")
    assert await second.projects() == []
    await second.create_project(LogProject("p"))


@ONE_DATABASE
async def test_of_changes_that_wait_together_each_gets_its_own_answer(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    answers = await asyncio.gather(
        *(first.create_project(LogProject(name)) for name in ("a", "b", "a", "c")), return_exceptions=True
    )
    assert [type(each) for each in answers] == [type(None), type(None), AlreadyExists, type(None)]
    gone = asyncio.ensure_future(first.create_project(LogProject("d")))
    await asyncio.sleep(0)
    gone.cancel()
    await first.close()
    second = await cluster.lead("n2")
    assert [each.name for each in await second.projects()] == ["a", "b", "c", "d"]


@ONE_DATABASE
async def test_changes_of_many_at_a_time_are_all_there(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await filled(first)
    await asyncio.gather(*(first.create_logstore(Logstore("p", f"l{n}", ttl_days=1)) for n in range(20)))
    await asyncio.gather(*(first.delete_logstore("p", f"l{n}") for n in range(0, 20, 2)))
    second = await cluster.lead("n2")
    assert await second.logstores("p") == await first.logstores("p")
    found = await cluster.database.read(lambda c: c.execute(sa.text("SELECT count(*) FROM log_service")).scalar())
    assert found == 12


@ONE_DATABASE
async def test_what_changes_while_no_node_runs_is_the_clusters_too(cluster: Cluster) -> None:
    """A Sesame of no cluster has its database meanwhile, such as one that is restored, or that replaces a node."""
    first = await cluster.lead("n1")
    await filled(first)
    await first.append("p", "l", group("1"))
    await cluster.groups.bring()
    await first.close()
    alone = await cluster.alone("n1")
    await alone.create_logstore(Logstore("p", "m", ttl_days=7, shards=1))
    await alone.append("p", "l", group("2"))
    await alone.close()
    again = await cluster.lead("n1")
    await cluster.groups.bring()
    assert [each.name for each in await again.logstores("p")] == ["l", "m"]
    assert await texts(again) == ["1", "2"]
    await again.close()
    second = await cluster.lead("n2")
    assert [each.name for each in await second.logstores("p")] == ["l", "m"]
    assert await texts(second) == ["1", "2"]
