"""The driver `plain`: each instance is a separate process, with limits that need no privileges.

Chosen by `sandbox.drivers`. Not a security boundary, as `enforcement` states: the function runs as Sesame's own user
and sees the host's files.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.background import BackgroundTasks
from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.command import Command
from sesame.model.usage import Usage
from sesame.sandbox import addresses, stack_dump, usage
from sesame.sandbox.deaths import line_of
from sesame.sandbox.exec_streams import CommandExecution
from sesame.sandbox.interface import (
    Call,
    Death,
    Enforcement,
    KillReason,
    OnDeath,
    OnOutput,
    Reply,
    SandboxDied,
    SandboxSpec,
    SandboxStartFailed,
    StartFailure,
)
from sesame.sandbox.launch import Launch, ResolveLaunch
from sesame.sandbox.lifecycle import (
    KILLED_FROM_OUTSIDE,
    START_EXIT_GRACE_S,
    Lifecycle,
    StartOutput,
    State,
    start_timeout_s,
)
from sesame.sandbox.memory import MEMORY_WATCH_S, Gauge, tree
from sesame.sandbox.process import scratch as scratch_files
from sesame.sandbox.process.exec import Commands
from sesame.sandbox.process.spawner import OUTPUT_FD, SOCKET_FD, Process, Spawner, Start
from sesame.sandbox.process.volumes import NO_BUCKETS, refuse_buckets, require_in_place
from sesame.sandbox.stack_dump import HeldOutput
from sesame.sandbox.web.channel import WebChannel, channel_of
from sesame.sandbox.wire import Channel, Output

DISK_WATCH_EVERY = 10
FILE_DESCRIPTORS = 100_000
# Of this process, per instance: its wire, its output, and the socket of a web server's monitor.
OWN_DESCRIPTORS = 3
MIB = 1024 * 1024
LINUX = sys.platform.startswith("linux")


class PlainDriver:
    """Starts processes through one spawner. `scratch` holds the driver's files, in `shim` and `instances`."""

    name = "plain"

    def __init__(self, resolve: ResolveLaunch, scratch: Path) -> None:
        self.resolve = resolve
        self._scratch = scratch
        self._shim = scratch / "shim"
        self._spawner = Spawner()
        self._sandboxes: dict[str, PlainSandbox] = {}
        self._background = BackgroundTasks(SYSTEM_CLOCKS)

    @property
    def network(self) -> str:
        return "host"

    @property
    def no_network(self) -> str:
        # The code that chooses the driver reports what this one does not isolate.
        return ""

    @property
    def leads_out(self) -> frozenset[int]:
        return frozenset()

    @property
    def only_proxy(self) -> str:
        return ""

    @property
    def no_buckets(self) -> str:
        return NO_BUCKETS

    def descriptors(self, listens: int) -> int:
        """See `SandboxDriver.descriptors`."""
        return OWN_DESCRIPTORS

    def enforcement(self) -> tuple[Enforcement, ...]:
        orphans = "orphans are found by session and environment" if LINUX else "only the process group is killed"
        memory = f"resident sets looked at every {MEMORY_WATCH_S:g} s of a call, then SIGKILL"
        return (
            Enforcement("time limit", True, "the host's clock, then SIGKILL"),
            Enforcement("processes ended with their instance", LINUX, f"the spawner process; {orphans}"),
            Enforcement("memory", True, memory),
            Enforcement("open files", True, f"RLIMIT_NOFILE {FILE_DESCRIPTORS} or the host's own limit"),
            Enforcement("size of TMPDIR", True, "RLIMIT_FSIZE for a file, the sum looked at every second of a call"),
            Enforcement("freezing while idle", True, "SIGSTOP to every process of the instance"),
            Enforcement("number of processes", False, "RLIMIT_NPROC counts a user, not an instance"),
            Enforcement("own file system", False, "the function sees the host's files; /tmp is shared, TMPDIR its own"),
            Enforcement("read-only code", False, "the function runs as Sesame's user"),
            Enforcement("code at /code", False, "shown so in error traces; the directory is elsewhere"),
            Enforcement("NAS at its mountDir", False, "needs a mount; served where the host has that directory there"),
            Enforcement("own user, network and system calls", False, "needs the driver jail"),
        )

    @property
    def spawner_pid(self) -> int:
        return self._spawner.pid

    def instance_ids(self) -> set[str]:
        """The instances that have not been removed completely."""
        return set(self._sandboxes)

    async def open(self) -> None:
        await asyncio.to_thread(scratch_files.lay_out, self._scratch, self._shim)
        self._spawner.open()
        self._background.keep("watching calls", self._watch_calls)

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: OnDeath) -> "PlainSandbox":
        """See `SandboxDriver.create`."""
        if not self._spawner.alive:
            # The spawner was killed from outside, together with its instances.
            await self._spawner.close()
            self._spawner.open()
        try:
            launch = self.resolve(spec.runtime)
        except LookupError as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
        if spec.image is not None:
            raise SandboxStartFailed(
                f"The image '{spec.image.name}' cannot run in the sandbox 'plain', which makes no mounts: run "
                "Sesame on Linux with --sandbox jail",
                StartFailure.REFUSED,
            )
        refuse_buckets(spec.buckets)
        if spec.volumes:
            # In a thread, because the file system of a volume may not respond.
            await asyncio.to_thread(require_in_place, spec.volumes)
        output = StartOutput(on_output)
        sandbox = PlainSandbox(spec, self._scratch / "instances" / spec.instance_id, on_death)
        self._sandboxes[spec.instance_id] = sandbox
        sandbox.on_end(lambda: self._sandboxes.pop(spec.instance_id, None))
        try:
            async with asyncio.timeout(start_timeout_s(spec)):
                await sandbox.start(self._spawner, launch, self._shim, output)
        except (TimeoutError, SandboxDied, OSError, SandboxStartFailed) as error:
            how = await sandbox.exited_by_itself()
            await sandbox.kill(KillReason.FAILED)
            raise SandboxStartFailed.of(
                error, interpreter=launch.interpreter, exit=how, output=output.text()
            ) from error
        except BaseException:
            await sandbox.kill(KillReason.CANCELED)
            raise
        return sandbox

    async def close(self) -> None:
        await self._background.close()
        await asyncio.gather(*(sandbox.kill(KillReason.STOPPING) for sandbox in list(self._sandboxes.values())))
        await self._spawner.close()
        await asyncio.to_thread(scratch_files.clear, self._scratch)

    async def _watch_calls(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(MEMORY_WATCH_S)
            tick += 1
            for sandbox in list(self._sandboxes.values()):
                if sandbox.calling:
                    sandbox.check_memory()
                    if tick % DISK_WATCH_EVERY == 0:
                        await sandbox.check_disk()


class PlainSandbox:
    """One process with its socket, its output pipe and its temporary directory."""

    def __init__(self, spec: SandboxSpec, directory: Path, on_death: OnDeath) -> None:
        self._spec = spec
        self._directory = directory
        self._life = Lifecycle(self._end, on_death, self._check_after_call, concurrent=spec.web_server is not None)
        self._call_began = 0.0
        self._phases: dict[str, float] = {}
        self._channel: Channel | WebChannel | None = None
        self._process: Process | None = None
        self._commands: Commands | None = None
        self._gauge: Gauge | None = None
        self._output = HeldOutput(lambda _data: None)
        self._request_id = ""
        self._shim = ""

    @property
    def instance_id(self) -> str:
        return self._spec.instance_id

    @property
    def pid(self) -> int:
        """The pid of the function's process; 0 before it is started."""
        return self._process.pid if self._process is not None else 0

    @property
    def phases(self) -> Mapping[str, float]:
        return self._phases

    @property
    def death(self) -> SandboxDied | None:
        return self._life.death

    @property
    def calling(self) -> bool:
        return self._life.state is State.CALLING

    def on_end(self, callback: Callable[[], object]) -> None:
        self._life.on_end(callback)

    async def exited_by_itself(self) -> str:
        """How the process ended before it was ready; "" if it still runs or was killed from outside."""
        if self._process is None:
            return ""
        with contextlib.suppress(TimeoutError):
            # The socket closes a moment before the process ends.
            await asyncio.wait_for(self._process.exited.wait(), START_EXIT_GRACE_S)
        how = self._process.describe_exit()
        return "" if how == KILLED_FROM_OUTSIDE else how

    async def start(self, spawner: Spawner, launch: Launch, shim: Path, output: StartOutput) -> None:
        """On return the shim is ready. After `SandboxStartFailed`, `SandboxDied` or `OSError` the caller kills it."""
        began_at = time.monotonic()
        temporary = self._directory / "tmp"
        temporary.mkdir(parents=True)
        spec = self._spec
        self._shim = str(shim)
        self._output = HeldOutput(output)
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        start = Start(
            instance_id=spec.instance_id,
            argv=_argv(launch, shim, spec.environment),
            env=addresses.environment(spec, launch.interpreter, temporary),
            cwd=str(spec.code_dir),
            limits={"RLIMIT_CORE": 0, "RLIMIT_NOFILE": FILE_DESCRIPTORS, "RLIMIT_FSIZE": spec.disk_mb * MIB},
        )
        try:
            self._channel = channel_of(spec, ours, Output(reading, self._output), self._life.stream_ended)
            self._process = await spawner.spawn(start, (theirs.fileno(), writing), self._on_exit)
        finally:
            theirs.close()
            os.close(writing)
        self._phases["fork_ms"] = (time.monotonic() - began_at) * 1000
        self._gauge = Gauge(self._process.pid)
        await self._channel.open()
        environment = {**start.env, "PWD": start.cwd}
        if spec.web_server is None:
            setup = addresses.setup(spec, notice=launch.notice)
            paths = [*setup["sys_path"], *([str(launch.site_packages)] if launch.site_packages is not None else [])]
            # The environment that the shim sets for programs started by the function; commands get the same.
            environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        else:
            setup = addresses.setup_of_web_server(spec, str(shim), launch)
        version = await self._channel.setup(setup)
        self._commands = Commands(spawner, msgspec.structs.replace(start, env=environment))
        self._phases["interpreter_ms"] = (time.monotonic() - began_at) * 1000 - self._phases["fork_ms"]
        if not version:
            raise SandboxStartFailed("the shim did not say which Python it runs under")
        output.ready()
        self._life.move(State.READY)

    def call(self, call: Call) -> Coroutine[Any, Any, Reply]:
        assert self._channel is not None
        self._call_began = time.monotonic()
        self._request_id = call.request_id or self._request_id
        return self._life.run_call(self._channel.call(call))

    async def exec(self, command: Command) -> CommandExecution:
        if self._commands is None or not self._life.living:
            raise SandboxDied(Death.EXIT, "the instance has ended")
        return await self._commands.start(command)

    async def kill(self, reason: KillReason) -> None:
        process, channel = self._process, self._channel
        if reason is KillReason.TIMEOUT and process is not None and channel is not None and not process.exited.is_set():
            process.signal(signal.SIGCONT, group=True)
            if LINUX:
                channel.hang_up()
            else:
                process.signal(signal.SIGTERM, group=False)
            if not await stack_dump.within(stack_dump.ASK_SHIM_S, process.exited) and LINUX:
                self._output.hold()
                process.signal(stack_dump.DUMP_SIGNAL, group=False)
                await self._output.answered(process.exited)
        await self._life.end(SandboxDied(Death.KILLED, reason.value))

    def memory_peak_mb(self) -> float:
        return self._gauge.peak_mb if self._gauge is not None else 0.0

    async def usage(self) -> Usage | None:
        if self._process is None or not self._life.living:
            return None
        pid = self._process.pid
        found = await asyncio.to_thread(lambda: usage.of_processes(tree(pid) if LINUX else [pid]))
        return found if self._life.living else None

    def freeze(self) -> None:
        if self._process is not None and self._life.state is State.READY:
            self._life.move(State.FROZEN)
            if isinstance(self._channel, WebChannel):
                self._channel.forget_idle()
            self._process.signal(signal.SIGSTOP, group=True)

    def thaw(self) -> None:
        if self._process is not None and self._life.state is State.FROZEN:
            self._life.move(State.READY)
            self._process.signal(signal.SIGCONT, group=True)

    def check_memory(self) -> None:
        """Ends the instance if it holds more memory than its limit."""
        if self._gauge is not None and self._life.living:
            used_mb = self._gauge.look_at_tree(self._spec.memory_mb)
            if used_mb > self._spec.memory_mb:
                self._life.lost(self._out_of_memory(used_mb))

    async def check_disk(self) -> None:
        """Ends the instance if its temporary directory holds more than its limit."""
        used = await asyncio.to_thread(scratch_files.size_bytes, self._directory)
        if used > self._spec.disk_mb * MIB:
            self._life.lost(SandboxDied(Death.DISK, f"{used / MIB:.0f} MB of {self._spec.disk_mb} MB in TMPDIR"))

    def _check_after_call(self) -> SandboxDied | None:
        if self._gauge is not None and self._gauge.look_after_call(self._call_began) > self._spec.memory_mb:
            return self._out_of_memory(self._gauge.peak_mb)
        return None

    def _out_of_memory(self, held_mb: float) -> SandboxDied:
        return SandboxDied(Death.OUT_OF_MEMORY, f"{held_mb:.2f} MB of {self._spec.memory_mb} MB")

    def _on_exit(self) -> None:
        self._life.process_ended(self._give_up)

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.end(SandboxDied(Death.EXIT))

    async def _end(self, cause: SandboxDied) -> SandboxDied:
        if self._gauge is not None:
            self._gauge.look_at_main()
        if self._commands is not None:
            await self._commands.close()
        if self._process is not None:
            await self._process.kill()
            if cause.reason is Death.EXIT:
                cause = SandboxDied(Death.EXIT, self._process.describe_exit())
        if self._channel is not None:
            self._channel.close()
            shown = (f"{self._spec.code_dir}/", f"{addresses.CODE_ROOT}/")
            self._output.release(self._request_id, self._shim, shown)
        if self._life.ended_idle:
            # No call will report this end, so log it here.
            self._output.line(line_of(cause.reason, str(cause)))
        if self._gauge is not None:
            self._gauge.close()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        return cause


def _argv(launch: Launch, shim: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """-S: the shim sets up `site` itself, without the interpreter's own packages. -u: stdio is unbuffered."""
    fds = (str(SOCKET_FD), str(OUTPUT_FD))
    packages = (str(launch.site_packages),) if launch.site_packages is not None else ()
    user_site = () if "PYTHONUSERBASE" in environment else ("-s",)
    main = str(shim / launch.shim / "main.py")
    return (str(launch.interpreter), "-S", "-u", *user_site, "-W", "ignore", main, *fds, *packages)
