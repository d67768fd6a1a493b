"""The peers' side that runs tasks: huey's consumer and pgqueuer's, each with the task that Sesame's function is.

`bench_async_peers` calls `main` in a process of its own, and takes the producers' side from here. Never measures.
"""

import asyncpg
import uvloop
from huey import SqliteHuey
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job

TASK = "hello"
RESULT = "hello world"
# Both peers look again after so long when no notification came; with their defaults a first task waits for seconds.
POLL_S = 0.05


class HueyApp:
    """One SQLite file, every commit of it on the disk (`fsync=True`); results are kept, as Sesame keeps records."""

    def __init__(self, path: str) -> None:
        self.huey = SqliteHuey(TASK, filename=path, fsync=True)
        self.hello = self.huey.task(name=TASK)(lambda: RESULT)

    def consume(self, workers: int) -> None:
        self.huey.create_consumer(
            workers=workers, initial_delay=POLL_S, max_delay=POLL_S, backoff=1.0, periodic=False
        ).run()


async def consume_pgqueuer(url: str, batch: int) -> None:
    """Until it is told to stop."""
    async with asyncpg.create_pool(url, min_size=4, max_size=4) as pool:
        queue = PgQueuer(AsyncpgPoolDriver(pool))

        async def hello(_job: Job) -> None:
            """What it returns is kept nowhere; its end is recorded in pgqueuer's log."""

        queue.entrypoint(TASK)(hello)
        await queue.run(batch_size=batch)


def main(peer: str, place: str, count: str) -> None:
    if peer == "huey":
        HueyApp(place).consume(int(count))
    else:
        uvloop.run(consume_pgqueuer(place, int(count)))
