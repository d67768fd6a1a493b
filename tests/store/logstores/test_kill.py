"""What an append acknowledged is there after kill -9 at any moment, whole and once.

The child process calls `main` of this file.
"""

import asyncio
import sys
from pathlib import Path

from tests.support import forked
from tests.support.fakes import FakeClocks
from tests.support.query_processes import query_processes

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.logstore import LogGroup, LogProject, LogRecord, Logstore
from sesame.store.logs.logstores.store import LogStorage

WRITERS = 4
ACKNOWLEDGED = 200


async def append_forever(folder: Path) -> None:
    storage = LogStorage(folder / "logstores.db", folder / "logstores", SYSTEM_CLOCKS, query_processes())
    await storage.open()
    await storage.create_project(LogProject("p"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=1, shards=1))

    async def append(writer: int) -> None:
        number = 0
        while True:
            record = LogRecord(1_700_000_000, 0, (("is", f"{writer}-{number}"),))
            await storage.append("p", "l", LogGroup((record,)))
            sys.stdout.write(f"{writer}-{number}\n")
            sys.stdout.flush()
            number += 1

    await asyncio.gather(*map(append, range(WRITERS)))


def main(folder: str) -> None:
    asyncio.run(append_forever(Path(folder)))


def run_and_kill(folder: Path) -> set[str]:
    """What was acknowledged before the child was killed."""
    said = forked.call_and_kill("tests.store.logstores.test_kill:main", str(folder), after=ACKNOWLEDGED)
    return {line.decode().strip() for line in said}


async def test_acknowledged_logs_survive_kill_9(tmp_path: Path) -> None:
    acknowledged = await asyncio.to_thread(run_and_kill, tmp_path)
    storage = LogStorage(tmp_path / "logstores.db", tmp_path / "logstores", FakeClocks(), query_processes())
    await storage.open()
    pulled = await storage.pull("p", "l", 0, 0, 1_000_000)
    found = [record.contents[0][1] for group in pulled.groups for record in group.records]
    assert len(set(found)) == len(found)
    assert acknowledged <= set(found)
    assert len(set(found) - acknowledged) <= WRITERS
    await storage.close()
