"""`sesame doctor --check` and `sesame backup` at a node of a cluster that does not have all logs. Run by pytest."""

import asyncio
import datetime
import itertools
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from tests.support.data_directory import filled
from tests.support.logstores_of_cluster import INDEX, Cluster, group, texts
from tests.support.logstores_of_cluster import filled as with_logstore
from tests.support.query_processes import query_processes

from sesame._own_logs import rows_of_no_cluster
from sesame.cli.backup import backup
from sesame.data_dir import DataDir
from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.standing import Standing
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.location import parse_location
from sesame.store.logs.file import LogWriter, Row, SourceKey
from sesame.store.logs.lines import Chunk
from sesame.store.logs.logstores.interface import Query as LogQuery
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.shared import progress
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.objects import FOLDER, SegmentObjects, path_of
from sesame.store.logs.shared.sealing import Sealing
from sesame.store.sql.database import Database
from sesame.store.upkeep import check_bucket, cluster_logs
from sesame.store.upkeep.backup import back_up, restore
from sesame.store.upkeep.check import check
from sesame.store.upkeep.cluster_logs import Rows, read_rows
from sesame.store.upkeep.damage import Checked, Damage

SOURCE = SourceKey("s", "f", "1", "c-1", "", "")


class Node(NamedTuple):
    """A node that does not lead: its data directory, its cluster's bucket, and the segments there."""

    data_dir: DataDir
    bucket: Bucket
    lines: list[str]
    groups: list[str]


def write(path: Path, at: int, *lines: str) -> LogWriter:
    writer = LogWriter(path, at)
    writer.open()
    writer.write([Row(SOURCE, f"r-{line}", Chunk(1_000, None, f"{line}\n".encode())) for line in lines], 1_000)
    return writer


async def lead(data_dir: DataDir, url: str, folder: Path) -> Node:
    """Another node leads: it writes two lines and two groups, each in a segment."""
    database, bucket = Database(data_dir.database), Bucket(parse_location(url))
    await database.open()
    index = SegmentIndex(database, 1, SYSTEM_CLOCKS.wall)
    objects = SegmentObjects(database, bucket, SYSTEM_CLOCKS.wall)
    lines: list[str] = []
    # This one led before, and has a line that is in no segment yet.
    write(data_dir.logs, (await index.reserve()).next_id, "own").close()
    at = (await index.reserve()).next_id
    for text in ("1", "2"):
        with closing(write(folder / "logs.db", at, text)) as writer:
            sealing = Sealing(writer)
            sealed = sealing.next()
            assert sealed is not None
            sealing.mark([sealed.segment.ids])
        await objects.put(sealed.segment.digest, sealed.data)
        await index.add(sealed.segment)
        lines.append(sealed.segment.digest)
    async with AsyncExitStack() as stack:
        cluster = Cluster(database, folder, stack)
        cluster.objects = bucket  # type: ignore[assignment]
        first = await cluster.lead("n1")
        await with_logstore(first)
        await first.create_index("p", "l", INDEX)
        for text in ("1", "2"):
            await first.append("p", "l", group(text))
            await cluster.groups.bring()
        groups = [each.segment.digest for each in await cluster.index.all()]
    await database.close()
    return Node(data_dir, bucket, lines, groups)


@pytest.fixture
def node(tmp_path: Path, s3_url: str) -> Node:
    (tmp_path / "leader").mkdir()
    return asyncio.run(lead(filled(tmp_path / "data", None, s3_url), s3_url, tmp_path / "leader"))


def damage_of(data_dir: DataDir, checked: Checked | None = None) -> list[Damage]:
    return [each for each in check(data_dir, checked or Checked(), running=False) if not each.harmless]


def texts_of(data_dir: DataDir) -> list[str]:
    return [line.text for line in LogReader(data_dir.logs).read(Query())]


