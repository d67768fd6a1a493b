"""The driver `plain`: each instance is a process of its own, with limits that need no privileges.

Built by app.py; used by the engine through seam.py. Interpreters and packages come from an injected `resolve`.
Never a wall: the function runs as Sesame's own user and sees the host's files. `enforcement` says so.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sesame.sandbox import addresses, stack_dump
from sesame.sandbox import spawner as warden
from sesame.sandbox.deaths import line_of
from sesame.sandbox.exec_streams import Streamed
from sesame.sandbox.interface import (
    Call,
    Command,
    Enforcement,
    OnOutput,
    Reply,
    SandboxDied,
    SandboxSpec,
    SandboxStartFailed,
    StartFailure,
)
from sesame.sandbox.memory import Gauge
from sesame.sandbox.process import scratch as scratch_files
from sesame.sandbox.process.exec import Commands
from sesame.sandbox.stack_dump import HeldOutput
from sesame.sandbox.wire import Channel, Output

START_TIMEOUT_S = 30.0
MEMORY_WATCH_S = 0.1
DISK_WATCH_EVERY = 10
# How long a result may still be read after the process that sent it was reported dead.
LAST_WORDS_S = 0.05
FILE_DESCRIPTORS = 100_000
KILLED_FROM_OUTSIDE = "killed by SIGKILL"
MIB = 1024 * 1024
LINUX = sys.platform.startswith("linux")


class Launch(msgspec.Struct, frozen=True):
    """With what a runtime is run here. `notice` is printed before each call, when another version stands in."""

    interpreter: Path
    site_packages: Path | None = None
    notice: str = ""


class PlainDriver:
    """Makes processes through one warden. `scratch` holds the driver's files, in `shim` and `instances`."""

    name = "plain"

    def __init__(self, resolve: Callable[[str], Launch], scratch: Path) -> None:
        """`resolve` gives the launch for a runtime or raises `LookupError` with a message for the log."""
        self._resolve = resolve
        self._scratch = scratch
        self._shim = scratch / "shim"
        self._warden = warden.Warden()
        self._sandboxes: dict[str, PlainSandbox] = {}
        self._watch: asyncio.Task[None] | None = None

    def enforcement(self) -> tuple[Enforcement, ...]:
        left = "orphans are found by session and environment" if LINUX else "only the process group is killed"
        memory = f"resident sets looked at every {MEMORY_WATCH_S:g} s of a call, then SIGKILL"
        return (
            Enforcement("time limit", True, "the host's clock, then SIGKILL"),
            Enforcement("processes ended with their instance", LINUX, f"the warden process; {left}"),
            Enforcement("memory", True, memory),
            Enforcement("open files", True, f"RLIMIT_NOFILE {FILE_DESCRIPTORS} or the host's own limit"),
            Enforcement("size of TMPDIR", True, "RLIMIT_FSIZE for a file, the sum looked at every second of a call"),
            Enforcement("freezing while idle", True, "SIGSTOP to every process of the instance"),
            Enforcement("number of processes", False, "RLIMIT_NPROC counts a user, not an instance"),
            Enforcement("own file system", False, "the function sees the host's files; /tmp is shared, TMPDIR its own"),
            Enforcement("read-only code", False, "the function runs as Sesame's user"),
            Enforcement("code at /code", False, "shown so in error traces; the directory is elsewhere"),
            Enforcement("own user, network and system calls", False, "needs the driver jail"),
        )

    async def open(self) -> None:
        await asyncio.to_thread(scratch_files.lay_out, self._scratch, self._shim)
        self._warden.open()
        self._watch = asyncio.create_task(self._keep_watch())

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: Callable[[], None]) -> "PlainSandbox":
        if not self._warden.alive:
            # It was killed from outside, and its instances with it.
            await self._warden.close()
            self._warden.open()
        try:
            launch = self._resolve(spec.runtime)
        except LookupError as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
        sandbox = PlainSandbox(spec, self._scratch / "instances" / spec.instance_id, on_death)
        self._sandboxes[spec.instance_id] = sandbox
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await sandbox.start(self._warden, launch, self._shim, on_output)
        except (TimeoutError, SandboxDied, OSError, SandboxStartFailed) as error:
            how = await sandbox.exited_by_itself()
            await sandbox.kill()
            raise SandboxStartFailed.of(
                error, interpreter=launch.interpreter, exit=how, output=sandbox.last_words()
            ) from error
        except BaseException:
            await sandbox.kill()
            raise
        finally:
            if sandbox.ended:
                self._sandboxes.pop(spec.instance_id, None)
        sandbox.on_ended = lambda: self._sandboxes.pop(spec.instance_id, None)
        return sandbox

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(sandbox.kill() for sandbox in list(self._sandboxes.values())))
        await self._warden.close()
        await asyncio.to_thread(scratch_files.clear, self._scratch)

    async def _keep_watch(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(MEMORY_WATCH_S)
            tick += 1
            for sandbox in list(self._sandboxes.values()):
                if sandbox.busy:
                    sandbox.watch_memory()
                    if tick % DISK_WATCH_EVERY == 0:
                        await sandbox.watch_disk()


class PlainSandbox:
    """One process with its socket, its output pipe and its temporary directory."""

    def __init__(self, spec: SandboxSpec, directory: Path, on_death: Callable[[], None]) -> None:
        self._spec = spec
        self._directory = directory
        self._on_death = on_death
        self._phases: dict[str, float] = {}
        self._channel: Channel | None = None
        self._process: warden.Process | None = None
        self._commands: Commands | None = None
        self._gauge: Gauge | None = None
        self._doom: SandboxDied | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._ready = False
        self._spoiled = False
        self._first_output = bytearray()
        self._output = HeldOutput(lambda _data: None)
        self._request_id = ""
        self._ended_idle = False
        self._shim = ""
        self.busy = False
        self.on_ended: Callable[[], object] = lambda: None

    @property
    def instance_id(self) -> str:
        return self._spec.instance_id

    @property
    def phases(self) -> Mapping[str, float]:
        return self._phases

    @property
    def ended(self) -> bool:
        return self._finishing is not None and self._finishing.done()

    def last_words(self) -> str:
        """What the process wrote before it was ready: says why it never was."""
        return self._first_output.decode("utf-8", "replace").strip()

    async def exited_by_itself(self) -> str:
        """How the process ended before it was ready; "" when it still runs or was killed from outside."""
        if self._process is None:
            return ""
        with contextlib.suppress(TimeoutError):
            # The socket ends a moment before the process does.
            await asyncio.wait_for(self._process.exited.wait(), LAST_WORDS_S)
        how = self._process.describe_exit()
        return "" if how == KILLED_FROM_OUTSIDE else how

    async def start(self, keeper: warden.Warden, launch: Launch, shim: Path, on_output: OnOutput) -> None:
        began = time.monotonic()
        temporary = self._directory / "tmp"
        temporary.mkdir(parents=True)
        spec = self._spec
        self._shim = str(shim)
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        start = warden.Start(
            instance_id=spec.instance_id,
            argv=_argv(launch, shim, spec.environment),
            env=addresses.environment(spec, launch.interpreter, temporary),
            cwd=str(spec.code_dir),
            limits={"RLIMIT_CORE": 0, "RLIMIT_NOFILE": FILE_DESCRIPTORS, "RLIMIT_FSIZE": spec.disk_mb * MIB},
        )
        try:
            self._channel = Channel(ours, Output(reading, self._listen(on_output)), self._on_channel_end)
            self._process = await keeper.spawn(start, (theirs.fileno(), writing), self._on_exit)
        finally:
            theirs.close()
            os.close(writing)
        self._phases["fork_ms"] = (time.monotonic() - began) * 1000
        self._gauge = Gauge(self._process.pid)
        await self._channel.open()
        version = await self._channel.setup(addresses.setup(spec, notice=launch.notice))
        paths = addresses.setup(spec, notice="")["sys_path"]
        if launch.site_packages is not None:
            paths.append(str(launch.site_packages))
        # What the shim sets for programs that the function starts.
        environment = {**start.env, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PWD"] = start.cwd
        self._commands = Commands(keeper, msgspec.structs.replace(start, env=environment))
        self._phases["interpreter_ms"] = (time.monotonic() - began) * 1000 - self._phases["fork_ms"]
        if not version:
            raise SandboxStartFailed("the shim did not say which Python it runs under")
        self._ready = True

    async def call(self, call: Call) -> Reply:
        assert self._channel is not None
        assert self._gauge is not None
        self.busy = True
        self._request_id = call.request_id
        began = time.monotonic()
        try:
            reply = await self._channel.call(call)
        except SandboxDied as died:
            await self._finish(died)
            assert self._doom is not None
            raise self._doom from None
        except BaseException:
            self._spoiled = True
            raise
        finally:
            self.busy = False
        if self._gauge.look_after_call(began) > self._spec.memory_mb:
            await self._finish(self._out_of_memory(self._gauge.peak_mb))
            assert self._doom is not None
            raise self._doom
        return reply

    async def exec(self, command: Command) -> Streamed:
        if self._commands is None or self._finishing is not None:
            raise SandboxDied("exit", "the instance has ended")
        return await self._commands.start(command)

    async def kill(self, *, dump_stacks: bool = False) -> None:
        process, channel = self._process, self._channel
        if dump_stacks and process is not None and channel is not None and not process.exited.is_set():
            process.signal(signal.SIGCONT, group=True)
            self._spoiled = True
            if LINUX:
                channel.hang_up()
            else:
                process.signal(signal.SIGTERM, group=False)
            if not await stack_dump.within(stack_dump.ASK_SHIM_S, process.exited) and LINUX:
                self._output.hold()
                process.signal(stack_dump.DUMP_SIGNAL, group=False)
                await stack_dump.within(stack_dump.ASK_HANDLER_S, process.exited)
        await self._finish(SandboxDied("killed"))

    def memory_peak_mb(self) -> float:
        return self._gauge.peak_mb if self._gauge is not None else 0.0

    def freeze(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGSTOP, group=True)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.signal(signal.SIGCONT, group=True)

    def watch_memory(self) -> None:
        """Ends the instance when it holds more than it may."""
        if self._gauge is not None and self._finishing is None:
            held = self._gauge.look_at_tree(self._spec.memory_mb)
            if held > self._spec.memory_mb:
                self._start_finishing(self._out_of_memory(held))

    async def watch_disk(self) -> None:
        """Ends the instance when its temporary directory has grown too large."""
        held = await asyncio.to_thread(scratch_files.size_bytes, self._directory)
        if held > self._spec.disk_mb * MIB and self._finishing is None:
            self._start_finishing(SandboxDied("disk", f"{held / MIB:.0f} MB of {self._spec.disk_mb} MB in TMPDIR"))

    def _out_of_memory(self, held_mb: float) -> SandboxDied:
        return SandboxDied("out_of_memory", f"{held_mb:.2f} MB of {self._spec.memory_mb} MB")

    def _listen(self, on_output: OnOutput) -> OnOutput:
        output = self._output = HeldOutput(on_output)

        def listen(data: bytes) -> None:
            if not self._ready:
                self._first_output += data
            output(data)

        return listen

    def _on_channel_end(self) -> None:
        self._on_idle_end()

    def _on_exit(self) -> None:
        if self.busy or not self._ready:
            # Usually the socket ends by itself; a child that the function forked may hold its other end open.
            asyncio.get_running_loop().call_later(LAST_WORDS_S, self._give_up)
        else:
            self._on_idle_end()

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.end(SandboxDied("exit"))

    def _on_idle_end(self) -> None:
        if self._ready and not self.busy and not self._spoiled and self._finishing is None:
            self._ended_idle = True
            self._start_finishing(SandboxDied("exit"))
            self._on_death()

    async def _finish(self, died: SandboxDied) -> None:
        """Returns when nothing of the instance is left. The first reason given is the one that counts."""
        await asyncio.shield(self._start_finishing(died))

    def _start_finishing(self, died: SandboxDied) -> asyncio.Task[None]:
        if self._finishing is None:
            self._doom = died
            self._finishing = asyncio.create_task(self._end())
        return self._finishing

    async def _end(self) -> None:
        if self._gauge is not None:
            self._gauge.look_at_main()
        if self._commands is not None:
            await self._commands.close()
        if self._process is not None:
            await self._process.kill()
            if self._doom is not None and self._doom.reason == "exit":
                self._doom = SandboxDied("exit", self._process.describe_exit())
        if self._channel is not None:
            self._channel.close()
            shown = (f"{self._spec.code_dir}/", f"{addresses.CODE_ROOT}/")
            self._output.release(self._request_id, self._shim, shown)
        if self._ended_idle and self._doom is not None:
            # Nobody waits who would say it.
            self._output.line(line_of(self._doom.reason, str(self._doom)))
        if self._gauge is not None:
            self._gauge.close()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        self.on_ended()


def _argv(launch: Launch, shim: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """-S: the shim sets up `site` itself, without the interpreter's own packages. -u: C's stdio is not buffered."""
    fds = (str(warden.SOCKET_FD), str(warden.OUTPUT_FD))
    packages = (str(launch.site_packages),) if launch.site_packages is not None else ()
    user_site = () if "PYTHONUSERBASE" in environment else ("-s",)
    main = str(shim / "python" / "main.py")
    return (str(launch.interpreter), "-S", "-u", *user_site, "-W", "ignore", main, *fds, *packages)
