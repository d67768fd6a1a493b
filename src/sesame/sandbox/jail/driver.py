"""The driver `jail`: each instance is forked from its runtime's zygote into namespaces and cgroups of its own.

Built by app.py; used by the engine through seam.py. docs/jail.md describes the steps and what each one holds.
Never starts where it cannot hold: `open` refuses with what is missing and what to do about it.
"""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.cgroups import teardown as cgroups_end
from sesame.sandbox.cgroups.groups import Cgroups
from sesame.sandbox.interface import Enforcement, OnOutput, SandboxDied, SandboxSpec, SandboxStartFailed, StartFailure
from sesame.sandbox.jail import sweep as jail_sweep
from sesame.sandbox.jail.disks import Disks
from sesame.sandbox.jail.host_resources import DEFAULT_DISK_MB, READY_CELLS, Cells
from sesame.sandbox.jail.instance import JailSandbox
from sesame.sandbox.jail.isolation import Grade, Held, enforcement, probe
from sesame.sandbox.jail.policy import FILE_DESCRIPTORS, Terms
from sesame.sandbox.jail.prewarmed import READY_SPARES, Spares
from sesame.sandbox.jail.zygote_client import Forker
from sesame.sandbox.process.driver import MEMORY_WATCH_S, Launch

START_TIMEOUT_S = 30.0


class JailOptions(msgspec.Struct, frozen=True):
    """`runtimes` get their zygote at `open`, others at their first instance.

    `cpu`: `shares` of what there is, or `cloud` for a quota by memory size. What follows `ready_spares` is for tests.
    """

    runtimes: tuple[str, ...] = ()
    cpu: str = "shares"
    ready_cells: int = READY_CELLS
    ready_spares: int = READY_SPARES
    cgroups: bool = True
    version_1_freezer: bool = False
    file_descriptors: int = FILE_DESCRIPTORS
    without: frozenset[str] = frozenset()
    probe: Callable[[], Grade] = probe


