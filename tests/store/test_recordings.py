"""Recordings are found again, listed, bounded by bytes and age, and dropped rather than piled up; on each database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.recordings import recording

from sesame.model.errors import NotFound
from sesame.store import recordings as module
from sesame.store.recordings import Kept, Recordings, RecordingsOf
from sesame.store.sql.database import Database

NOW = 1_000_000.0
# Of one recording with an event of this size, rounded up.
EVENT_BYTES = 1000
SIZE_BYTES = 1800


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Recordings]:
    found = Recordings(database, Kept(total_bytes=10 * SIZE_BYTES, age_s=100.0), lambda: NOW)
    await found.open()
    yield found
    await found.close()


async def test_a_recording_is_found_as_it_was_taken(store: Recordings) -> None:
    taken = recording("r-1", event=b"\x00\xff", environment=("A", "B"), layers=("l",))
    store.take(taken)
    store.take(recording("r-2"))
    assert await store.find("r-1") == taken
    with pytest.raises(NotFound):
        await store.find("r-3")


async def test_of_several_with_one_request_id_the_newest_is_found(store: Recordings) -> None:
    for attempt in range(3):
        store.take(recording("r", retry_count=attempt))
    assert (await store.find("r")).retry_count == 2


async def test_a_list_is_newest_first_by_function_and_goes_on(store: Recordings) -> None:
    for number in range(5):
        store.take(recording(f"r-{number}", function="f" if number % 2 else "g"))
    found = await store.list(RecordingsOf())
    assert [each.request_id for each in found] == ["r-4", "r-3", "r-2", "r-1", "r-0"]
    assert [each.request_id for each in await store.list(RecordingsOf("demo", "f"))] == ["r-3", "r-1"]
    rest = await store.list(RecordingsOf(before=found[1].seq, limit=2))
    assert [each.request_id for each in rest] == ["r-2", "r-1"]
    assert not await store.list(RecordingsOf("other"))


async def test_the_oldest_go_where_there_is_too_much(store: Recordings, database: Database) -> None:
    for number in range(40):
        store.take(recording(f"r-{number}", event=b"e" * EVENT_BYTES))
        if number % 7 == 0:
            await store.close()
    kept = [each.request_id for each in await store.list(RecordingsOf())]
    assert 5 <= len(kept) < 20
    assert kept == [f"r-{number}" for number in range(39, 39 - len(kept), -1)]
    assert sum(each.size_bytes for each in await store.list(RecordingsOf())) <= 10 * SIZE_BYTES
    again = Recordings(database, Kept(total_bytes=2 * SIZE_BYTES, age_s=100.0), lambda: NOW)
    await again.open()
    again.take(recording("last", event=b"e" * EVENT_BYTES))
    assert sum(each.size_bytes for each in await again.list(RecordingsOf())) <= 2 * SIZE_BYTES
    assert (await again.find("last")).request_id == "last"


async def test_one_that_is_larger_than_all_that_is_kept_is_not_kept(store: Recordings) -> None:
    store.take(recording("small"))
    store.take(recording("large", event=b"e" * 20 * SIZE_BYTES))
    assert await store.list(RecordingsOf()) == []


async def test_old_ones_are_pruned_and_named_ones_deleted(store: Recordings) -> None:
    store.take(recording("old", at=NOW - 101))
    store.take(recording("new", at=NOW - 99))
    store.take(recording("other", at=NOW, function="g"))
    await store.close()
    assert await store.prune() == 1
    assert [each.request_id for each in await store.list(RecordingsOf())] == ["other", "new"]
    assert await store.delete(RecordingsOf("demo", "g")) == 1
    assert await store.delete(RecordingsOf()) == 1


async def test_what_would_pile_up_is_dropped(store: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES_MAX", 3 * SIZE_BYTES)
    for number in range(6):
        store.take(recording(f"r-{number}", event=b"e" * EVENT_BYTES))
    await store.close()
    kept = len(await store.list(RecordingsOf()))
    assert (kept + store.dropped, store.dropped > 0, kept > 0) == (6, True, True)
    store.take(recording("later"))
    assert (await store.find("later")).request_id == "later"


async def test_a_reader_that_leaves_while_recordings_are_written_does_not_stop_the_writing(store: Recordings) -> None:
    written = store.take(recording("r-1"))
    reading = asyncio.create_task(store.find("r-1"))
    # Now it waits for the writing.
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    await asyncio.wait_for(written, 60.0)
    assert (await store.find("r-1")).request_id == "r-1"
