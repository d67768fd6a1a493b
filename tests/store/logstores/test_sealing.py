"""Segments: found like the tail, joined, made again when missing, and deleted with their logs."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.store.logstores.conftest import INDEX, opened
from tests.store.logstores.test_store import DAY_S, NOW_S, group, messages
from tests.support.fakes import FakeClocks

from sesame.data_dir import DataDir
from sesame.model.logstore import LogProject, Logstore
from sesame.store.logs.logstores import sealing
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.upkeep.backup import back_up, restore


async def test_sealed_logs_are_found_beside_the_tail_made_again_when_missing_and_deleted_in_time(
    storage: LogStorage, clocks: FakeClocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TAIL_ROWS", 2)
    await storage.append("p", "l", group("first", "second"))
    await storage.seal()
    await storage.append("p", "l", group("third"))
    (segment,) = files_in(tmp_path)
    assert await messages(storage) == ["first", "second", "third"]
    kept = await storage.kept()
    assert (kept.lines, kept.unsealed_lines, kept.segments) == (3, 1, 1)
    assert kept.segment_bytes == segment.stat().st_size
    assert kept.file_bytes > 0
    assert storage.counts.written_lines == 3
    assert len((await storage.pull("p", "l", 0, 0, 10)).groups) == 1
    await storage.close()

    segment.unlink()
    storage = await opened(tmp_path, clocks)
    assert await messages(storage) == ["first", "second", "third"]
    await storage.seal()
    assert segment.exists()
    assert await messages(storage) == ["first", "second", "third"]

    # One that was cut off is not read, and the next start makes it again.
    whole = segment.read_bytes()
    for cut in (whole[:-1], whole[:5], b""):
        segment.write_bytes(cut)
        assert await messages(storage) == ["first", "second", "third"]
    await storage.close()
    storage = await opened(tmp_path, clocks)
    await storage.seal()
    assert segment.read_bytes()[-4:] == b"PAR1"

    clocks.set_wall(NOW_S + 8 * DAY_S)
    for _ in range(2):
        await storage.expire()
    assert await messages(storage) == []
    assert not segment.exists()
    await storage.close()


async def test_a_damaged_segment_is_noticed_by_its_checksum_and_made_again_while_others_are_read(
    storage: LogStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TAIL_ROWS", 2)
    for words in (("first", "second"), ("third", "fourth")):
        await storage.append("p", "l", group(*words))
        await storage.seal()
    damaged, other = sorted(files_in(tmp_path))
    whole, file = damaged.read_bytes(), tmp_path / "logstores.db"
    assert list(sealing.damaged_segments(file, tmp_path / "logstores")) == []
    for place in (10, len(whole) // 2):
        damaged.write_bytes(whole[:place] + bytes((whole[place] ^ 255,)) + whole[place + 1 :])
        assert list(sealing.damaged_segments(file, tmp_path / "logstores")) == [damaged]
        with capture_logs() as told:
            assert await messages(storage) == ["first", "second", "third", "fourth"]
            assert await messages(storage) == ["first", "second", "third", "fourth"]
        (warning,) = [each for each in told if "damaged" in each["event"]]
        assert warning["segment"] == str(damaged)
        unchanged = other.stat().st_ino
        await storage.seal()
        assert damaged.read_bytes() == whole
        assert other.stat().st_ino == unchanged
        assert list(sealing.damaged_segments(file, tmp_path / "logstores")) == []


async def test_a_logstore_that_cannot_be_sealed_stops_no_other(
    storage: LogStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TAIL_ROWS", 2)
    await storage.create_logstore(Logstore("p", "other", ttl_days=7))
    await storage.append("p", "l", group("first", "second"))
    await storage.append("p", "other", group("first", "second"))
    number = storage.metadata.known("p", "l").id
    (tmp_path / "logstores" / str(number) / "0-1.parquet.part").mkdir(parents=True)
    with pytest.raises(sealing.SealFailed, match=f"logstore {number}: "):
        await storage.seal()
    assert [path.parent.name for path in files_in(tmp_path)] == [str(storage.metadata.known("p", "other").id)]
    assert await messages(storage) == ["first", "second"]


async def test_a_backup_has_the_logs_and_their_segments_are_made_again(
    data: Path, clocks: FakeClocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TAIL_ROWS", 2)
    storage = await opened(data, clocks)
    await storage.create_project(LogProject("p"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7))
    await storage.create_index("p", "l", INDEX)
    await storage.append("p", "l", group("first", "second"))
    await storage.seal()
    await storage.append("p", "l", group("third"))
    await storage.close()
    backup, restored = tmp_path / "backup", tmp_path / "restored"
    await asyncio.to_thread(back_up, DataDir(data), backup)
    await asyncio.to_thread(restore, backup, DataDir(restored))
    again = await opened(restored, clocks)
    assert await messages(again) == ["first", "second", "third"]
    assert files_in(restored) == []
    await again.seal()
    assert await messages(again) == ["first", "second", "third"]
    assert len(files_in(restored)) == 1
    await again.close()


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("logstores/*/*.parquet"))


def test_small_neighbours_are_joined_and_big_ones_stay() -> None:
    small = [True, False, *[True] * sealing.JOINED, True]
    segments = [(n, n + 1, each) for n, each in enumerate(small)]
    assert sealing.neighbours(segments) == (2, 2 + sealing.JOINED)
    assert sealing.neighbours(segments[: sealing.JOINED]) is None
    apart = [(n + (n > 5), n + 1 + (n > 5), True) for n in range(6 + sealing.JOINED)]
    assert sealing.neighbours(apart) == (7, 7 + sealing.JOINED)
