"""An open store of logstores, with a project and a logstore in it. Read by pytest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.fakes import FakeClocks
from tests.support.query_processes import query_processes

from sesame.model.logstore import DEFAULT_DELIMITERS, KeyIndex, LineIndex, LogIndex, LogProject, Logstore
from sesame.store.logs.logstores.store import LogStorage

INDEX = LogIndex(
    line=LineIndex(token=DEFAULT_DELIMITERS),
    keys={"level": KeyIndex(token=DEFAULT_DELIMITERS, doc_value=True), "n": KeyIndex(type="long", doc_value=True)},
)


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks()


@pytest.fixture
async def storage(tmp_path: Path, clocks: FakeClocks) -> AsyncIterator[LogStorage]:
    storage = await opened(tmp_path, clocks)
    await storage.create_project(LogProject("p"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7))
    await storage.create_index("p", "l", INDEX)
    yield storage
    await storage.close()


async def opened(folder: Path, clocks: FakeClocks) -> LogStorage:
    storage = LogStorage(folder / "logstores.db", folder / "logstores", clocks, query_processes(), durable=False)
    await storage.open()
    return storage