async def groups_of(data_dir: DataDir) -> tuple[list[str], int]:
    """Logs of the logstore, as a Sesame that starts on it pulls them, and how many a query finds."""
    database = Database(data_dir.database)
    await database.open()
    shared = await rows_of_no_cluster(database, data_dir.logstores, SYSTEM_CLOCKS)
    storage = LogStorage(
        data_dir.logstores, data_dir.segments, SYSTEM_CLOCKS, query_processes(), durable=False, shared=shared
    )
    await storage.open()
    try:
        await storage.append("p", "l", group("new"))
        found = await storage.histogram("p", "l", LogQuery("", 0, 2_000_000_000))
        return await texts(storage), sum(bar.count for bar in found)
    finally:
        await storage.close()
        await database.close()


def test_a_backup_of_a_node_that_does_not_lead_has_the_logs_of_all(node: Node, tmp_path: Path) -> None:
    back_up(node.data_dir, tmp_path / "backup")
    # The node's own files are as they were.
    assert texts_of(node.data_dir) == ["own"]
    assert not node.data_dir.logstores.exists()
    restored = DataDir(tmp_path / "restored")
    restore(tmp_path / "backup", restored)
    assert damage_of(restored) == []
    assert texts_of(restored) == ["own", "1", "2"]
    assert asyncio.run(groups_of(restored)) == (["1", "2", "new"], 3)


def led(data_dir: DataDir, node: str) -> None:
    """By a process of this name."""
    with closing(sqlite3.connect(data_dir.database)) as db, db:
        columns = "name, epoch, node, address, renewed_at"
        db.execute(f"INSERT INTO cluster_leadership ({columns}) VALUES ('leadership', 7, ?, '', 0)", (node,))


async def bring(node: Node, number: int, text: str = "") -> None:
    """As the node that leads: a line, if any, and up to when all are there."""
    database = Database(node.data_dir.database)
    await database.open()
    index = SegmentIndex(database, 7, SYSTEM_CLOCKS.wall)
    if text:
        at = (await index.reserve()).next_id
        with closing(write(node.data_dir.path.parent / f"late-{number}.db", at, text)) as writer:
            sealed = Sealing(writer).next()
            assert sealed is not None
        await SegmentObjects(database, node.bucket, SYSTEM_CLOCKS.wall).put(sealed.segment.digest, sealed.data)
        await index.add(sealed.segment)
    for name in (progress.LINES, progress.GROUPS):
        await progress.teller(database, name)(1_000_000.0 + number)
    await database.close()


