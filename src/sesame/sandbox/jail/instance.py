"""One jailed instance: its channel, its process 1, its cell, and the order in which they come and go.

Made by jail.py, which keeps the zygotes and the cells.
Never frees a cell before the kernel has said that the last process is gone.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sesame.sandbox import stack_dump
from sesame.sandbox.addresses import CODE_ROOT, DEFAULT_PATH, LAYER_ROOT
from sesame.sandbox.cgroups.groups import Limits
from sesame.sandbox.deaths import line_of
from sesame.sandbox.exec_streams import Streamed
from sesame.sandbox.interface import Call, Command, OnOutput, Reply, SandboxDied, SandboxSpec
from sesame.sandbox.jail import mounts as jail_mounts
from sesame.sandbox.jail.exec import Commands, Inside
from sesame.sandbox.jail.host_resources import Cell, Cells
from sesame.sandbox.jail.plan import LIBRARY_PATH, SHIM_ROOT, SITE_PACKAGES_ROOT, needs_own_start
from sesame.sandbox.jail.policy import PROCESSES, Terms
from sesame.sandbox.jail.prewarmed import Spares
from sesame.sandbox.jail.zygote_client import Forker, Jailed
from sesame.sandbox.memory import Gauge, tree
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.stack_dump import HeldOutput
from sesame.sandbox.wire import Channel, Output

MIB = 1024 * 1024
# What a processor's worth of memory is: the cloud gives 0.35 processors to 512 MB (reference/api.md §7).
MEMORY_MB_PER_PROCESSOR = 1536
# How long a result may still be read after the process that sent it was reported gone.
LAST_WORDS_S = 0.05
HOSTNAME_CHARS = 63
KILLED_FROM_OUTSIDE = "killed by SIGKILL"


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
        self._commands: Commands | None = None
        self._gauge: Gauge | None = None
        self._baseline_mb = 0.0
        self._peak_mb = 0.0
        self._doom: SandboxDied | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._ready = self._busy = self._spoiled = self._frozen = False
        self._first_output = bytearray()
        self._output = HeldOutput(lambda _data: None)
        self._request_id = ""
        self._ended_idle = False
        self._compiled: list[tuple[str, int]] = []
        self._starts_anew = needs_own_start(spec.environment)
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

    async def exited_by_itself(self) -> str:
        """How the process ended before it was ready; "" when it still runs or was killed from outside."""
        if self._jailed is None:
            return ""
        with contextlib.suppress(TimeoutError):
            # The socket ends a moment before the process does.
            await asyncio.wait_for(self._jailed.gone.wait(), LAST_WORDS_S)
        how = self._jailed.describe_exit()
        return "" if how == KILLED_FROM_OUTSIDE else how

    async def start(self, forker: Forker, spares: Spares, on_output: OnOutput) -> None:
        """Raises `SandboxStartFailed`, `SandboxDied` or `OSError`; the caller then kills what there is."""
        clock = _Clock(self._phases)
        resident_kb = await forker.ready()
        # A program that is started anew shares nothing with the zygote.
        self._baseline_mb = 0.0 if self._starts_anew else resident_kb / 1024
        clock.lap("zygote_ms")
        spare = await spares.take(forker, self._spec.disk_mb)
        self._cell, self._jailed = spare.cell, spare.jailed
        self._channel = Channel(spare.wire, Output(spare.output_fd, self._listen(on_output)), self._on_channel_end)
        clock.lap("fork_ms")
        with contextlib.ExitStack() as till_sent:
            fds: list[int] = []
            fields = self._order(forker, fds, till_sent)
            if spare.cell.group is not None:
                spare.cell.group.limit(self._limits())
            spare.order(fields, fds)
        self._commands = self._commands_of(forker, spare.cell, spare.jailed)
        clock.lap("mounts_ms")
        await self._channel.open()
        self._jailed.on_gone = self._on_gone
        await self._channel.setup(self._setup(forker.launch.notice))
        clock.lap("shim_ms")
        if spare.cell.group is None or not spare.cell.group.counts_memory:
            self._gauge = Gauge(_first_child(spare.jailed.pid), init=spare.jailed.pid)
        self._ready = True

    async def call(self, call: Call) -> Reply:
        assert self._channel is not None
        self._busy = True
        self._request_id = call.request_id
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

    async def exec(self, command: Command) -> Streamed:
        if self._commands is None or self._finishing is not None:
            raise SandboxDied("exit", "the instance has ended")
        return await self._commands.start(command)

    async def kill(self, *, dump_stacks: bool = False) -> None:
        jailed, channel = self._jailed, self._channel
        if dump_stacks and jailed is not None and channel is not None and not jailed.gone.is_set():
            self.thaw()
            self._spoiled = True
            channel.hang_up()
            if not await stack_dump.within(stack_dump.ASK_SHIM_S, jailed.gone):
                self._output.hold()
                _signal_function(jailed.pid, stack_dump.DUMP_SIGNAL)
                await stack_dump.within(stack_dump.ASK_HANDLER_S, jailed.gone)
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

    def _order(self, forker: Forker, fds: list[int], closing: contextlib.ExitStack) -> dict[str, Any]:
        """What makes a spare this function's instance; descriptors of mounts are added to `fds` and closed later."""
        spec = self._spec
        counted = self._cell is not None and self._cell.group is not None and self._cell.group.counts_memory
        mounts: list[tuple[str, int]] = []
        binds: list[tuple[str, list[str]]] = []

        def show(target: str, fd: int) -> None:
            closing.callback(os.close, fd)
            mounts.append((target, len(fds)))
            fds.append(fd)

        if self._terms.user_namespace:
            binds.append((CODE_ROOT, [str(spec.code_dir.resolve())]))
            if spec.layer_dirs:
                binds.append((LAYER_ROOT, [str(layer.resolve()) for layer in spec.layer_dirs]))
        else:
            holds = self._terms.holds
            show(CODE_ROOT, jail_mounts.tree(spec.code_dir, read_only=holds("read-only"), nosuid=holds("nosuid")))
            if spec.layer_dirs:
                show(LAYER_ROOT, jail_mounts.merged_tree(spec.layer_dirs, read_only=holds("read-only")))
        self._compiled = self._lend_compiled(fds, closing)
        return {
            "mounts": mounts,
            "binds": binds,
            "compiled": [at for _root, at in self._compiled],
            # Where no cgroup counts it, it takes at most half as much again as the function may hold.
            "shm_mb": spec.memory_mb if counted else spec.memory_mb // 2,
            "hostname": self._hostname,
            "site_packages": SITE_PACKAGES_ROOT if forker.launch.site_packages is not None else "",
            "environment": self._environment(forker),
            "start_anew": self._starts_anew,
        }

    def _lend_compiled(self, fds: list[int], closing: contextlib.ExitStack) -> list[tuple[str, int]]:
        """What is compiled of code and layers: the root, and the place of the file's descriptor in `fds`."""
        roots = [CODE_ROOT, *(LAYER_ROOT for _layer in self._spec.layer_dirs)]
        found: list[tuple[str, int]] = []
        for root, path in zip(roots, self._spec.compiled, strict=False):
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY)
                closing.callback(os.close, fd)
                found.append((root, len(fds)))
                fds.append(fd)
        return found

    @property
    def _hostname(self) -> str:
        return self._spec.instance_id[:HOSTNAME_CHARS]

    def _limits(self) -> Limits:
        holds = self._terms.holds
        # What the zygote shares counts as the function's: a limit means what `memory_peak_mb` reports.
        memory = int((self._spec.memory_mb - self._baseline_mb) * MIB) if holds("memory") else None
        quota = self._spec.memory_mb / MEMORY_MB_PER_PROCESSOR if self._terms.cpu == "cloud" else None
        return Limits(memory, PROCESSES if holds("processes") else None, self._spec.memory_mb, quota)

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

    def _commands_of(self, forker: Forker, cell: Cell, init: Jailed) -> Commands:
        environment = self._environment(forker)
        sys_path = [*self._setup("")["sys_path"]]
        if forker.launch.site_packages is not None:
            sys_path.append(SITE_PACKAGES_ROOT)
        # What the shim sets for programs that the function starts.
        environment |= {"PYTHONPATH": ":".join(sys_path), "PYTHONDONTWRITEBYTECODE": "1", "PWD": CODE_ROOT}
        inside = Inside(forker, cell, init, self._terms, environment)
        return Commands(inside, lambda: self._on_lost_command())

    def _on_lost_command(self) -> None:
        if self._finishing is None:
            self._start_finishing(SandboxDied("killed", "a command's processes could not be accounted for"))
            if not self._busy:
                self._on_death()

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
            "compiled": [[root, number] for number, (root, _at) in enumerate(self._compiled)],
        }

    def _listen(self, on_output: OnOutput) -> OnOutput:
        output = self._output = HeldOutput(on_output)

        def listen(data: bytes) -> None:
            if not self._ready:
                self._first_output += data
            output(data)

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
            self._ended_idle = True
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
            if self._commands is not None:
                await self._commands.close()
            await self._jailed.gone.wait()
            if self._doom is not None and self._doom.reason == "exit":
                self._doom = self._cause_of_death(self._jailed)
        if self._channel is not None:
            self._channel.close()
            self._output.release(self._request_id, SHIM_ROOT)
        if self._ended_idle and self._doom is not None:
            # Nobody waits who would say it.
            self._output.line(line_of(self._doom.reason, str(self._doom)))
        if self._cell is not None:
            self._cells.remove(self._cell)
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
        how = jailed.describe_exit()
        kills = group.memory_kills() if group is not None else 0
        # A child may have been killed for memory before, and the function's process have ended for another reason.
        if how in ("", "killed by SIGKILL") and kills:
            return SandboxDied("out_of_memory", f"{self._peak_mb:.2f} MB of {self._spec.memory_mb} MB")
        if kills:
            how += f"; {kills} of its processes had been killed because it was out of memory"
        if group is not None and (refused := group.processes_refused()):
            how += f"; {refused} times a new process or thread had been refused: at most {PROCESSES} may run"
        return SandboxDied("exit", how)


def _first_child(init: int) -> int:
    """The function's process: process 1 forks nothing else."""
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


def _signal_function(init: int, number: int) -> None:
    """Through a descriptor that is known to be the process's: its number may have gone to another meanwhile."""
    with contextlib.suppress(OSError, IndexError):
        pid = _first_child(init)
        descriptor = os.pidfd_open(pid)
        try:
            if _first_child(init) == pid:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


class _Clock:
    """Milliseconds between laps, by the host's clock."""

    def __init__(self, phases: dict[str, float]) -> None:
        self._phases = phases
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self._phases[name] = (now - self._last) * 1000
        self._last = now
