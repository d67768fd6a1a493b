"""A candidate on its way to the leadership, and what ends it: on a real PostgreSQL.

Run by pytest. Waits for conditions, as a row is renewed each second.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.postgresql import Server

from sesame.cluster.sameness import key_digest, told
from sesame.cluster.seat import OtherSettings, Seat, holder_of_writer
from sesame.model.clocks import SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.store.blobs.ownership import OBJECTS_FILE, require_own_directory
from sesame.store.sql import leadership
from sesame.store.sql.database import Database
from sesame.store.sql.leadership import Leadership, rekey
from sesame.store.sql.migrate import newest_migration
from sesame.store.sql.pairing import PAIR_FILE, Pair, write_pair
from sesame.store.sql.refusals import InUse
from sesame.store.sql.schema import PAIR

PATIENCE_S = 60.0


@pytest.fixture
def database(postgresql_server: Server) -> Iterator[str]:
    name = postgresql_server.create()
    yield name
    postgresql_server.drop(name)


KEY = b"k" * 32


class Process:
    """A candidate's process, as far as its seat goes."""

    def __init__(self, url: str, node: str, place: str = "s3://one") -> None:
        same = {"objects": told(KEY, "objects", place)}
        self.seat = Seat(lambda: Leadership(url, node), node, f"{node}:9011", SystemClocks(), same)
        self.why: list[str] = []
        self.over = threading.Event()
        self.until: list[float] = []

    async def leads(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.seat.wait(self._end, self.until.append)

    def _end(self, why: str) -> None:
        self.why.append(why)
        self.over.set()


Made = Callable[..., Process]


@pytest.fixture
async def process(postgresql_server: Server, database: str) -> AsyncIterator[Made]:
    async with AsyncExitStack() as stack:
        tables = Leadership(postgresql_server.url(database), "makes the tables")
        await tables.open()
        await tables.close()

        def made(node: str, place: str = "s3://one") -> Process:
            process = Process(postgresql_server.url(database), node, place)
            stack.push_async_callback(process.seat.leave)
            return process

        yield made


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a thread, or the server, changes it
            await asyncio.sleep(0.02)


async def test_it_is_renewed_by_a_thread_and_given_back_in_the_end(process: Made) -> None:
    first, second = process("a"), process("b")
    await first.leads()
    assert (first.seat.epoch, first.seat.leads(), first.seat.inherited) == (1, True, [])
    await until(lambda: len(set(first.until)) > 2)
    waiting = asyncio.ensure_future(second.leads())
    await until(lambda: len(set(first.until)) > 4)
    assert not waiting.done(), "the row changes"
    await first.seat.leave()
    assert first.until[-1] == 0.0, "the supervisor need not end it any more"
    await waiting
    assert (second.seat.epoch, second.seat.inherited) == (2, [])
    assert not first.why


async def test_one_that_finds_a_newer_epoch_ends(process: Made, postgresql_server: Server, database: str) -> None:
    first = process("a")
    await first.leads()
    postgresql_server.sql("UPDATE cluster_leadership SET epoch = 7, node = 'b'", database)
    await until(first.over.is_set)
    assert "epoch 1 is over" in first.why[0]


async def test_one_that_is_killed_is_inherited_by_another_node_and_led_again_by_its_own(
    process: Made, postgresql_server: Server, database: str
) -> None:
    first = process("a")
    await first.leads()
    again = process("a")
    await again.leads()
    assert again.seat.epoch == 2, "its supervisor has ended the one before"
    # Nobody renews it any more, and its time is that of a clock which was ahead.
    postgresql_server.sql("UPDATE cluster_leadership SET epoch = 3, renewed_at = renewed_at + 3600", database)
    other = process("b")
    await other.leads()
    assert (other.seat.epoch, other.seat.inherited) == (4, [holder_of_writer("a")])


async def test_one_whose_database_a_newer_sesame_has_changed_leaves_the_lead_to_others(
    process: Made, postgresql_server: Server, database: str
) -> None:
    """It would end as soon as it led, and keep those from it that could."""
    old, stands = process("a"), newest_migration()
    postgresql_server.sql("UPDATE alembic_version SET version_num = '9999'", database)
    with capture_logs() as logs:
        waiting = asyncio.ensure_future(old.leads())
        await until(lambda: logs)
    assert "a newer Sesame has changed the database; have it run what is installed" in logs[0]["event"]
    assert (logs[0]["schema"], old.seat.epoch) == ("9999", 0)
    postgresql_server.sql(f"UPDATE alembic_version SET version_num = '{stands}'", database)
    await waiting
    assert old.seat.epoch == 1, "nobody has led meanwhile"


async def test_a_key_is_changed_only_where_a_cluster_has_one(postgresql_server: Server, database: str) -> None:
    with pytest.raises(ConfigurationError, match="no cluster has used the database"):
        await asyncio.to_thread(rekey, postgresql_server.url(database), key_digest(KEY))


async def test_one_with_another_key_is_refused_until_all_nodes_have_stopped_and_the_key_is_changed(
    process: Made, postgresql_server: Server, database: str
) -> None:
    ours, theirs, url = key_digest(KEY), key_digest(b"o" * 32), postgresql_server.url(database)
    first, other = process("a"), process("b")
    await first.seat.belong(ours)
    await first.leads()
    for led in (True, False):
        with pytest.raises(ConfigurationError, match=r"is that of a cluster with another key.*sesame cluster rekey"):
            await other.seat.belong(theirs)
        if led:
            with pytest.raises(InUse, match=r"is that of a cluster, which node 'a' at a:9011 has led .* stop all its"):
                await asyncio.to_thread(rekey, url, theirs)
            await first.seat.leave()
    await asyncio.to_thread(rekey, url, theirs)
    await other.seat.belong(theirs)
    with pytest.raises(ConfigurationError, match="another key"):
        await process("c").seat.belong(ours)


@pytest.mark.thorough
async def test_one_with_other_settings_is_refused_while_others_may_lead(process: Made) -> None:
    first, other = process("a"), process("b", "s3://two")
    await first.seat.belong(key_digest(KEY))
    await first.leads()
    with pytest.raises(OtherSettings, match='objects is "s3://two" on b and "s3://one" on a') as refused:
        await other.seat.belong(key_digest(KEY))
    assert refused.value.leader.address == "a:9011"
    await first.seat.leave()
    await other.seat.belong(key_digest(KEY))
    await other.leads()
    assert other.seat.leads(), "the first one has resigned: all have stopped, and settings may change"
    late = process("c")
    with pytest.raises(OtherSettings):
        await late.leads()


@pytest.mark.thorough
async def test_settings_of_a_leader_that_is_lost_are_forgotten_after_a_while(
    process: Made, postgresql_server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sesame.cluster.seat.FORGOTTEN_S", 2.0)
    first, other = process("a"), process("b", "s3://two")
    await first.seat.belong(key_digest(KEY))
    await first.leads()
    postgresql_server.sql("UPDATE cluster_leadership SET epoch = 2, node = 'lost'", database)
    await other.seat.belong(key_digest(KEY))
    await other.leads()


async def test_a_sesame_of_no_cluster_and_a_cluster_have_no_database_together(
    process: Made, postgresql_server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "TABLES_PATIENCE_S", 0.5)
    alone, node = Database(postgresql_server.url(database), "/var/lib/sesame"), process("a")
    await alone.open()
    with pytest.raises(InUse, match="which is of no cluster: stop that one"):
        await node.seat.belong(key_digest(KEY))
    await alone.close()
    await node.seat.belong(key_digest(KEY))
    await node.leads()
    again = Database(postgresql_server.url(database), "/var/lib/sesame")
    with pytest.raises(InUse, match="is that of a cluster, which node 'a' at a:9011 has led"):
        await again.open()
    await again.close()
    await node.seat.leave()
    again = Database(postgresql_server.url(database), "/var/lib/sesame")
    await again.open()
    await again.close()


async def test_a_data_directory_of_another_database_is_refused_before_its_node_may_lead(
    process: Made, postgresql_server: Server, database: str, tmp_path: Path
) -> None:
    leadership, shown = process("a").seat.leadership, "postgresql://one"
    require_own_directory(tmp_path, await leadership.number(), shown)
    postgresql_server.sql(f"INSERT INTO counters VALUES ('{PAIR}', 7)", database)
    for name in (PAIR_FILE, OBJECTS_FILE):
        write_pair(tmp_path / name, Pair("postgresql://one", 7))
        require_own_directory(tmp_path, await leadership.number(), shown)
        write_pair(tmp_path / name, Pair("postgresql://other", 8))
        with pytest.raises(ConfigurationError, match=f"{tmp_path} belongs to postgresql://other, and the database"):
            require_own_directory(tmp_path, await leadership.number(), shown)
        (tmp_path / name).unlink()
