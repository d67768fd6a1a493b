"""The driver `jail`: forks each instance from its runtime's zygote into namespaces and cgroups of its own.

Chosen by `sandbox.drivers`. docs/jail.md lists the steps and what each protects. `open` fails if no jail can be made,
and says what is missing and what to do about it.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sesame.background import BackgroundTasks
from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.errors import ConfigurationError
from sesame.sandbox.cgroups import teardown as cgroups_end
from sesame.sandbox.cgroups.groups import Cgroups
from sesame.sandbox.disk_reserve import DiskReserve
from sesame.sandbox.interface import (
    Enforcement,
    KillReason,
    OnDeath,
    OnOutput,
    SandboxDied,
    SandboxSpec,
    SandboxStartFailed,
    StartFailure,
)
from sesame.sandbox.jail import sweep as jail_sweep
from sesame.sandbox.jail.buckets import BucketMounts
from sesame.sandbox.jail.disks import Disks
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, READY_RESOURCES, HostResourcePool
from sesame.sandbox.jail.installation import NotSeparable
from sesame.sandbox.jail.instance import JailSandbox
from sesame.sandbox.jail.isolation import Findings, Isolation, enforcement, probe
from sesame.sandbox.jail.policy import FILE_DESCRIPTORS, JailPolicy
from sesame.sandbox.jail.prewarmed import READY_PREWARMED, PrewarmedPool
from sesame.sandbox.jail.volumes import VolumeLook, VolumeMounts
from sesame.sandbox.jail.zygote_client import ZygoteClient
from sesame.sandbox.launch import ResolveLaunch
from sesame.sandbox.lifecycle import StartOutput, start_timeout_s
from sesame.sandbox.memory import MEMORY_WATCH_S
from sesame.sandbox.network import Answers, HostAnswers

# What the host observes if an interpreter is missing, not executable, not a program, or exits at once.
NOT_RUNNABLE = frozenset({errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.EPIPE, errno.ECONNRESET})

# Per instance: wire, output, mount namespace, process, order socket, web server monitor, network watch.
OWN_DESCRIPTORS = 7
DISK_WATCH_S = 0.25
# How long the kernel may take to free an ended instance's disk space, and the least that makes ending one worthwhile.
DISK_FREED_S, WORTHWHILE_MB = 2.0, 32


class JailOptions(msgspec.Struct, frozen=True):
    """`runtimes` get their zygote at `open`, others with their first instance. `agent` is as in `HostResourcePool`.

    `cpu` is `shares` of the host's processors, or `cloud` for a quota by memory size. `network` is as in `JailPolicy`,
    or auto: egress where possible. The fields after `ready_prewarmed` are for tests.
    """

    runtimes: tuple[str, ...] = ()
    cpu: str = "shares"
    network: str = "host"
    trusted: Path | None = None
    agent: tuple[int, int] = (1, 1)
    ready_resources: int = READY_RESOURCES
    ready_prewarmed: int = READY_PREWARMED
    cgroups: bool = True
    version_1_freezer: bool = False
    file_descriptors: int = FILE_DESCRIPTORS
    without: frozenset[str] = frozenset()
    disk_reserve_mb: int | None = None
    probe: Callable[[], Isolation] = probe


class JailDriver:
    """Creates jailed instances. `state` is the driver's own directory."""

    name = "jail"

    def __init__(
        self,
        resolve: ResolveLaunch,
        state: Path,
        options: JailOptions | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.resolve = resolve
        self._answers = answers or HostAnswers.none()
        self._state = state
        self._options = options or JailOptions()
        self._isolation = Isolation("none")
        self._policy = JailPolicy()
        self._zygotes: dict[str, ZygoteClient] = {}
        self._retired: list[ZygoteClient] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._sandboxes: set[JailSandbox] = set()
        self._cgroups: Cgroups | None = None
        self._disks: Disks | None = None
        self._resource_pool = HostResourcePool(None, None)
        self._prewarmed_pool = PrewarmedPool(self._resource_pool, self._policy, self._answers)
        self._volumes = VolumeMounts(self._policy)
        self._buckets = BucketMounts(state / "drafts", self._answers)
        self._watches_volumes = False
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._background = BackgroundTasks(SYSTEM_CLOCKS)

    def enforcement(self) -> tuple[Enforcement, ...]:
        """Every wall and limit as enforced here; empty before `open`."""
        if not self._isolation.possible:
            return ()
        return enforcement(
            Findings(
                isolation=self._isolation,
                controllers=self._cgroups.controllers if self._cgroups is not None else frozenset(),
                freezer=self._cgroups.freezer if self._cgroups is not None else "",
                disk_image=self._disks is not None,
                cpu=self._options.cpu,
                network=self._policy.network,
            )
        )

    async def open(self) -> None:
        """Raises `ConfigurationError` if no jail can be made, saying what is missing and what to do."""
        self._isolation = await asyncio.to_thread(self._options.probe)
        if not self._isolation.possible:
            raise ConfigurationError(f"sandbox jail: {self._isolation.reason}. Next: {self._isolation.hint}")
        try:
            await self._open()
        except OSError as error:
            await self.close()
            raise ConfigurationError(f"sandbox jail: {error}") from error
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        options = self._options
        user_namespace = self._isolation.kind == "user"
        self._policy = JailPolicy(
            user_namespace,
            options.cpu,
            self._chosen_network(),
            options.file_descriptors,
            options.without,
            options.trusted,
        )
        self._volumes = VolumeMounts(self._policy)
        self._buckets.open(self._isolation)
        (self._state / "root").mkdir(parents=True, exist_ok=True)
        self._cgroups = await asyncio.to_thread(self._open_cgroups)
        if self._cgroups is not None:
            self._watchdog = self._start_watchdog(self._cgroups)
        if not user_namespace:
            self._disks = await asyncio.to_thread(self._open_disks)
        self._resource_pool = HostResourcePool(self._cgroups, self._disks, options.agent, ready=options.ready_resources)
        self._prewarmed_pool = PrewarmedPool(
            self._resource_pool, self._policy, self._answers, ready=options.ready_prewarmed
        )
        await self._resource_pool.open()
        if self._cgroups is None or "memory" not in self._cgroups.controllers:
            self._background.keep("watching instances", self._watch_instances)
        if self._disks is not None:
            self._background.keep("watching the disk", self._watch_disk)
        for runtime in options.runtimes:
            # The first call that needs this runtime reports the failure.
            with contextlib.suppress(SandboxStartFailed):
                self._zygote(runtime)

    def descriptors(self, listens: int) -> int:
        """See `SandboxDriver.descriptors`. Custom runtimes have their own networks wherever that is possible."""
        return OWN_DESCRIPTORS + (0 if self._isolation.no_network else listens)

    @property
    def network(self) -> str:
        """See `SandboxDriver.network`."""
        return self._policy.network

    @property
    def no_network(self) -> str:
        """See `SandboxDriver.no_network`."""
        return self._isolation.no_network if self._options.network == "auto" else ""

    @property
    def leads_out(self) -> frozenset[int]:
        """See `SandboxDriver.leads_out`."""
        return self._isolation.leads_out

    @property
    def only_proxy(self) -> str:
        """See `SandboxDriver.only_proxy`."""
        return self._isolation.no_way_out if self._policy.network == "egress" else ""

    @property
    def no_buckets(self) -> str:
        """See `SandboxDriver.no_buckets`."""
        return self._buckets.problem

    def zygote_pid(self, runtime: str) -> int:
        """The pid of the runtime's zygote; 0 if it has none."""
        zygote = self._zygotes.get(runtime)
        return zygote.pid if zygote is not None else 0

    @property
    def watchdog_pid(self) -> int:
        """0 without cgroups, when no watchdog is needed."""
        return self._watchdog.pid if self._watchdog is not None else 0

    @property
    def cgroups(self) -> Cgroups | None:
        return self._cgroups

    @property
    def has_disk_images(self) -> bool:
        """Whether /tmp is a disk image; otherwise it is a tmpfs."""
        return self._disks is not None

    def sandboxes(self) -> set[JailSandbox]:
        """The sandboxes that have not been removed completely."""
        return set(self._sandboxes)

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: OnDeath) -> JailSandbox:
        """See `SandboxDriver.create`."""
        zygote = self._zygote(spec.runtime)
        if spec.volumes and not self._watches_volumes:
            self._watches_volumes = True
            self._background.keep("watching volumes", self._watch_volumes)
        output = StartOutput(on_output)
        sandbox = JailSandbox(spec, self._policy, self._resource_pool, self._volumes, self._buckets, on_death)
        self._sandboxes.add(sandbox)
        sandbox.on_end(lambda: self._sandboxes.discard(sandbox))

        async def start() -> None:
            async with asyncio.timeout(start_timeout_s(spec)):
                await self._prewarmed_pool.undisturbed(zygote, sandbox.start, output)

        starting = asyncio.create_task(start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Let the start complete, within its time limit: only then is it known what must be killed.
            await asyncio.wait([starting])
            if not starting.cancelled():
                # Retrieved here, because the caller gets the cancellation.
                starting.exception()
            await sandbox.kill(KillReason.CANCELED)
            raise
        except (TimeoutError, SandboxDied, SandboxStartFailed, OSError) as error:
            how = await sandbox.exited_by_itself()
            await sandbox.kill(KillReason.FAILED)
            raise SandboxStartFailed.of(
                error, interpreter=zygote.launch.interpreter, exit=how, output=output.text()
            ) from error
        return sandbox

    async def settled(self) -> None:
        """Returns once everything that is prepared ahead of use is ready."""
        await self._prewarmed_pool.settled()
        await self._resource_pool.settled()

    async def close(self) -> None:
        await self._background.close()
        await asyncio.gather(*(sandbox.kill(KillReason.STOPPING) for sandbox in list(self._sandboxes)))
        await asyncio.gather(*self._retiring)
        await self._prewarmed_pool.close()
        await asyncio.gather(*(zygote.close() for zygote in [*self._zygotes.values(), *self._retired]))
        await self._resource_pool.close()
        await asyncio.to_thread(self._volumes.close)
        await self._buckets.close()
        if self._cgroups is not None:
            await asyncio.to_thread(self._cgroups.clear)
        if self._watchdog is not None:
            await asyncio.to_thread(self._watchdog.communicate)

    def _chosen_network(self) -> str:
        wanted, problem = self._options.network, self._isolation.no_network
        if wanted == "auto":
            return "host" if problem else "egress"
        if wanted != "host" and problem:
            raise ConfigurationError(
                f"network {wanted}: no instance can have a network of its own here: {problem}. Next: --network host"
            )
        return wanted

    def _open_cgroups(self) -> Cgroups | None:
        """None if no group can be created; memory is then sampled, as `enforcement` reports."""
        layout = jail_sweep.hierarchies()
        jail_sweep.sweep(layout)
        if not layout.bases or not self._options.cgroups:
            return None
        cgroups = Cgroups(layout, jail_sweep.own_name(secrets.token_hex(4)))
        try:
            cgroups.open(version_1_freezer=self._options.version_1_freezer)
        except OSError:
            cgroups.clear()
            return None
        return cgroups

    def _open_disks(self) -> Disks | None:
        """None if no image can be mounted; /tmp is then a tmpfs, as `enforcement` reports."""
        disks = Disks(self._state)
        try:
            os.close(disks.take(DEFAULT_DISK_MB))
        except OSError:
            disks.close()
            return None
        return disks

    async def _watch_instances(self) -> None:
        """Uses a thread of its own, so that blocking work elsewhere cannot delay it."""
        with _thread("watching-instances") as executor:
            while True:
                await asyncio.sleep(MEMORY_WATCH_S)
                for sandbox in list(self._sandboxes):
                    await sandbox.check_limits(executor)

    async def _watch_disk(self) -> None:
        """POLICY: while the reserve is reached, end the instance with the largest /tmp, one after the other."""
        reserve = DiskReserve(self._state, self._options.disk_reserve_mb)
        while True:
            await asyncio.sleep(DISK_WATCH_S)
            if shortage := reserve.shortage():
                largest = max(self._sandboxes, key=JailSandbox.disk_used_mb, default=None)
                if largest is not None and largest.disk_used_mb() >= WORTHWHILE_MB:
                    largest.end_for_disk(shortage)
                    await asyncio.sleep(DISK_FREED_S)

    async def _watch_volumes(self) -> None:
        """Uses a thread of its own, because a volume's file system may not respond."""
        with _thread("watching-volumes") as executor:
            while True:
                await asyncio.sleep(DISK_WATCH_S)
                look = VolumeLook(executor, self._options.disk_reserve_mb)
                for sandbox in list(self._sandboxes):
                    await sandbox.check_volumes(look)

    @staticmethod
    def _start_watchdog(cgroups: Cgroups) -> subprocess.Popen[bytes]:
        """Starts it in its own session, so that signals to Sesame's process group do not reach it."""
        return subprocess.Popen(
            [sys.executable, "-E", "-s", "-S", cgroups_end.__file__, *cgroups.paths()],
            stdin=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )

    def _zygote(self, runtime: str) -> ZygoteClient:
        """The runtime's zygote; a new one if it has died or its launch has changed."""
        try:
            launch = self.resolve(runtime)
        except LookupError as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
        family = launch.family or runtime
        zygote = self._zygotes.get(family)
        if zygote is None or not zygote.alive or zygote.launch != launch:
            if zygote is not None:
                self._retire(zygote)
            zygote = self._zygotes[family] = ZygoteClient(launch, self._state / "root", self._policy)
            try:
                zygote.open()
            except NotSeparable as error:
                del self._zygotes[family]
                raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
            except OSError as error:
                del self._zygotes[family]
                kind = StartFailure.CRASHED if error.errno in NOT_RUNNABLE else StartFailure.TRANSIENT
                raise SandboxStartFailed(
                    f"{launch.interpreter}: the zygote cannot be started: {error}",
                    kind,
                    "the interpreter of its runtime cannot be run",
                ) from error
            self._prewarmed_pool.refill_later(zygote)
        return zygote

    def _retire(self, zygote: ZygoteClient) -> None:
        """Forks no more instances from this zygote. Its instances continue; it is closed with the driver."""
        self._retired.append(zygote)
        task = asyncio.create_task(self._prewarmed_pool.retire(zygote))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


@contextlib.contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """Does not join the thread at exit: an unresponsive file system would block the event loop forever."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
