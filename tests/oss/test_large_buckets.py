"""A bucket of 100,000 objects is listed in bounded time, and the endpoint answers others meanwhile.

Run by pytest against a real endpoint on a free port; the rows are put into the database directly.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator

import oss2
import pytest
import sqlalchemy as sa
from tests.oss.conftest import RunningEndpoint

from sesame.model.object import ObjectKind, ObjectMeta, StoredObject
from sesame.store.sql.object_schema import object_row, objects

FOLDERS, EACH = 1000, 100
# In seconds of the loop's own thread, as tests share their cores with others. To read all rows on the loop takes more.
STALL_S_MAX = 0.25


@pytest.fixture(scope="module")
def large(endpoint: RunningEndpoint) -> Iterator[oss2.Bucket]:
    bucket = endpoint.bucket("large")
    bucket.create_bucket()
    said = ObjectMeta(symlink="t")
    rows = [
        object_row(StoredObject("large", f"{n:04}/{m:03}", "", 0, "0", 0, ObjectKind.SYMLINK, said, 0.0))
        for n in range(FOLDERS)
        for m in range(EACH)
    ]
    endpoint.run(endpoint.database.write(lambda connection: connection.execute(sa.insert(objects), rows)))
    rows.clear()
    gc.collect()
    yield bucket
    all_of_it = sa.delete(objects).where(objects.c.bucket == "large")
    endpoint.run(endpoint.database.write(lambda connection: connection.execute(all_of_it)))
    bucket.delete_bucket()


def longest_stall(endpoint: RunningEndpoint, act: Callable[[], object]) -> float:
    """The longest that one step of the event loop took, in seconds of its thread, while `act` ran on this one."""
    stop = False
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        last = time.thread_time()
        while not stop:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    beating = asyncio.run_coroutine_threadsafe(beat(), endpoint.loop)
    act()
    stop = True
    beating.result(timeout=60)
    return longest


@pytest.mark.parametrize("version", [1, 2])
def test_folding_jumps_over_what_it_hides(endpoint: RunningEndpoint, large: oss2.Bucket, version: int) -> None:
    found: list[str] = []

    def list_all() -> None:
        listing = large.list_objects if version == 1 else large.list_objects_v2
        page = listing(delimiter="/", max_keys=1000)
        assert not page.is_truncated
        found.extend(page.prefix_list)

    started = time.process_time()
    stall = longest_stall(endpoint, list_all)
    assert time.process_time() - started < 10
    assert found == [f"{number:04}/" for number in range(FOLDERS)]
    assert stall < STALL_S_MAX


def test_full_pages_leave_the_endpoint_free(endpoint: RunningEndpoint, large: oss2.Bucket) -> None:
    def list_some() -> None:
        marker = ""
        for _ in range(5):
            page = large.list_objects(marker=marker, max_keys=1000)
            marker = page.next_marker
            assert len(page.object_list) == 1000

    assert longest_stall(endpoint, list_some) < STALL_S_MAX


def test_statistics_leave_the_endpoint_free(endpoint: RunningEndpoint, large: oss2.Bucket) -> None:
    assert longest_stall(endpoint, large.get_bucket_stat) < STALL_S_MAX
    assert large.get_bucket_stat().object_count == FOLDERS * EACH
