"""Opens what Sesame keeps on the disk: database, catalog, objects, code packages and logs.

Called by `app`, before anything that reads or writes them.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sesame.data_dir import DataDir
from sesame.engine.invocation_log import LogSink, LogSource
from sesame.model.clocks import Clocks
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings
from sesame.store.catalog import Catalog
from sesame.store.logs.intake import Keeping, Logs, discard
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.packages.bytecode import BytecodeCompiler
from sesame.store.packages.packages import Packages
from sesame.store.sql.database import Database
from sesame.store.sql.lost_database import require_database

MIB = 1024 * 1024
DAY_S = 86400.0


@dataclass(frozen=True)
class Storage:
    catalog: Catalog
    objects: Objects
    uploads: Uploads
    packages: Packages
    log_sink: LogSink


@dataclass(frozen=True)
class StorageNeeds:
    """What storage is opened with. What it opens is closed by `teardown`."""

    settings: Settings
    data_dir: DataDir
    clocks: Clocks
    teardown: AsyncExitStack


async def open_storage(needs: StorageNeeds, runtimes: Runtimes) -> Storage:
    """Raises `ConfigurationError` or `OSError` for a data directory that cannot be used."""
    data_dir, clocks, teardown = needs.data_dir, needs.clocks, needs.teardown
    await asyncio.to_thread(require_database, data_dir.database, data_dir.objects, data_dir.packages)
    database = Database(data_dir.database)
    await database.open()
    teardown.push_async_callback(database.close)
    catalog = Catalog(database, clock=clocks.wall)
    await catalog.open()
    objects = Objects(database, data_dir.objects)
    await objects.open()
    teardown.push_async_callback(objects.close)
    packages = Packages(data_dir.packages, BytecodeCompiler(runtimes.paths()), clock=clocks.monotonic)
    await packages.open()
    return Storage(catalog, objects, Uploads(objects, clocks.wall), packages, await _open_logs(needs))


async def _open_logs(needs: StorageNeeds) -> LogSink:
    """The store of logs, or nowhere when the settings keep none."""
    settings, path = needs.settings, needs.data_dir.logs
    if settings.log_retention_days == 0:
        discard(path)
        return _drop
    keeping = Keeping(
        call_bytes=settings.log_bytes_per_call,
        total_bytes=settings.log_max_mb * MIB,
        age_s=settings.log_retention_days * DAY_S,
    )
    logs = Logs(path, keeping, needs.clocks.wall)
    await logs.open()
    needs.teardown.push_async_callback(logs.close)
    return logs.append


def _drop(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
    """A log sink that keeps nothing: a call's log is only in the tail that its answer carries."""
