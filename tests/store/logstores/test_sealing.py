"""Segments: found like the tail, joined, made again when missing, and deleted with their logs."""

from pathlib import Path

import pytest
from tests.store.logstores.conftest import opened
from tests.store.logstores.test_store import DAY_S, NOW_S, group, messages
from tests.support.fakes import FakeClocks

from sesame.store.logs.logstores import sealing
from sesame.store.logs.logstores.store import LogStorage


async def test_sealed_logs_are_found_beside_the_tail_made_again_when_missing_and_deleted_in_time(
    storage: LogStorage, clocks: FakeClocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "TAIL_ROWS", 2)
    await storage.append("p", "l", group("first", "second"))
    await storage.seal()
    await storage.append("p", "l", group("third"))
    (segment,) = files_in(tmp_path)
    assert await messages(storage) == ["first", "second", "third"]
    assert len((await storage.pull("p", "l", 0, 0, 10)).groups) == 1
    await storage.close()

    segment.unlink()
    storage = await opened(tmp_path, clocks)
    assert await messages(storage) == ["first", "second", "third"]
    await storage.seal()
    assert segment.exists()
    assert await messages(storage) == ["first", "second", "third"]

    clocks.set_wall(NOW_S + 8 * DAY_S)
    for _ in range(2):
        await storage.expire()
    assert await messages(storage) == []
    assert not segment.exists()
    await storage.close()


def files_in(folder: Path) -> list[Path]:
    return list(folder.glob("logstores/*/*.parquet"))


def test_small_neighbours_are_joined_and_big_ones_stay() -> None:
    small = [True, False, *[True] * sealing.JOINED, True]
    segments = [(n, n + 1, each) for n, each in enumerate(small)]
    assert sealing.neighbours(segments) == (2, 2 + sealing.JOINED)
    assert sealing.neighbours(segments[: sealing.JOINED]) is None
