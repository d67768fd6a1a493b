"""Opens all storage, on the disk or elsewhere: database, catalog, queue, objects, code packages and logs.

Called by `app`, before anything that reads or writes them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from sesame._own_logs import LogsNeeds, open_own_logs, rows_of_no_cluster, tell_numbers
from sesame.background import BackgroundTasks, every
from sesame.control.cleanup import PackageCollector, live_images
from sesame.data_dir import DataDir
from sesame.engine.invocation_log import LogSink, LogSource
from sesame.model.clocks import Clocks
from sesame.sandbox.disk_reserve import DiskReserve
from sesame.settings import Settings
from sesame.store import outbox
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.files import FileBlobs
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.ownership import own_bucket, require_own_objects
from sesame.store.blobs.s3 import S3Blobs
from sesame.store.blobs.s3_archives import S3Archives
from sesame.store.catalog import Catalog
from sesame.store.images.images import Images
from sesame.store.images.places import ImagePlaces
from sesame.store.logs.file import discard
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.logstores.query_processes import QueryProcesses
from sesame.store.logs.logstores.store import LogStorage, Shared
from sesame.store.logs.writer import Logstores
from sesame.store.objects.multipart import Uploads
from sesame.store.objects.objects import Objects
from sesame.store.packages.compiling import CompileQueue
from sesame.store.packages.packages import Packages
from sesame.store.quarantine import Quarantine
from sesame.store.queue.queue import InvocationQueue
from sesame.store.recordings import Kept, Recordings
from sesame.store.sql.database import Database
from sesame.store.sql.lost_database import holds_data, require_database
from sesame.store.sql.pairing import number_of, pair, require_own_database

if TYPE_CHECKING:
    from sesame.store.logs.shared.objects import SegmentObjects

MIB = 1024 * 1024
DAY_S = 86400.0
COLLECT_EVERY_S = 600.0
TIDY_EVERY_S = 3600.0


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """`logs` is the store behind `log_sink`, or None if no logs are kept."""

    database: Database
    catalog: Catalog
    objects: Objects
    uploads: Uploads
    packages: Packages
    images: Images
    queue: InvocationQueue
    to_compile: CompileQueue
    recordings: Recordings
    log_sink: LogSink
    logs: Logs | None
    logstores: LogStorage
    background: BackgroundTasks
    notices: list[str]


class StorageNeeds(msgspec.Struct, frozen=True):
    """The collaborators of storage. `teardown` closes what is opened.

    With a `log_sink`, no store of logs is opened. A commit of a `durable` database survives a power cut. An `epoch`
    means the storage of a cluster's writer.
    """

    settings: Settings
    data_dir: DataDir
    clocks: Clocks
    teardown: AsyncExitStack
    log_sink: LogSink | None = None
    durable: bool = True
    epoch: int = 0


async def open_storage(needs: StorageNeeds) -> Storage:
    """Raises `ConfigurationError` or `OSError` if the data directory cannot be used."""
    data_dir, clocks, teardown = needs.data_dir, needs.clocks, needs.teardown
    database, bucket = await _open_database(needs)
    catalog = Catalog(database, clock=clocks.wall)
    await catalog.open()
    queue = InvocationQueue(database, clocks)
    await queue.open()
    teardown.push_async_callback(queue.close)
    recordings = Recordings(
        database, Kept(needs.settings.record_max_mb * MIB, needs.settings.record_retention_days * DAY_S), clocks.wall
    )
    await recordings.open()
    teardown.push_async_callback(recordings.close)
    quarantine = Quarantine(data_dir.quarantine)
    blobs = FileBlobs(data_dir.objects, quarantine) if bucket is None else S3Blobs(bucket)
    objects = Objects(database, blobs, clocks.wall)
    await objects.open()
    teardown.push_async_callback(objects.close)
    to_compile = CompileQueue()
    packages = Packages(
        data_dir.packages,
        to_compile.put,
        quarantine=quarantine,
        clock=clocks.monotonic,
        archives=None if bucket is None else S3Archives(bucket, _released(database, clocks), _own(database)),
    )
    await packages.open()
    collector = PackageCollector(catalog, database, packages, clocks.wall)
    await collector.open()
    images = Images(
        data_dir.images,
        ImagePlaces(needs.settings.image_root, needs.settings.images),
        clocks.monotonic,
        DiskReserve(data_dir.path).shortage,
    )
    await images.open()
    uploads = Uploads(objects, clocks.wall)
    teardown.push_async_callback(collector.close)
    query_processes = QueryProcesses()
    teardown.callback(query_processes.close)
    segments, shared = await _open_shared(needs, database, bucket)
    logstores = LogStorage(
        data_dir.logstores, data_dir.segments, clocks, query_processes, durable=needs.durable, shared=shared
    )
    await logstores.open()
    teardown.push_async_callback(logstores.close)
    background = BackgroundTasks(clocks)
    teardown.push_async_callback(background.close)
    sink, logs, notices = await _open_logs(needs, logstores, background, database, segments)
    aside = await asyncio.to_thread(quarantine.count)
    if aside:
        notices.append(
            f"{aside} files or directories that nothing mentioned lie in {data_dir.quarantine}: docs/data-directory.md."
        )
    storage = Storage(
        database=database,
        catalog=catalog,
        objects=objects,
        uploads=uploads,
        packages=packages,
        images=images,
        queue=queue,
        to_compile=to_compile,
        recordings=recordings,
        log_sink=sink,
        logs=logs,
        logstores=logstores,
        background=background,
        notices=notices,
    )
    _keep_tidy(needs, storage, collector, shared)
    return storage


def _keep_tidy(needs: StorageNeeds, storage: Storage, collector: PackageCollector, shared: Shared | None) -> None:
    """Starts what seals, prunes and deletes from time to time."""
    settings, clocks, background = needs.settings, needs.clocks, storage.background

    async def tidy() -> None:
        await storage.objects.collect()
        await storage.uploads.abort_old()
        await storage.catalog.prune()
        await storage.recordings.prune()
        now, deliveries = clocks.wall(), storage.queue.deliveries
        await storage.queue.prune(now - settings.async_retention_days * DAY_S)
        await deliveries.prune(now - settings.dead_letter_retention_days * DAY_S, settings.dead_letters_max)

    async def collect() -> None:
        await collector.collect()
        await storage.images.collect(live_images(storage.catalog))

    background.keep("sealing logs", storage.logstores.seal_for_ever)
    if shared is not None:
        tell_numbers(background, shared, clocks)
        if shared.groups is not None:
            from sesame import _shared_logs

            _shared_logs.keep_groups_shared(background, shared.groups, clocks)
    background.keep("deleting old logs", lambda: every(clocks, TIDY_EVERY_S, storage.logstores.expire))
    background.keep("tidying up", lambda: every(clocks, TIDY_EVERY_S, tidy))
    background.keep("collecting packages", lambda: every(clocks, COLLECT_EVERY_S, collect))


async def _open_database(needs: StorageNeeds) -> tuple[Database, Bucket | None]:
    """Opens the database, in the data directory or elsewhere, and the bucket, if all of them belong together."""
    data_dir = needs.data_dir
    require_own_database(data_dir.path, data_dir.database)
    require_own_objects(data_dir.path, data_dir.bucket)
    bucket = None if data_dir.bucket is None else Bucket(parse_location(data_dir.bucket))
    await asyncio.to_thread(require_database, data_dir.database, data_dir.objects, data_dir.packages)
    database = Database(data_dir.database, str(data_dir.path), durable=needs.durable, epoch=needs.epoch)
    await database.open()
    needs.teardown.push_async_callback(database.close)
    if bucket is not None:
        await own_bucket(database, bucket, data_dir.path)
    if isinstance(data_dir.database, str):
        has_data = await asyncio.to_thread(holds_data, data_dir.objects, data_dir.packages)
        await pair(database, data_dir.path, has_data=has_data, keeps_data=bucket is None)
    return database, bucket


def _released(database: Database, clocks: Clocks) -> Callable[[str], Awaitable[None]]:
    """Returns a function that announces a package that records may no longer name, for the collector to check."""

    async def announce(sha256: str) -> None:
        at = clocks.wall()
        await database.write(lambda connection: outbox.add(connection, outbox.PACKAGE_RELEASED, [sha256], at))

    return announce


def _own(database: Database) -> Callable[[], Awaitable[None]]:
    """Returns a function that checks, on the writing connection, that this process still has the database's lock."""

    async def require() -> None:
        await database.write(number_of)

    return require


