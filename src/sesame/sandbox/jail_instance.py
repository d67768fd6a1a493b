"""One jailed instance: its channel, its process 1, its cell, and the order in which they come and go.

Made by jail.py, which keeps the zygotes and the cells.
Never frees a cell before the kernel has said that the last process is gone.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sesame.sandbox import jail_mounts
from sesame.sandbox.addresses import CODE_ROOT, DEFAULT_PATH, LAYER_ROOT
from sesame.sandbox.cgroups import Limits
from sesame.sandbox.interpreters import MINOR_VERSIONS
from sesame.sandbox.jail_cells import Cell, Cells
from sesame.sandbox.jail_forker import MAX_REQUEST_BYTES, Forker, Jailed
from sesame.sandbox.jail_plan import LIBRARY_PATH, SITE_PACKAGES_ROOT
from sesame.sandbox.jail_terms import PROCESSES, Terms
from sesame.sandbox.memory import Gauge, tree
from sesame.sandbox.seam import Call, OnOutput, Reply, SandboxDied, SandboxSpec, SandboxStartFailed
from sesame.sandbox.wire import Channel, Output

DUMP_GRACE_S = 1.0
MIB = 1024 * 1024
# What a processor's worth of memory is: the cloud gives 0.35 processors to 512 MB (reference/api.md §7).
MEMORY_MB_PER_PROCESSOR = 1536
# How long a result may still be read after the process that sent it was reported gone.
LAST_WORDS_S = 0.05
HOSTNAME_CHARS = 63
DISK_WITHOUT_WALL_MB = 4096


class JailSandbox:
    """Made STARTING; `start` returns when the shim is ready for its first call."""

    def __init__(self, spec: SandboxSpec, terms: Terms, cells: Cells, on_death: Callable[[], None]) -> None:
        self._spec = spec
        self._terms = terms
        self._cells = cells
        self._on_death = on_death
        self._phases: dict[str, float] = {}
        self._channel: Channel | None = None
        self._cell: Cell | None = None
        self._jailed: Jailed | None = None
        self._gauge: Gauge | None = None
        self._baseline_mb = 0.0
        self._peak_mb = 0.0
        self._doom: SandboxDied | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._ready = self._busy = self._spoiled = self._frozen = False
        self._first_output = bytearray()
        self.on_ended: Callable[[], object] = lambda: None

    @property
    def instance_id(self) -> str:
        return self._spec.instance_id

    @property
    def phases(self) -> Mapping[str, float]:
        return self._phases

    def last_words(self) -> str:
        """What was written before the shim was ready: says why it never was."""
        return self._first_output.decode("utf-8", "replace").strip()

    async def start(self, forker: Forker, on_output: OnOutput) -> None:
        """Raises `SandboxStartFailed`, `SandboxDied` or `OSError`; the caller then kills what there is."""
        clock = _Clock(self._phases)
        self._baseline_mb = await forker.ready() / 1024
        clock.lap("zygote_ms")
        self._cell = await self._cells.take(self._spec.disk_mb)
        clock.lap("cell_ms")
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        self._channel = Channel(ours, Output(reading, self._listen(on_output)), self._on_channel_end)
        with contextlib.ExitStack() as ours_only_till_forked:
            ours_only_till_forked.callback(self._cell.handed_over)
            request = _Request(ours_only_till_forked)
            request.own("socket", theirs.detach())
            request.own("output", writing)
            self._fill(request, forker, self._cell)
            clock.lap("mounts_ms")
            forking = asyncio.ensure_future(forker.fork(request.fields, request.descriptors))
            await self._channel.open()
            self._jailed = await forking
        self._jailed.on_gone = self._on_gone
        clock.lap("fork_ms")
        await self._channel.setup(self._setup(forker.launch.notice))
        clock.lap("shim_ms")
        if self._cell.group is None or not self._cell.group.counts_memory:
            self._gauge = Gauge(_first_child(self._jailed.pid), init=self._jailed.pid)
        self._ready = True

    async def call(self, call: Call) -> Reply:
        assert self._channel is not None
        self._busy = True
        try:
            return await self._channel.call(call)
        except SandboxDied as died:
            await self._finish(died)
            assert self._doom is not None
            raise self._doom from None
        except BaseException:
            self._spoiled = True
            raise
        finally:
            self._busy = False

    async def kill(self, *, dump_stacks: bool = False) -> None:
        jailed, channel = self._jailed, self._channel
        if dump_stacks and jailed is not None and channel is not None and not jailed.gone.is_set():
            self.thaw()
            channel.hang_up()
            try:
                async with asyncio.timeout(DUMP_GRACE_S):
                    await jailed.gone.wait()
            except TimeoutError:
                # It hangs where it does not hear: it is killed without its stacks.
                self._spoiled = True
        await self._finish(SandboxDied("killed"))

    def memory_peak_mb(self) -> float:
        """Peak of the cgroup without the page cache of files, plus what the zygote shares with every instance.

        Without a cgroup for memory: the peak of resident sets, as memory.py counts them.
        """
        if self._finishing is None:
            if self._gauge is not None:
                self._peak_mb = self._gauge.look_at_main()
            elif self._cell is not None and self._cell.group is not None:
                self._peak_mb = self._cell.group.memory_peak_bytes() / MIB + self._baseline_mb
        return self._peak_mb

    def freeze(self) -> None:
        if self._jailed is not None and self._finishing is None and not self._frozen:
            self._frozen = True
            if self._cell is None or self._cell.group is None or not self._cell.group.freeze():
                self._signal_all(self._jailed, signal.SIGSTOP)

    def thaw(self) -> None:
        if self._jailed is not None and self._frozen:
            self._frozen = False
            if self._cell is None or self._cell.group is None or not self._cell.group.thaw():
                self._signal_all(self._jailed, signal.SIGCONT)

    def watch_memory(self) -> None:
        """Where no cgroup does it: ends a busy instance that holds more than it may."""
        if self._gauge is not None and self._busy and self._finishing is None:
            held = self._gauge.look_at_tree(self._spec.memory_mb)
            if held > self._spec.memory_mb:
                self._start_finishing(SandboxDied("out_of_memory", f"{held:.2f} MB of {self._spec.memory_mb} MB"))

    def _fill(self, request: "_Request", forker: Forker, cell: Cell) -> None:
        """Everything that runtime/jail_steps.py wants to know."""
        spec = self._spec
        mounts: dict[str, int] = {}
        binds: dict[str, list[str]] = {}
        if self._terms.user_namespace:
            binds[CODE_ROOT] = [str(spec.code_dir.resolve())]
            if spec.layer_dirs:
                binds[LAYER_ROOT] = [str(layer.resolve()) for layer in spec.layer_dirs]
        else:
            holds = self._terms.holds
            code = jail_mounts.tree(spec.code_dir, read_only=holds("read-only"), nosuid=holds("nosuid"))
            mounts[CODE_ROOT] = request.add(code)
            if spec.layer_dirs:
                mounts[LAYER_ROOT] = request.add(jail_mounts.merged_tree(spec.layer_dirs))
        memory_disks = [["/tmp", spec.disk_mb]]
        if not self._terms.holds("disk"):
            memory_disks = [["/tmp", DISK_WITHOUT_WALL_MB]]
        elif cell.disk_fd >= 0:
            mounts["/tmp"] = request.lend(cell.disk_fd)
            memory_disks.clear()
        group = cell.group
        if group is not None:
            group.limit(self._limits())
        request.fields.update(
            id=spec.instance_id,
            user_namespace=self._terms.user_namespace,
            mounts=list(mounts.items()),
            binds=list(binds.items()),
            memory_disks=memory_disks,
            host_is_visible=self._terms.host_is_visible,
            cgroup=request.lend(group.unified_fd) if group is not None and group.unified_fd >= 0 else -1,
            tasks=[request.lend(fd) for fd in group.task_fds] if group is not None else [],
            uid=cell.uid,
            hostname=self._hostname,
            # Where no cgroup counts it, it takes at most half as much again as the function may hold.
            shm_mb=spec.memory_mb if group is not None and group.counts_memory else spec.memory_mb // 2,
            limits=self._resource_limits(),
            site_packages=SITE_PACKAGES_ROOT if forker.launch.site_packages is not None else "",
            environment=self._environment(forker),
            without=sorted(self._terms.without),
        )
        size = len(json.dumps(request.fields))
        if size > MAX_REQUEST_BYTES:
            raise SandboxStartFailed(f"the environment is too large: a request of {size} bytes")

    @property
    def _hostname(self) -> str:
        return self._spec.instance_id[:HOSTNAME_CHARS]

    def _limits(self) -> Limits:
        holds = self._terms.holds
        # What the zygote shares counts as the function's: a limit means what `memory_peak_mb` reports.
        memory = int((self._spec.memory_mb - self._baseline_mb) * MIB) if holds("memory") else None
        quota = self._spec.memory_mb / MEMORY_MB_PER_PROCESSOR if self._terms.cpu == "cloud" else None
        return Limits(memory, PROCESSES if holds("processes") else None, self._spec.memory_mb, quota)

    def _resource_limits(self) -> dict[str, int]:
        limits = (
            {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": self._terms.file_descriptors} if self._terms.holds("limits") else {}
        )
        return {**limits, "RLIMIT_NPROC": PROCESSES} if self._terms.holds("processes") else limits

    def _environment(self, forker: Forker) -> dict[str, str]:
        composed = {
            name: value for name, value in self._spec.environment.items() if name not in ("PYTHONPATH", "PYTHONHOME")
        }
        composed.setdefault("PATH", f"/opt/bin:{DEFAULT_PATH}")
        composed["PATH"] = f"{forker.launch.interpreter.parent}:{composed['PATH']}"
        composed.setdefault("LD_LIBRARY_PATH", LIBRARY_PATH)
        composed.setdefault("PYTHONIOENCODING", "utf-8:surrogateescape")
        composed["FC_INSTANCE_ID"] = self._spec.instance_id
        composed["HOSTNAME"] = self._hostname
        return composed

    def _setup(self, notice: str) -> dict[str, Any]:
        version = ".".join(map(str, MINOR_VERSIONS[self._spec.runtime]))
        layers = [f"{LAYER_ROOT}/python/lib/python{version}/site-packages", f"{LAYER_ROOT}/python"]
        if not self._spec.layer_dirs:
            layers.clear()
        user = [part for part in self._spec.environment.get("PYTHONPATH", "").split(":") if part]
        return {
            **self._spec.setup,
            "runtime": self._spec.runtime,
            "code_dir": CODE_ROOT,
            "code_root": CODE_ROOT,
            "sys_path": [CODE_ROOT, *layers, *user],
            "notice": self._spec.setup.get("notice") or notice,
        }

    def _listen(self, on_output: OnOutput) -> OnOutput:
        def listen(data: bytes) -> None:
            if not self._ready:
                self._first_output += data
            on_output(data)

        return listen

    def _on_channel_end(self) -> None:
        self._on_idle_end()

    def _on_gone(self) -> None:
        if self._busy or not self._ready:
            # Usually the socket ends by itself, and first what is still in it is read.
            asyncio.get_running_loop().call_later(LAST_WORDS_S, self._give_up)
        else:
            self._on_idle_end()

    def _give_up(self) -> None:
        if self._channel is not None:
            self._channel.end(SandboxDied("exit"))

    def _on_idle_end(self) -> None:
        if self._ready and not self._busy and not self._spoiled and self._finishing is None:
            self._start_finishing(SandboxDied("exit"))
            self._on_death()

    async def _finish(self, died: SandboxDied) -> None:
        """Returns when nothing of the instance is left. The first reason given is the one that counts."""
        await asyncio.shield(self._start_finishing(died))

    def _start_finishing(self, died: SandboxDied) -> asyncio.Task[None]:
        if self._finishing is None:
            self.memory_peak_mb()
            self._doom = died
            self._finishing = asyncio.create_task(self._end())
        return self._finishing

    async def _end(self) -> None:
        if self._jailed is not None:
            if self._doom is not None and self._doom.reason == "exit":
                # The stream ends a moment before the process does; how that ended is worth the moment.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._jailed.gone.wait(), LAST_WORDS_S)
            self._jailed.kill()
            if self._frozen:
                # A version 1 freezer holds even SIGKILL back.
                self.thaw()
            await self._jailed.gone.wait()
            if self._doom is not None and self._doom.reason == "exit":
                self._doom = self._cause_of_death(self._jailed)
        if self._channel is not None:
            self._channel.close()
        if self._cell is not None:
            await self._cells.remove(self._cell)
        if self._gauge is not None:
            self._gauge.close()
        self.on_ended()

    @staticmethod
    def _signal_all(jailed: Jailed, number: signal.Signals) -> None:
        """Process 1 is stopped too: nothing of the instance runs then that could start a process anew."""
        for pid in tree(jailed.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _cause_of_death(self, jailed: Jailed) -> SandboxDied:
        group = self._cell.group if self._cell is not None else None
        if group is not None and group.memory_kills():
            return SandboxDied("out_of_memory", f"{self._peak_mb:.2f} MB of {self._spec.memory_mb} MB")
        return SandboxDied("exit", jailed.describe_exit())


def _first_child(init: int) -> int:
    """The function's process: process 1 forks nothing else."""
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


class _Request:
    """Fields and the descriptors that they name by index."""

    def __init__(self, closing: contextlib.ExitStack) -> None:
        self.fields: dict[str, Any] = {}
        self.descriptors: list[int] = []
        self._closing = closing

    def own(self, name: str, fd: int) -> None:
        """A descriptor under a name of its own, closed when the request is done with."""
        self.fields[name] = self.add(fd)

    def add(self, fd: int) -> int:
        """Returns the index; closed when the request is done with."""
        self._closing.callback(os.close, fd)
        return self.lend(fd)

    def lend(self, fd: int) -> int:
        """Returns the index of a descriptor that somebody else closes."""
        self.descriptors.append(fd)
        return len(self.descriptors) - 1


class _Clock:
    """Milliseconds between laps, by the host's clock."""

    def __init__(self, phases: dict[str, float]) -> None:
        self._phases = phases
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._phases[name] = (now - self._last) * 1000
        self._last = now
