"""Opens the code packages of a follower in a cluster: a folder of its own, filled from the bucket.

Called by `_node` in a follower's process, once its sandbox exists.
"""

from contextlib import AsyncExitStack

import msgspec

from sesame._sandbox import OpenSandbox
from sesame.agents.packages import LeasedPackages
from sesame.background import BackgroundTasks, every
from sesame.cluster.following import Following
from sesame.cluster.node_packages import FetchedOnly, NodePackages
from sesame.control.cleanup import live_packages
from sesame.data_dir import DataDir
from sesame.model.clocks import Clocks
from sesame.sandbox.drivers import compiler_on
from sesame.store.blobs.bucket import Bucket
from sesame.store.blobs.location import parse_location
from sesame.store.blobs.s3_archives import S3Archives
from sesame.store.catalog import Catalog
from sesame.store.packages.compiling import CompileQueue, compile_queued
from sesame.store.packages.packages import Packages
from sesame.store.quarantine import Quarantine

COLLECT_EVERY_S = 600.0


class PackagesNeeds(msgspec.Struct, frozen=True):
    """`teardown` closes what is opened."""

    data_dir: DataDir
    clocks: Clocks
    following: Following
    teardown: AsyncExitStack


async def open_packages(
    needs: PackagesNeeds, writers: LeasedPackages, catalog: Catalog, sandbox: OpenSandbox
) -> NodePackages:
    clocks, following = needs.clocks, needs.following
    assert needs.data_dir.bucket is not None
    to_compile = CompileQueue()
    archives = S3Archives(Bucket(parse_location(needs.data_dir.bucket)), _never, _never)
    folder = needs.data_dir.of_follower
    own = Packages(
        folder / "packages",
        to_compile.put,
        quarantine=Quarantine(folder / "quarantine"),
        clock=clocks.monotonic,
        archives=FetchedOnly(archives),
    )
    await own.open()
    packages = NodePackages(writers, own, lambda: following.is_writers_node, clocks)
    background = BackgroundTasks(clocks)
    needs.teardown.push_async_callback(background.close)
    compiler = compiler_on(sandbox.driver, sandbox.runtimes.launch)

    async def collect() -> None:
        await packages.collect(live_packages(catalog))

    background.keep("compiling packages", lambda: compile_queued(to_compile, own, compiler))
    background.keep("collecting packages", lambda: every(clocks, COLLECT_EVERY_S, collect))
    return packages


async def _never(*_sha256: str) -> None:
    raise AssertionError("a follower puts nothing into the bucket, and deletes nothing of it")
