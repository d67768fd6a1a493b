"""Opens the log of functions in a data directory, and the Log Service's tables in a database.

Called by `_storage`. `_shared_logs` uploads logs to a bucket, which only the writer of a cluster needs.
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
    """`teardown` closes what is opened, last of all. `copies` is told about lines for logstores."""

    path: Path
    retention: Retention
    clocks: Clocks
    copies: Logstores
    background: BackgroundTasks
    teardown: AsyncExitStack


async def open_own_logs(needs: LogsNeeds) -> Logs:
    """For a single machine. Raises `ConfigurationError` if the file cannot be used."""
    return await opened(needs, functools.partial(LogWriterProcess, logstores=needs.copies))


async def opened(
    needs: LogsNeeds, writer: Callable[[Path, int, float, Callable[[int], None]], LogWriterProcess]
) -> Logs:
    """As `open_own_logs`, with the process that `writer` creates."""
    logs = Logs(needs.path, needs.retention, needs.clocks, writer)
    await logs.open()
    needs.teardown.push_async_callback(logs.close)
    return logs


async def rows_of_no_cluster(database: Database, path: Path, clocks: Clocks) -> Shared | None:
    """The Log Service's shared rows for a Sesame without a cluster; None unless a cluster has used the database."""
    rows = SharedRows(database, path, clocks.wall)
    return Shared(rows) if await rows.exist() else None


def tell_numbers(background: BackgroundTasks, shared: Shared, clocks: Clocks) -> None:
    """Reports used log numbers regularly, once the store is open."""
    background.keep("telling numbers of logs", lambda: every(clocks, TOLD_EVERY_S, shared.rows.tell_numbers))
