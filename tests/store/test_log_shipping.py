"""A node's log gets into a bucket and from there into that of the next writer. Real processes write the files.

Run by pytest.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
from tests.support.databases import ONE_DATABASE
from tests.support.objects_in_memory import Objects

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.errors import PlatformError
from sesame.store.blobs.bucket import Piece
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.shared import loops
from sesame.store.logs.shared.copying import Copying
from sesame.store.logs.shared.index import SegmentIndex
from sesame.store.logs.shared.loops import Bringing
from sesame.store.logs.shared.merging import How, Merging
from sesame.store.logs.shared.objects import SegmentObjects, path_of
from sesame.store.logs.shared.segment import SEGMENT_BYTES, Damaged, Segment, follow
from sesame.store.logs.shared.shipping import Shipping
from sesame.store.logs.writer import LogWriterProcess
from sesame.store.sql.database import Database

pytestmark = ONE_DATABASE


class Source:
    """What `Logs.append` asks of an instance."""

    service, version_id, log_project, logstore, qualifier = "demo", "LATEST", "", "", ""

    def __init__(self, function: str) -> None:
        self.function = function
        self.instance_id = f"c-{function}"


class Writer:
    """What the writer of a cluster has of the log."""

    def __init__(
        self,
        logs: Logs,
        process: LogWriterProcess,
        shipping: Shipping,
        copying: Copying,
        merging: Merging[Segment],
        path: Path,
    ) -> None:
        self.logs = logs
        self.process = process
        self.shipping = shipping
        self.copying = copying
        self.merging = merging
        self.bringing = Bringing(shipping.ship, "lines of functions", SYSTEM_CLOCKS, self._tell)
        self.told: list[float] = []
        self.path = path

    async def _tell(self, at: float) -> None:
        self.told.append(at)

    async def write(self, *texts: str, function: str = "f") -> None:
        for text in texts:
            self.logs.append(Source(function), f"r-{text}", f"{text}\n".encode())
        await self.logs.flush()

    def texts(self) -> list[str]:
        return [line.text for line in LogReader(self.path).read(Query())]


class Cluster:
    """Nodes that lead one after the other."""

    def __init__(self, database: Database, objects: Objects, folder: Path, stack: AsyncExitStack) -> None:
        self.objects = objects
        self._database = database
        self._folder = folder
        self._stack = stack
        self._epoch = 0

    async def lead(self, node: str, retention: Retention | None = None) -> Writer:
        self._epoch += 1
        index = SegmentIndex(self._database, self._epoch, SYSTEM_CLOCKS.wall)
        objects = SegmentObjects(self._database, self.objects, SYSTEM_CLOCKS.wall)
        numbering = await index.reserve()
        limits = retention or Retention()
        made: list[LogWriterProcess] = []
        path = self._folder / f"{node}.db"

        def writer(path: Path, total_bytes: int, age_s: float, on_settled: Callable[[int], None]) -> LogWriterProcess:
            made.append(LogWriterProcess(path, total_bytes, age_s, on_settled, numbering=numbering))
            return made[0]

        logs = Logs(path, limits, writer=writer)
        await logs.open()
        self._stack.push_async_callback(logs.close)
        return Writer(
            logs,
            made[0],
            Shipping(made[0], index, objects, limits, SYSTEM_CLOCKS),
            Copying(made[0], index, objects, limits),
            Merging(index, objects, How(SEGMENT_BYTES, follow, made[0].join)),
            path,
        )


@pytest.fixture
async def cluster(database: Database, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(database, Objects(), tmp_path, stack)


async def test_the_next_writer_shows_what_the_one_before_wrote(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await first.write("1")
    await first.shipping.ship()
    await first.write("2", "3")
    await first.shipping.ship()
    assert len(cluster.objects.held) == 2
    second = await cluster.lead("n2")
    await second.write("4")
    assert await second.copying.copy() == 2
    assert second.texts() == ["1", "2", "3", "4"]
    # Nothing is fetched twice, and nothing is put twice.
    assert await second.copying.copy() == 0
    await second.shipping.ship()
    assert len(cluster.objects.held) == 3
    third = await cluster.lead("n3")
    assert await third.copying.copy() == 3
    assert third.texts() == ["1", "2", "3", "4"]


async def test_lines_that_a_lost_writer_had_not_brought_away_are_there_once_it_leads_again(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await first.write("1")
    await first.shipping.ship()
    await first.write("late")
    await first.logs.close()
    second = await cluster.lead("n2")
    await second.copying.copy()
    await second.write("2")
    await second.shipping.ship()
    assert second.texts() == ["1", "2"]
    again = await cluster.lead("n1")
    await again.shipping.ship()
    assert await again.copying.copy() == 1
    assert again.texts() == ["1", "late", "2"]
    third = await cluster.lead("n3")
    assert await third.copying.copy() == 3
    assert third.texts() == ["1", "late", "2"]


async def test_a_crash_between_the_bucket_and_the_nodes_own_note_puts_nothing_twice(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    await first.write("1")
    sealed = await first.process.seal([])
    assert sealed is not None
    await first.shipping.ship()
    await first.logs.close()
    first.path.unlink()
    # The file as it was before the note: with the rows, and without the mark.
    again = await cluster.lead("n1")
    await again.process.take(sealed.segment, sealed.data)
    await again.shipping.ship()
    assert list(cluster.objects.held) == [path_of(sealed.segment.digest)]


async def test_while_the_bucket_is_away_lines_wait_in_the_file(cluster: Cluster) -> None:
    writer = await cluster.lead("n1")
    cluster.objects.away = True
    with structlog.testing.capture_logs() as said:
        for text in ("1", "2"):
            await writer.write(text)
            await writer.bringing.attempt()
    assert [each["event"] for each in said] == ["lines of functions do not get into the bucket; trying again"]
    assert writer.texts() == ["1", "2"]
    cluster.objects.away = False
    await writer.bringing.attempt()
    (held,) = cluster.objects.held.values()
    assert held
    second = await cluster.lead("n2")
    await second.copying.copy()
    assert second.texts() == ["1", "2"]


async def test_at_a_stop_the_last_line_is_brought_too_though_it_has_no_newline(cluster: Cluster) -> None:
    writer = await cluster.lead("n1")
    writer.logs.append(Source("f"), "r", b"whole\nlast words")
    await writer.bringing.close(writer.logs.end_lines)
    second = await cluster.lead("n2")
    await second.copying.copy()
    assert second.texts() == ["whole", "last words"]
    await writer.logs.close()
    assert writer.texts() == ["whole", "last words"]


async def test_a_stop_does_not_wait_for_a_writing_process_that_hangs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await cluster.lead("n1")
    os.kill(writer.process.pid, signal.SIGSTOP)
    writer.logs.append(Source("f"), "r", b"last words\n")
    monkeypatch.setattr(loops, "STOP_PATIENCE_S", 0.1)
    with structlog.testing.capture_logs() as said:
        await asyncio.wait_for(writer.bringing.close(writer.logs.end_lines), 10)
    assert ["get there when this node leads again" in each["event"] for each in said] == [True]
    os.kill(writer.process.pid, signal.SIGCONT)
    await writer.logs.close()
    assert writer.texts() == ["last words"]


async def test_a_missing_and_a_damaged_segment_cost_their_own_lines_alone(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    for text in ("1", "2", "3", "4"):
        await first.write(text)
        await first.shipping.ship()
    paths = list(cluster.objects.held)
    del cluster.objects.held[paths[1]]
    cluster.objects.held[paths[2]] = b"x"
    second = await cluster.lead("n2")
    with structlog.testing.capture_logs() as said:
        await second.copying.copy()
    assert [each["event"] for each in said] == ["a segment of the log of functions is lost"] * 2
    texts = second.texts()
    assert (texts[0], texts[3]) == ("1", "4")
    assert texts[1].endswith("cannot be read: it is not in the bucket")
    assert "cannot be read: it is damaged: its 1 bytes have the SHA-256 " in texts[2]
    assert await second.copying.copy() == 0


async def test_what_is_deleted_while_it_is_copied_is_not_said_to_be_lost(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await cluster.lead("n1")
    for text in ("1", "2"):
        await first.write(text)
        await first.shipping.ship()
    second = await cluster.lead("n2", Retention(age_s=-1.0))
    get = cluster.objects.get

    async def expire_first(path: str) -> Piece:
        await second.shipping.expire()
        return await get(path)

    monkeypatch.setattr(cluster.objects, "get", expire_first)
    with structlog.testing.capture_logs() as said:
        assert await second.copying.copy() == 0
    assert said == []
    assert second.texts() == []


async def test_what_the_process_joins_is_fetched_once_and_only_by_who_lacks_it(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    texts = [f"{number}" for number in range(8)]
    for text in texts:
        await first.write(text, function=f"f{text}")
        await first.shipping.ship()
    behind = await cluster.lead("n2")
    assert await behind.copying.copy() == 8
    again = await cluster.lead("n1")
    assert await again.merging.merge() == 8
    await again.write("last")
    await again.shipping.ship()
    cluster.objects.fetched = 0
    assert await (await cluster.lead("n2")).copying.copy() == 1
    new = await cluster.lead("n3")
    assert await new.copying.copy() == 2
    assert cluster.objects.fetched == 3
    assert new.texts() == [*texts, "last"]
    assert LogReader(new.path).functions() == sorted(("demo", f"f{each}") for each in (*texts, ""))


async def test_the_process_says_which_segment_cannot_be_joined(cluster: Cluster) -> None:
    writer = await cluster.lead("n1")
    await writer.write("1")
    sealed = await writer.process.seal([])
    assert sealed is not None
    with pytest.raises(Damaged, match=f"segment {sealed.segment.digest}: it is damaged: its 1 bytes have the SHA-256"):
        await writer.process.join([sealed.segment], [b"x"])
    assert await writer.process.join([sealed.segment], [sealed.data]) == (sealed.segment, sealed.data)


async def test_no_more_is_copied_than_the_settings_keep(cluster: Cluster) -> None:
    first = await cluster.lead("n1")
    for text in ("1", "2", "3"):
        await first.write(text * 100)
        await first.shipping.ship()
    second = await cluster.lead("n2", Retention(total_bytes=250))
    assert await second.copying.copy() == 2
    assert cluster.objects.fetched == 2
    assert second.texts() == ["2" * 100, "3" * 100]


async def test_what_is_too_old_is_deleted_in_the_bucket(cluster: Cluster) -> None:
    writer = await cluster.lead("n1", Retention(age_s=-1.0))
    await writer.write("1")
    await writer.shipping.ship()
    assert len(cluster.objects.held) == 1
    cluster.objects.away = True
    with pytest.raises(PlatformError):
        await writer.shipping.expire()
    # The row is gone, and the object goes as soon as the bucket answers.
    cluster.objects.away = False
    await writer.shipping.expire()
    assert cluster.objects.held == {}


async def test_who_asks_a_process_that_ends_is_told(cluster: Cluster) -> None:
    writer = await cluster.lead("n1")
    asked = asyncio.ensure_future(writer.process.seal([]))
    await asyncio.sleep(0)
    await writer.logs.close()
    assert (await asked) is None
    with pytest.raises(PlatformError, match="the log writer process has ended"):
        await writer.process.seal([])
