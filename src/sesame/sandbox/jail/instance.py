"""One jailed instance: its channel, its process 1, its host resources, and the order in which they come and go.

Created by `jail.driver`. Host resources are returned only after the kernel has reported that the last process is gone.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sesame.model.command import Command
from sesame.model.usage import Usage
from sesame.sandbox import stack_dump, usage
from sesame.sandbox.addresses import CODE_ROOT, LAYER_ROOT
from sesame.sandbox.cgroups.groups import Limits
from sesame.sandbox.deaths import line_of
from sesame.sandbox.disk_reserve import used_mb
from sesame.sandbox.exec_streams import CommandExecution
from sesame.sandbox.interface import Call, Death, KillReason, OnDeath, Reply, SandboxDied, SandboxSpec
from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail import told
from sesame.sandbox.jail.buckets import BucketMounts, InstanceBuckets
from sesame.sandbox.jail.exec import Commands, Inside
from sesame.sandbox.jail.host_resources import HostResourcePool, HostResources
from sesame.sandbox.jail.late import Lend
from sesame.sandbox.jail.plan import SHIM_ROOT, SITE_PACKAGES_ROOT, needs_own_start
from sesame.sandbox.jail.policy import PROCESSES, JailPolicy
from sesame.sandbox.jail.prewarmed import PrewarmedPool
from sesame.sandbox.jail.processes import first_child, signal_function
from sesame.sandbox.jail.volumes import VolumeLook, VolumeMounts
from sesame.sandbox.jail.watch import Watch
from sesame.sandbox.jail.zygote_client import JailedProcess, ZygoteClient
from sesame.sandbox.lifecycle import (
    KILLED_FROM_OUTSIDE,
    RESULT_GRACE_S,
    START_EXIT_GRACE_S,
    Lifecycle,
    StartOutput,
    State,
)
from sesame.sandbox.memory import Gauge
from sesame.sandbox.stack_dump import HeldOutput
from sesame.sandbox.web.channel import WebChannel, channel_of
from sesame.sandbox.wire import Channel, Output

MIB = 1024 * 1024
# The memory size that comes with one processor: the cloud gives 0.35 processors to 512 MB (reference/api.md §7).
MEMORY_MB_PER_PROCESSOR = 1536
# From runtime/jail/steps.py: the exit status of a process that could not complete its jail.
JAIL_FAILED = "exit status 125"


class JailSandbox:
    """`start` brings it up; it then takes calls until it ends."""

    def __init__(
        self,
        spec: SandboxSpec,
        policy: JailPolicy,
        resource_pool: HostResourcePool,
        volumes: VolumeMounts,
        bucket_mounts: BucketMounts,
        on_death: OnDeath,
    ) -> None:
        self._spec = spec
        self._policy = policy
        self._resource_pool = resource_pool
        self._volumes = volumes
        self._bucket_mounts = bucket_mounts
        self._buckets = InstanceBuckets()
        self._life = Lifecycle(self._end, on_death, concurrent=spec.web_server is not None)
        self._phases: dict[str, float] = {}
        self._channel: Channel | WebChannel | None = None
        self._resources: HostResources | None = None
        self._init: JailedProcess | None = None
        self._commands: Commands | None = None
        self._gauge: Gauge | None = None
        self._watch: Watch | None = None
        self._baseline_mb = 0.0
        self._peak_mb = 0.0
        self._output = HeldOutput(lambda _data: None)
        self._request_id = ""
        self._compiled: list[tuple[str, int]] = []
        self._starts_anew = spec.web_server is None and needs_own_start(spec.environment)

    @property
    def instance_id(self) -> str:
        return self._spec.instance_id

    @property
    def init_pid(self) -> int:
        """The host's pid of the instance's process 1; 0 before it is forked."""
        return self._init.pid if self._init is not None else 0

    @property
    def resources(self) -> HostResources | None:
        """The instance's host resources; None before it is forked."""
        return self._resources

    @property
    def phases(self) -> Mapping[str, float]:
        return self._phases

    @property
    def death(self) -> SandboxDied | None:
        return self._life.death

    def on_end(self, callback: Callable[[], object]) -> None:
        self._life.on_end(callback)

    async def exited_by_itself(self) -> str:
        """How the process ended before it was ready; "" if it still runs, was killed from outside or has no jail.

        A jail fails for reasons of the host, for example because one of its two processes was killed.
        """
        if self._init is None:
            return ""
        with contextlib.suppress(TimeoutError):
            # The socket closes a moment before the process ends.
            await asyncio.wait_for(self._init.gone.wait(), START_EXIT_GRACE_S)
        how = self._init.describe_exit()
        return "" if how in (KILLED_FROM_OUTSIDE, JAIL_FAILED) else how

    async def start(self, zygote: ZygoteClient, prewarmed_pool: PrewarmedPool, output: StartOutput) -> None:
        """On return the shim is ready. After `SandboxStartFailed`, `SandboxDied` or `OSError` the caller kills it."""
        self._output = HeldOutput(output)
        clock = _LapClock(self._phases)
        resident_kb = await zygote.ready()
        # A program started by exec shares no memory with the zygote.
        self._baseline_mb = 0.0 if self._starts_anew or self._spec.web_server is not None else resident_kb / 1024
        clock.lap("zygote_ms")
        prewarmed = await prewarmed_pool.take(zygote, self._spec.disk_mb)
        resources, init = self._resources, self._init = prewarmed.resources, prewarmed.jailed
        printed = Output(prewarmed.output_fd, self._output)
        self._channel = channel_of(self._spec, prewarmed.wire, printed, self._life.stream_ended)
        clock.lap("fork_ms")
        with contextlib.ExitStack() as until_sent:
            fds: list[int] = []

            def lend(fd: int) -> int:
                """Adds a descriptor, to be closed once the message is sent; returns its index."""
                until_sent.callback(os.close, fd)
                fds.append(fd)
                return len(fds) - 1

            fields = self._order(zygote, lend)
            fields["volumes"] = await self._volumes.lend(self._spec.volumes, resources.uid, lend)
            fields["image"] = await self._volumes.lend_root(self._spec.image, resources.uid, lend)
            self._buckets = await self._bucket_mounts.lend(self._spec, resources.uid, lend, self._buckets_lost)
            fields["volumes"] += self._buckets.orders
            prewarmed.order(fields, fds)
        # Meanwhile the instance is mounting. The function's code runs only after the setup, which is sent later.
        if resources.group is not None:
            resources.group.limit(self._limits())
        self._commands = self._commands_of(zygote, resources, init)
        clock.lap("mounts_ms")
        await self._channel.open()
        init.on_gone = self._on_gone
        if self._spec.web_server is not None and resources.network is not None:
            # The function may want to listen on a port of Sesame's endpoints.
            await resources.network.release(self._spec.web_server.port)
        if not self._spec.internet and resources.network is not None:
            await resources.network.confine()
        roots = [root for root, _at in self._compiled]
        await self._channel.setup(told.setup(self._spec, zygote.launch, roots))
        clock.lap("shim_ms")
        if not resources.counts_memory:
            self._gauge = Gauge(first_child(init.pid), init=init.pid)
            if self._policy.holds("memory"):
                self._watch = Watch(self._gauge, init, self._spec.memory_mb)
        output.ready()
        self._life.move(State.READY)

    def call(self, call: Call) -> Coroutine[Any, Any, Reply]:
        assert self._channel is not None
        self._request_id = call.request_id or self._request_id
        if call.keys is not None:
            self._buckets.use(call.keys)
        return self._life.run_call(self._channel.call(call))

    async def exec(self, command: Command) -> CommandExecution:
        if self._commands is None or not self._life.living:
            raise SandboxDied(Death.EXIT, "the instance has ended")
        return await self._commands.start(command)

    async def kill(self, reason: KillReason) -> None:
        init, channel = self._init, self._channel
        if reason is KillReason.TIMEOUT and init is not None and channel is not None and not init.gone.is_set():
            self.thaw()
            crowd = self._watch is not None and self._watch.is_crowd
            if crowd:
                init.end_crowd()
            channel.hang_up()
            if not await stack_dump.within(stack_dump.ASK_SHIM_S, init.gone):
                self._output.hold()
                signal_function(init.pid, stack_dump.DUMP_SIGNAL)
                await self._output.answered(init.gone, crowd=crowd)
        await self._life.end(SandboxDied(Death.KILLED, reason.value))

    def memory_peak_mb(self) -> float:
        """The cgroup's peak without the page cache of files, plus the memory shared with the zygote.

        Without a memory cgroup: the peak of the resident sets, as `sandbox.memory` counts them.
        """
        if self._life.living:
            self._count_memory()
        return self._peak_mb

    async def usage(self) -> Usage | None:
        init, group = self._init, self._resources.group if self._resources is not None else None
        if init is None or not self._life.living:
            return None
        quota = self._limits().cpu_quota if group is not None and group.limits_cpu else None
        found = await asyncio.to_thread(usage.of_group, group, init.pid, self._baseline_mb, quota)
        return found if self._life.living else None

    def freeze(self) -> None:
        if self._init is not None and self._life.state is State.READY:
            self._life.move(State.FROZEN)
            if isinstance(self._channel, WebChannel):
                self._channel.forget_idle()
            group = self._resources.group if self._resources is not None else None
            if group is None or not group.freeze():
                self._init.stop()

    def thaw(self) -> None:
        if self._life.state is State.FROZEN:
            self._life.move(State.READY)
            if self._watch is not None:
                self._watch.thawed()
            self._thaw_processes()

    async def check_limits(self, executor: ThreadPoolExecutor) -> None:
        """Without a memory cgroup: ends an instance that exceeds its limit; keeps a frozen one stopped."""
        if self._watch is None or not self._life.living:
            return
        look = self._watch.keep_stopped if self._life.state is State.FROZEN else self._watch.overrun
        if cause := await look(executor):
            self._life.lost(cause)

    async def check_volumes(self, look: VolumeLook) -> None:
        """POLICY: while a volume's disk has reached its reserve, every instance that could write to it is ended."""
        if self._spec.volumes and self._life.state in (State.READY, State.CALLING):
            shortage = await look.shortage(self._spec.volumes)
            if shortage and self._life.living:
                self._life.lost(SandboxDied(Death.DISK, shortage))

    def disk_used_mb(self) -> float:
        """MB used in its /tmp, if that is an image; 0 while it is ending."""
        return used_mb(Path(f"/proc/{self.init_pid}/root/tmp")) if self.init_pid and self._life.living else 0.0

    def end_for_disk(self, shortage: str) -> None:
        self._life.lost(SandboxDied(Death.DISK, f"{self.disk_used_mb():.0f} MB in /tmp; {shortage}"))

    def _order(self, zygote: ZygoteClient, lend: Lend) -> dict[str, Any]:
        """The message that turns a prewarmed sandbox into this function's instance."""
        spec = self._spec
        counted = self._resources is not None and self._resources.counts_memory
        mounts: list[tuple[str, int]] = []
        binds: list[tuple[str, list[str]]] = []

        def show(target: str, fd: int) -> None:
            mounts.append((target, lend(fd)))

        if self._policy.user_namespace:
            if spec.code_dir is not None:
                binds.append((CODE_ROOT, [str(spec.code_dir.resolve())]))
            if spec.layer_dirs:
                binds.append((LAYER_ROOT, [str(layer.resolve()) for layer in spec.layer_dirs]))
        else:
            holds = self._policy.holds
            if spec.code_dir is not None:
                show(CODE_ROOT, jail_mounts.tree(spec.code_dir, read_only=holds("read-only"), nosuid=holds("nosuid")))
            if spec.layer_dirs:
                show(LAYER_ROOT, jail_mounts.merged_tree(spec.layer_dirs, read_only=holds("read-only")))
        self._compiled = self._lend_compiled(lend)
        return {
            "mounts": mounts,
            "binds": binds,
            "compiled": [at for _root, at in self._compiled],
            # The cgroup counts it as memory; without one, it may take half the function's memory in addition.
            "shm_mb": spec.memory_mb if counted else spec.memory_mb // 2,
            "hostname": told.hostname_of(spec),
            "site_packages": SITE_PACKAGES_ROOT if zygote.launch.site_packages is not None else "",
            "environment": self._environment(told.environment(spec, zygote.launch)),
            "start_anew": self._starts_anew,
        }

    def _lend_compiled(self, lend: Lend) -> list[tuple[str, int]]:
        """Lends the compiled archives of code and layers: pairs of a root and the descriptor's index."""
        roots = [CODE_ROOT, *(LAYER_ROOT for _layer in self._spec.layer_dirs)]
        found: list[tuple[str, int]] = []
        for root, path in zip(roots, self._spec.compiled, strict=False):
            with contextlib.suppress(FileNotFoundError):
                found.append((root, lend(os.open(path, os.O_RDONLY))))
        return found

    def _limits(self) -> Limits:
        holds = self._policy.holds
        # Pages shared with the zygote count as the function's, so that the limit matches what `memory_peak_mb` reports.
        memory = int((self._spec.memory_mb - self._baseline_mb) * MIB) if holds("memory") else None
        processors = self._spec.cpu or self._spec.memory_mb / MEMORY_MB_PER_PROCESSOR
        quota = processors if self._policy.cpu == "cloud" else None
        shares = self._spec.cpu_shares
        if shares is None:
            shares = round(processors * MEMORY_MB_PER_PROCESSOR)
        return Limits(memory, PROCESSES if holds("processes") else None, shares, quota)

    def _environment(self, composed: dict[str, str]) -> dict[str, str]:
        if self._resources is not None and self._resources.network is not None:
            self._resources.network.add_variables(composed)
        return composed

    def _commands_of(self, zygote: ZygoteClient, resources: HostResources, init: JailedProcess) -> Commands:
        environment = self._environment(told.command_environment(self._spec, zygote.launch))
        inside = Inside(zygote, resources, init, self._policy, environment, told.working_dir(self._spec))
        cause = SandboxDied(Death.KILLED, "a command's processes could not be accounted for")
        return Commands(inside, lambda: self._life.lost(cause))

    def _on_gone(self) -> None:
        self._life.process_ended(self._give_up)

    def _buckets_lost(self) -> None:
        self._life.lost(SandboxDied(Death.KILLED, "the process that serves its mounted buckets has ended"))

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.end(SandboxDied(Death.EXIT))

    async def _end(self, cause: SandboxDied) -> SandboxDied:
        self._count_memory()
        if self._init is not None:
            if cause.reason is Death.EXIT:
                # The stream ends a moment before the process. Waiting for the process tells how it ended.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._init.gone.wait(), RESULT_GRACE_S)
            # Before the processes end: files not closed become no objects, and no process keeps waiting for an answer.
            self._buckets.end()
            self._init.kill()
            if self._life.ended_frozen:
                # A version 1 freezer delays even SIGKILL.
                self._thaw_processes()
            if self._commands is not None:
                await self._commands.close()
            await self._init.gone.wait()
            if cause.reason is Death.EXIT:
                cause = self._cause_of_death(self._init)
        if self._channel is not None:
            self._channel.close()
            self._output.release(self._request_id, SHIM_ROOT)
        if self._life.ended_idle:
            # No call will report this end, so log it here.
            self._output.line(line_of(cause.reason, str(cause)))
        if self._resources is not None:
            self._resource_pool.remove(self._resources)
        if self._gauge is not None:
            self._gauge.close()
        return cause

    def _count_memory(self) -> None:
        if self._gauge is not None:
            self._peak_mb = self._gauge.look_at_main()
        elif (resources := self._resources) is not None and resources.group is not None:
            self._peak_mb = resources.group.memory_peak_bytes() / MIB + self._baseline_mb

    def _thaw_processes(self) -> None:
        group = self._resources.group if self._resources is not None else None
        if self._init is not None and (group is None or not group.thaw()):
            self._init.resume()

    def _cause_of_death(self, init: JailedProcess) -> SandboxDied:
        group = self._resources.group if self._resources is not None else None
        how = init.describe_exit()
        kills = group.memory_kills() if group is not None else 0
        # The kernel may have killed a child for memory before the function's process ended for another reason.
        if how in ("", KILLED_FROM_OUTSIDE) and kills:
            return SandboxDied(Death.OUT_OF_MEMORY, f"{self._peak_mb:.2f} MB of {self._spec.memory_mb} MB")
        if kills:
            how += f"; {kills} of its processes had been killed because it was out of memory"
        if group is not None and (refused := group.processes_refused()):
            how += f"; {refused} times a new process or thread had been refused: at most {PROCESSES} may run"
        return SandboxDied(Death.EXIT, how)


class _LapClock:
    """Records the milliseconds between laps."""

    def __init__(self, phases: dict[str, float]) -> None:
        self._phases = phases
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._phases[name] = (now - self._last) * 1000
        self._last = now
