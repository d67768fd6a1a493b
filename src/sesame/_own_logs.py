"""The log of functions in a Sesame's data directory, and the Log Service's part of a database.

Called by `_storage`. What brings logs into a bucket, which the writer of a cluster alone needs, is in `_shared_logs`.
"""

import functools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from sesame.background import BackgroundTasks, every
from sesame.model.clocks import Clocks
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.logstores.shared import TOLD_EVERY_S, SharedRows
from sesame.store.logs.logstores.store import Shared
from sesame.store.logs.writer import Logstores, LogWriterProcess
from sesame.store.sql.database import Database


class LogsNeeds(msgspec.Struct, frozen=True):
    """What `teardown` gets is closed last. `copies`: who is told of lines in logstores."""

    path: Path
    retention: Retention
    clocks: Clocks
    copies: Logstores
    background: BackgroundTasks
    teardown: AsyncExitStack


async def open_own_logs(needs: LogsNeeds) -> Logs:
    """Of one machine. Raises `ConfigurationError` if the file cannot be used."""
    return await opened(needs, functools.partial(LogWriterProcess, logstores=needs.copies))


async def opened(
    needs: LogsNeeds, writer: Callable[[Path, int, float, Callable[[int], None]], LogWriterProcess]
) -> Logs:
    """As `open_own_logs`, written by the process that `writer` makes."""
    logs = Logs(needs.path, needs.retention, needs.clocks, writer)
    await logs.open()
    needs.teardown.push_async_callback(logs.close)
    return logs


async def rows_of_no_cluster(database: Database, path: Path, clocks: Clocks) -> Shared | None:
    """What the Log Service shares where there is no cluster: None unless the database was one's."""
    rows = SharedRows(database, path, clocks.wall)
    return Shared(rows) if await rows.exist() else None


def tell_numbers(background: BackgroundTasks, shared: Shared, clocks: Clocks) -> None:
    """Once the store is open."""
    background.keep("telling numbers of logs", lambda: every(clocks, TOLD_EVERY_S, shared.rows.tell_numbers))