def test_a_backup_waits_for_what_the_node_that_leads_has_not_brought_yet(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    led(node.data_dir, "other")
    rounds = itertools.count(1)

    def brings(_pause_s: float) -> None:
        """What was under way when the backup began, and then what was written before it did."""
        number = next(rounds)
        asyncio.run(bring(node, number, "late" if number == 2 else ""))

    monkeypatch.setattr(cluster_logs, "pause", brings)
    manifest = back_up(node.data_dir, tmp_path / "backup")
    assert (manifest.logs_until, manifest.logs_late) == (1_000_002.0, False)
    restored = DataDir(tmp_path / "restored")
    restore(tmp_path / "backup", restored)
    assert texts_of(restored) == ["own", "1", "2", "late"]


def test_a_backup_says_up_to_when_logs_are_in_it_where_the_node_that_leads_brings_none(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    led(node.data_dir, "other")
    asyncio.run(bring(node, 1))
    monkeypatch.setattr(cluster_logs, "BROUGHT_WITHIN_S", 0.0)
    target = str(tmp_path / "backup")
    flags = ["--data-dir", str(node.data_dir.path), "--objects", str(node.data_dir.bucket)]
    done = CliRunner().invoke(backup, [target, *flags])
    assert done.exit_code == 0, done.output
    at = datetime.datetime.fromtimestamp(1_000_001).astimezone()
    said = " ".join(done.stderr.split())
    assert f"The logs of the cluster are in it up to {at:%Y-%m-%d %H:%M:%S %z} only: the node that leads" in said


def test_where_a_node_leads_itself_or_none_does_its_backup_waits_for_nobody(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_pause_s: float) -> None:
        raise AssertionError

    monkeypatch.setattr(cluster_logs, "pause", never)
    led(node.data_dir, "")
    assert cluster_logs.until_brought(node.data_dir) == cluster_logs.Brought(0.0, late=True)
    with closing(sqlite3.connect(node.data_dir.database)) as db, db:
        db.execute("UPDATE cluster_leadership SET node = 'this'")
    node.data_dir.stand(Standing(node="this"))
    found = cluster_logs.until_brought(node.data_dir)
    assert found is not None
    assert not found.late


def test_a_segment_that_is_lost_is_named_and_costs_its_own_lines_alone(node: Node, tmp_path: Path) -> None:
    asyncio.run(node.bucket.delete([path_of(node.lines[0]), path_of(node.groups[1])]))
    done = CliRunner().invoke(
        backup,
        [str(tmp_path / "backup"), "--data-dir", str(node.data_dir.path), "--objects", str(node.data_dir.bucket)],
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert f"Not copied: segment {node.lines[0]} of lines of functions: it is not in the bucket" in said
    assert f"Not copied: segment {node.groups[1]} of logs of p/l: it is not in the bucket" in said
    restored = DataDir(tmp_path / "restored")
    restore(tmp_path / "backup", restored)
    own, note, last = texts_of(restored)
    assert (own, last) == ("own", "2")
    assert note.startswith("[sesame] lines of about 1 s are missing here")
    assert asyncio.run(groups_of(restored))[0] == ["1", "new"]


def test_a_check_names_segments_that_are_lost_and_those_that_nothing_mentions(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Checked()
    assert damage_of(node.data_dir, checked) == []
    assert checked.log_segments == 4

    async def damage() -> None:
        data = (await node.bucket.get(path_of(node.groups[0]))).data
        await node.bucket.delete([path_of(node.lines[1])])
        await node.bucket.put(path_of(node.groups[0]), data + b"x")
        await node.bucket.put(path_of("feed"), b"x")

    # What a running node has just put may get its row yet.
    monkeypatch.setattr(check_bucket, "IN_FLIGHT_S", -60.0)
    asyncio.run(damage())
    reads: list[DataDir] = []

    def counted(paths: DataDir) -> Rows:
        reads.append(paths)
        return read_rows(paths)

    monkeypatch.setattr(cluster_logs, "read_rows", counted)
    lost, damaged, unnamed = damage_of(node.data_dir)
    # However many are damaged.
    assert len(reads) == 1
    assert lost.what.startswith(f"segment {node.lines[1]} of logs in s3://")
    assert lost.what.endswith("with lines of s/f from 1970-01-01T00:00:01Z on: it is not in the bucket")
    assert f"segment {node.groups[0]} of logs in" in damaged.what
    assert "with logs of p/l: it is damaged: its " in damaged.what
    assert unnamed.what == "1 segments of logs that no row of the database mentions: feed"


def test_what_another_node_joins_or_deletes_during_a_check_is_no_damage(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_joined(paths: DataDir) -> Rows:
        rows = read_rows(paths)
        if asyncio.run(node.bucket.listing(FOLDER)):
            with closing(sqlite3.connect(paths.database)) as db, db:
                db.execute("DELETE FROM log_segments")
                db.execute("DELETE FROM group_segments")
            asyncio.run(node.bucket.delete([path_of(digest) for digest in (*node.lines, *node.groups)]))
        return rows

    monkeypatch.setattr(check_bucket, "read_rows", then_joined)
    assert damage_of(node.data_dir) == []


def test_a_database_of_no_cluster_has_no_logs_in_its_bucket(tmp_path: Path, s3_url: str) -> None:
    back_up(filled(tmp_path / "data", None, s3_url), tmp_path / "backup")
    assert not list((tmp_path / "backup").glob("logs*"))