async def _open_shared(
    needs: StorageNeeds, database: Database, bucket: Bucket | None
) -> tuple["SegmentObjects | None", Shared | None]:
    """For the writer of a cluster, the bucket for log segments; and the Log Service's shared rows, if any."""
    path, clocks = needs.data_dir.logstores, needs.clocks
    if not needs.epoch or bucket is None:
        return None, await rows_of_no_cluster(database, path, clocks)
    # Imported only in a cluster.
    from sesame import _shared_logs
    from sesame.store.logs.shared.objects import SegmentObjects

    segments = SegmentObjects(database, bucket, clocks.wall)
    return segments, _shared_logs.shared_logstores(database, segments, needs.epoch, path, clocks)


async def _open_logs(
    needs: StorageNeeds,
    logstores: LogStorage,
    background: BackgroundTasks,
    database: Database,
    segments: "SegmentObjects | None",
) -> tuple[LogSink, Logs | None, list[str]]:
    """Returns the sink for functions' lines, the store of logs if it is open, and notices for the operator.

    If the settings keep no logs, the sink accepts only lines that a logstore may get.
    """
    settings, path = needs.settings, needs.data_dir.logs
    if needs.log_sink is not None:
        return needs.log_sink, None, []
    if settings.log_retention_days == 0:
        discard(path)
    retention = Retention(
        call_bytes=settings.log_bytes_per_call,
        total_bytes=settings.log_max_mb * MIB,
        age_s=settings.log_retention_days * DAY_S,
    )
    copies = Logstores(needs.data_dir.logstores, logstores.written)
    logs_needs = LogsNeeds(path, retention, needs.clocks, copies, background, needs.teardown)
    if segments is not None and settings.log_retention_days:
        from sesame import _shared_logs

        logs = await _shared_logs.open_shared_logs(logs_needs, database, segments, needs.epoch)
    else:
        logs = await open_own_logs(logs_needs)
    sink = logs.append if settings.log_retention_days else _only_for_logstores(logs.append)
    return sink, logs, list(logs.notices)


def _only_for_logstores(sink: LogSink) -> LogSink:
    """Drops lines of services without a log target; their callers still get the tail of the log in the answer."""

    def take(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
        if source.log_project:
            sink(source, request_id, data, more)

    return take