class JailDriver:
    """Makes jailed instances. `state` is the driver's own directory."""

    name = "jail"

    def __init__(self, resolve: Callable[[str], Launch], state: Path, options: JailOptions | None = None) -> None:
        """`resolve` gives the launch for a runtime or raises `LookupError` with a message for the log."""
        self._resolve = resolve
        self._state = state
        self._options = options or JailOptions()
        self._grade = Grade("none")
        self._terms = Terms()
        self._forkers: dict[str, Forker] = {}
        self._retired: list[Forker] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._sandboxes: set[JailSandbox] = set()
        self._cgroups: Cgroups | None = None
        self._disks: Disks | None = None
        self._cells = Cells(None, None)
        self._spares = Spares(self._cells, self._terms)
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    def enforcement(self) -> tuple[Enforcement, ...]:
        """As it is here: asked before `open`, nothing is known yet and nothing is promised."""
        if not self._grade.possible:
            return ()
        return enforcement(
            Held(
                grade=self._grade,
                controllers=self._cgroups.controllers if self._cgroups is not None else frozenset(),
                freezer=self._cgroups.freezer if self._cgroups is not None else "",
                disk_image=self._disks is not None,
                cpu=self._options.cpu,
            )
        )

    async def open(self) -> None:
        """Raises `ConfigurationError` where no jail can be made: what is missing and what to do next."""
        self._grade = await asyncio.to_thread(self._options.probe)
        if not self._grade.possible:
            raise ConfigurationError(f"sandbox jail: {self._grade.reason}. Next: {self._grade.hint}")
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
        user_namespace = self._grade.kind == "user"
        self._terms = Terms(user_namespace, options.cpu, options.file_descriptors, options.without)
        (self._state / "root").mkdir(parents=True, exist_ok=True)
        self._cgroups = await asyncio.to_thread(self._open_cgroups)
        if self._cgroups is not None:
            self._watchdog = self._start_watchdog(self._cgroups)
        if not user_namespace:
            self._disks = await asyncio.to_thread(self._open_disks)
        self._cells = Cells(self._cgroups, self._disks, ready=options.ready_cells)
        self._spares = Spares(self._cells, self._terms, ready=options.ready_spares)
        await self._cells.open()
        if self._cgroups is None or "memory" not in self._cgroups.controllers:
            self._watch = asyncio.create_task(self._keep_watch())
        for runtime in options.runtimes:
            # One that cannot be had is reported to whoever asks for it.
            with contextlib.suppress(SandboxStartFailed):
                self._forker(runtime)

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: Callable[[], None]) -> JailSandbox:
        forker = self._forker(spec.runtime)
        sandbox = JailSandbox(spec, self._terms, self._cells, on_death)
        self._sandboxes.add(sandbox)
        sandbox.on_ended = lambda: self._sandboxes.discard(sandbox)
        starting = asyncio.create_task(sandbox.start(forker, self._spares, on_output))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await asyncio.shield(starting)
        except asyncio.CancelledError:
            # What is on its way is let arrive: only then is it known what there is to end.
            await _settled(starting)
            await sandbox.kill()
            raise
        except (TimeoutError, SandboxDied, SandboxStartFailed, OSError) as error:
            starting.cancel()
            await _settled(starting)
            how = await sandbox.exited_by_itself()
            await sandbox.kill()
            raise SandboxStartFailed.of(
                error, interpreter=forker.launch.interpreter, exit=how, output=sandbox.last_words()
            ) from error
        return sandbox

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(sandbox.kill() for sandbox in list(self._sandboxes)))
        await asyncio.gather(*self._retiring)
        await self._spares.close()
        await asyncio.gather(*(forker.close() for forker in [*self._forkers.values(), *self._retired]))
        await self._cells.close()
        if self._cgroups is not None:
            await asyncio.to_thread(self._cgroups.clear)
        if self._watchdog is not None:
            await asyncio.to_thread(self._watchdog.communicate)

    def _open_cgroups(self) -> Cgroups | None:
        """None where no group can be made: memory is watched then, and `enforcement` says so."""
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
        """None where no image can be mounted: /tmp is a tmpfs then, and `enforcement` says so."""
        disks = Disks(self._state)
        try:
            os.close(disks.take(DEFAULT_DISK_MB))
        except OSError:
            disks.close()
            return None
        return disks

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_WATCH_S)
            for sandbox in list(self._sandboxes):
                sandbox.watch_memory()

    @staticmethod
    def _start_watchdog(cgroups: Cgroups) -> subprocess.Popen[bytes]:
        """In a session of its own: what ends Sesame's process group must not end it."""
        return subprocess.Popen(
            [sys.executable, "-E", "-s", "-S", cgroups_end.__file__, *cgroups.paths()],
            stdin=subprocess.PIPE,
            env={},
            cwd="/",
            start_new_session=True,
        )

    def _forker(self, runtime: str) -> Forker:
        """The runtime's zygote; a new one when it has died or is to be run with something else than before."""
        try:
            launch = self._resolve(runtime)
        except LookupError as error:
            raise SandboxStartFailed(str(error), StartFailure.REFUSED) from error
        forker = self._forkers.get(runtime)
        if forker is None or not forker.alive or forker.launch != launch:
            if forker is not None:
                self._retire(forker)
            forker = self._forkers[runtime] = Forker(launch, self._state / "root", self._terms)
            try:
                forker.open()
            except OSError as error:
                del self._forkers[runtime]
                raise SandboxStartFailed(f"{launch.interpreter}: the zygote cannot be started: {error}") from error
            self._spares.refill_later(forker)
        return forker

    def _retire(self, forker: Forker) -> None:
        """Its instances go on; it is closed with the driver."""
        self._retired.append(forker)
        task = asyncio.create_task(self._spares.retire(forker))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


async def _settled(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
