"""huey on SQLite and pgqueuer on PostgreSQL as lanes of `bench_async`: callers enqueue, a consumer runs and records.

Each caller enqueues one task at a time and goes on when its commit is on the disk, as a caller of Sesame does.
"""

import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.queries import Queries

from benchmarks import servers
from benchmarks.bench_async_apps import TASK, HueyApp

REPOSITORY = Path(__file__).parents[1]
SETTLED_TIMEOUT_S = 60.0


class Huey:
    """Callers are threads of this process, each with a connection of its own, as huey keeps one for each thread."""

    def __init__(self, app: HueyApp, name: str) -> None:
        self.name = name
        self._app = app

    def measure(self, callers: int, seconds: float) -> float:
        """Tasks a second, from the first that is enqueued until the last is recorded."""
        self._app.huey.storage.flush_all()
        accepted = [0] * callers
        start = time.perf_counter()

        def call(number: int) -> None:
            while time.perf_counter() < start + seconds:
                self._app.hello()
                accepted[number] += 1

        threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        servers.wait_for(
            lambda: self._app.huey.storage.result_store_size() == sum(accepted), f"the last result of {self.name}"
        )
        return sum(accepted) / (time.perf_counter() - start)


class Pgqueuer:
    """Callers are tasks on one event loop, each with a connection of its own."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self._url = url

    def measure(self, callers: int, seconds: float) -> float:
        """As `Huey.measure`."""
        return uvloop.run(self._measure(callers, seconds))

    async def _measure(self, callers: int, seconds: float) -> float:
        async with asyncpg.create_pool(self._url, min_size=callers + 1, max_size=callers + 1) as pool:
            queries = Queries(AsyncpgPoolDriver(pool))
            before = await pool.fetchval(_RECORDED)
            start = time.perf_counter()

            async def call() -> int:
                accepted = 0
                while time.perf_counter() < start + seconds:
                    await queries.enqueue(TASK, b"")
                    accepted += 1
                return accepted

            accepted = sum(await asyncio.gather(*(call() for _ in range(callers))))
            async with asyncio.timeout(SETTLED_TIMEOUT_S):
                while await pool.fetchval(_RECORDED) - before < accepted:  # noqa: ASYNC110 - another process records
                    await asyncio.sleep(servers.LOOK_AGAIN_S)
            return accepted / (time.perf_counter() - start)


# pgqueuer's own consumer folds its log into its statistics now and then, and marks what it has folded.
_RECORDED = "SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'"


@contextlib.contextmanager
def huey(workers: int) -> Iterator[Huey]:
    """huey's consumer with so many threads, on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-huey-") as folder:
        path = str(Path(folder) / "huey.db")
        with _consumer(Path(folder), "huey", path, workers):
            yield Huey(HueyApp(path), f"huey ({workers} worker{'s' * (workers > 1)}, fsync)")


@contextlib.contextmanager
def pgqueuer(url: str, batch: int) -> Iterator[Pgqueuer]:
    """pgqueuer's consumer, which takes up to so many jobs at once, with tables in the database at `url`."""
    with tempfile.TemporaryDirectory(prefix="sesame-bench-pgqueuer-") as folder:
        uvloop.run(_install(url))
        with _consumer(Path(folder), "pgqueuer", url, batch):
            yield Pgqueuer(url, f"pgqueuer (batches of {batch})")


async def _install(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        await Queries(AsyncpgPoolDriver(pool)).install()


@contextlib.contextmanager
def _consumer(folder: Path, *words: str | int) -> Iterator[None]:
    # Imported and not run as a program: huey finds a task by the name of its module.
    program = "import sys; from benchmarks import bench_async_apps; bench_async_apps.main(*sys.argv[1:])"
    command = [sys.executable, "-c", program, *(str(word) for word in words)]
    with servers.process(command, folder, {"PYTHONPATH": str(REPOSITORY)}):
        yield
