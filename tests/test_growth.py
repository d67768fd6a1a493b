"""What callers can make more of, such as functions, instances and names, does not stay in memory for ever.

Run by pytest. Each test does the same with ever new names, and measures what is still allocated afterwards.
"""

import asyncio
import contextlib
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs
from tests.support.fakes import FakeClocks

from sesame.agents import written
from sesame.agents.written import Written
from sesame.engine.invocation_log import LogSource
from sesame.model.logstore import LogRecord
from sesame.sandbox.interface import ImageRoot
from sesame.sandbox.jail import images as jail_images
from sesame.sandbox.jail import mounts
from sesame.sandbox.jail.idmaps import IdMaps
from sesame.store.logs.file import LogWriter, Row, SourceKey
from sesame.store.logs.lines import whole_chunk
from sesame.store.logs.logstores import consumers, metric_rows, segment_files
from sesame.store.logs.logstores.consumers import Membership
from sesame.store.logs.logstores.instance_metrics import InstanceMetrics
from sesame.store.logs.logstores.segment_files import SegmentFiles, checksum_of
from sesame.store.packages import compiling
from sesame.store.packages.compiling import CompileQueue
from sesame.triggers.due_times import SPARE, DueTimes

TIMES = 400
# What may be left of one name: less than the name itself takes.
LEFT_BYTES = 25


async def left_bytes(use: Callable[[int], Awaitable[object] | None]) -> float:
    """How many bytes each of TIMES uses with a new number leaves, after as many before."""
    before = 0
    tracemalloc.start()
    try:
        for number in range(2 * TIMES):
            if number == TIMES:
                before, _peak = tracemalloc.get_traced_memory()
            if (using := use(number)) is not None:
                await using
        after, _peak = tracemalloc.get_traced_memory()
        return (after - before) / TIMES
    finally:
        tracemalloc.stop()


async def test_rows_of_instance_metrics_that_followers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_rows, "WAITING_MAX", TIMES // 2)
    written_rows: list[metric_rows.Row] = []

    class Rows:
        async def write(self, _topic: str, rows: Sequence[metric_rows.Row]) -> None:
            written_rows.extend(rows)

    metrics = InstanceMetrics(cast(Any, Rows()), list, FakeClocks())

    def send(number: int) -> None:
        metrics.add([(SourceKey("s", "f", "1", f"c-{number}", "p", "l"), LogRecord(number, 0, ()))])

    assert await left_bytes(send) < LEFT_BYTES
    with capture_logs() as said:
        await metrics.write()
    assert len(written_rows) == TIMES // 2
    assert [each["rows"] for each in said] == [2 * TIMES - TIMES // 2]


def test_short_lines_of_a_follower_without_a_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "BYTES_MAX", 10_000)
    writes = Written(lambda: None)
    for number in range(TIMES):
        writes.wrote(LogSource("s", "f", "1", f"c-{number}", "p", "l"), f"r-{number}", b".", False)
    link = SimpleNamespace(sent=[])
    link.send = lambda message, soon: link.sent.append(message)
    writes.send_kept(cast(Any, link))
    assert 10 <= len(link.sent) <= 10_000 // written.MESSAGE_BYTES + 1


async def test_checked_segments_of_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_files, "INTACT_MAX", 10)
    files = SegmentFiles(tmp_path)
    draft = files.draft(1, 0, 1)
    draft.write_bytes(b"PAR1PAR1")
    files.publish(1, 0, 1)
    first = files.path(1, 0, 1)
    checksum = checksum_of(first)

    def check(number: int) -> None:
        other = files.path(1, number, number + 2)
        first.rename(other)
        assert files.is_intact(1, number, number + 2, checksum)
        other.rename(first)

    assert await left_bytes(check) < LEFT_BYTES


async def test_functions_whose_logs_are_gone(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "logs.db")
    writer.open()
    chunk = whole_chunk([(1, b"x" * 3000 + b"\n")])
    assert chunk is not None

    def write(number: int) -> None:
        key = SourceKey("s", f"function-{number}", "LATEST", f"c-{number}", "", "")
        writer.write([Row(key, "r", chunk)] * 20, 1)
        while writer.expire(0, 1 << 16):
            pass

    assert await left_bytes(write) < LEFT_BYTES
    writer.close()


async def test_packages_that_were_compiled_and_the_latest_that_could_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "FAILED_MAX", 2)
    queue = CompileQueue()

    async def asked(*sha256s: str) -> list[str]:
        for each in sha256s:
            queue.put(each, "python3")
        found: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                while True:
                    found.append((await queue.get())[0])
        for each in found:
            queue.ended(each, "python3", failed=each.startswith("bad"))
        return found

    assert await asked("good", "bad", "bad2") == ["good", "bad", "bad2"]
    # One that is compiled is asked for again only where its file has gone; one that failed is left alone …
    assert await asked("good", "bad", "bad2") == ["good"]
    # … until others have failed since.
    assert await asked("bad3", "bad2") == ["bad3"]
    assert await asked("bad", "bad3") == ["bad"]


def test_images_whose_files_stay_those_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(jail_images, "TOLD_MAX", 2)
    monkeypatch.setattr(jail_images, "kernel_version", lambda: (5, 4))
    monkeypatch.setattr(mounts, "tree", lambda _root: -1)
    made = jail_images.ImageMounts(IdMaps())

    def said(*names: str) -> list[str]:
        with capture_logs() as lines:
            for name in names:
                root = ImageRoot(name=name, root=tmp_path, user_id=0, group_id=0, home="/", working_dir="/")
                made.mount(root, 1)
        return [each["image"] for each in lines]

    assert said("a", "a", "b", "a") == ["a", "b"]
    assert said("c", "a") == ["c", "a"]


def test_consumers_of_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "CONSUMERS_MAX", 3)
    members = Membership()
    for number in range(10):
        members.heart_beat(f"c-{number}", [], range(2), 0.0, 10.0)
    assert members.heart_beat("c-0", [0, 1], range(2), 1.0, 10.0) == [0]
    assert members.heart_beat("c-9", [1], range(2), 2.0, 10.0) == []
    assert members.heart_beat("c-9", [], range(2), 20.0, 10.0) == [0, 1]


def test_due_times_of_timers_that_change_again_and_again() -> None:
    due = DueTimes([(("s/f", "other"), 5.0)])
    for number in range(10 * SPARE):
        due.put(("s/f", "changed"), 1000.0 + number)
    assert len(due) <= 2 * 2 + SPARE
    assert due.next_at() == 5.0
    due.put(("s/f", "other"), 5.0)
    assert due.take(2000.0, 1) == [("s/f", "other")]
    assert due.take(2000.0, 9) == [("s/f", "changed")]
    assert due.next_at() is None
    due.put(("s/f", "changed"), 7.0)
    due.forget(("s/f", "changed"))
    assert due.next_at() is None
