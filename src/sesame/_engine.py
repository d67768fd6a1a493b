"""Builds the engine on top of the sandbox driver.

Called by `app`, once storage and identity exist.
"""

import hashlib
import hmac
import os
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import psutil

from sesame._identity import Identity
from sesame._network import listens_max
from sesame._sandbox import OpenSandbox
from sesame._storage import Storage
from sesame._traces import Tracers
from sesame.control.recorder import Recorder
from sesame.engine.interface import Observer
from sesame.engine.keep_alive import KeepAlive
from sesame.engine.policies import Caps
from sesame.engine.provision_targets import ProvisionTargets
from sesame.engine.resolver import Resolver
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.engine.target_tracking import TargetTracking
from sesame.engine.trials import LocalTrials
from sesame.model import limits, records
from sesame.model.clocks import Clocks
from sesame.model.session import EXPIRED
from sesame.sandbox import descriptors
from sesame.sandbox.disk_reserve import DiskReserve
from sesame.sandbox.drivers import compiler_on
from sesame.sandbox.launch import PackagedLauncher
from sesame.sandbox.volumes import NasVolumes
from sesame.settings import Settings
from sesame.store.catalog import Change
from sesame.store.packages.compiling import compile_queued

# POLICY: instances seldom use all the memory they may, so their limits may add up to most of the host's memory.
HOST_MEMORY_SHARE = 0.75
STARTS_AT_ONCE_MIN = 2
COMPILING = "compiling packages"
MIB = 1024 * 1024


class EngineParts(msgspec.Struct, frozen=True):
    engine: LocalEngine
    resolver: Resolver
    provisions: ProvisionTargets
    tracking: TargetTracking
    recorder: Recorder
    trials: LocalTrials


class EngineNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """The collaborators of the engine; `nas` is the directory of NAS servers. `teardown` ends what is started.

    `of_cluster` says that other machines, with other directories, run instances too.
    """

    settings: Settings
    clocks: Clocks
    sandbox: OpenSandbox
    teardown: AsyncExitStack
    observer: Observer
    debuggable: bool
    tracers: Tracers | None
    nas: Path
    of_cluster: bool = False


def recordings_key(identity: Identity) -> bytes:
    """Digests with this key reveal whether a variable of a recorded call has changed, but not its value."""
    return hmac.digest(identity.key.secret.encode(), b"sesame recordings", hashlib.sha256)


def record(engine: LocalEngine, recorder: Recorder) -> None:
    """Has the engine's calls recorded while any shall be."""
    recorder.start(lambda on: engine.dispatcher.record_with(recorder if on else None))


def open_engine(needs: EngineNeeds, storage: Storage, identity: Identity) -> EngineParts:
    settings, clocks, teardown = needs.settings, needs.clocks, needs.teardown
    driver = needs.sandbox.driver
    resolver = Resolver(storage.catalog)
    volumes = NasVolumes(None if needs.of_cluster else needs.nas, settings.mounts)
    given = EngineDependencies(
        launcher=PackagedLauncher(driver, storage.packages, volumes, storage.images),
        resolver=resolver,
        clocks=clocks,
        caps=caps(settings, driver.descriptors(listens_max(settings))),
        sink=storage.log_sink,
        credentials=identity.issuer.credentials,
        account_id=identity.account_id,
        region=settings.region,
        keep_alive=keep_alive(settings),
        recursion_limit=settings.recursion_limit,
        observer=needs.observer,
        debuggable=needs.debuggable,
        shortage=DiskReserve(needs.nas.parent).shortage,
        around_calls=None if needs.tracers is None else needs.tracers.around_calls,
    )
    engine = LocalEngine(given)
    storage.catalog.on_change(lambda change: _end_session(engine, change))
    recorder = Recorder(
        storage.catalog,
        storage.recordings,
        settings.record,
        clocks.wall,
        digest_key=recordings_key(identity),
    )
    record(engine, recorder)
    trials = LocalTrials(engine.pool, clocks, identity.issuer.credentials)
    # The HTTP servers have drained before, so calls that are still running are not waited for again.
    teardown.push_async_callback(engine.drain, 0.0)
    compiler = compiler_on(driver, needs.sandbox.runtimes.launch)
    storage.background.keep(COMPILING, lambda: compile_queued(storage.to_compile, storage.packages, compiler))
    teardown.push_async_callback(storage.background.stop, COMPILING)
    provisions = ProvisionTargets(storage.catalog, clocks)
    tracking = TargetTracking(provisions, engine.provisioned.ready, clocks)
    return EngineParts(engine, resolver, provisions, tracking, recorder, trials)


def _end_session(engine: LocalEngine, change: Change) -> None:
    """Unbinds the instance of a session that was deleted or has expired."""
    if change.kind == records.SESSION and (change.record is None or change.record.document.status == EXPIRED):
        engine.end_session(change.parent, change.name)


def start_provisioned(parts: EngineParts, teardown: AsyncExitStack) -> None:
    """Starts provisioned instances, and keeps as many as are wanted."""
    parts.provisions.start()
    teardown.callback(parts.provisions.close)
    parts.engine.provisioned.start(parts.provisions)
    parts.tracking.start()
    teardown.push_async_callback(parts.tracking.close)


def keep_alive(settings: Settings) -> KeepAlive | None:
    """The limits of learned times; None unless times are learned."""
    if settings.keep_alive == "fixed":
        return None
    return KeepAlive(settings.keep_alive_s, True, settings.keep_alive_min_s, settings.keep_alive_max_s)


def caps(settings: Settings, descriptors_of_instance: int) -> Caps:
    """The engine's caps, from the settings."""
    return Caps(
        instances_per_function=settings.max_instances,
        memory_mb=memory_mb(settings),
        starts_at_once=max(os.cpu_count() or 1, STARTS_AT_ONCE_MIN),
        keep_alive_s=settings.keep_alive_s,
        disk_mb=settings.max_disk_mb,
        instances=descriptors.instances_max(descriptors.of_process(), descriptors_of_instance),
    )


def memory_mb(settings: Settings) -> int:
    """Memory for all instances of this machine, in MB: the setting, or a share of the host's."""
    host_mb = psutil.virtual_memory().total // MIB
    return settings.max_memory_mb or max(int(host_mb * HOST_MEMORY_SHARE), limits.MEMORY_MB_MIN)
