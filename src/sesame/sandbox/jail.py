"""The driver `jail`: each instance is forked from its runtime's zygote into namespaces and cgroups of its own.

Built by app.py; used by the engine through seam.py. docs/jail.md describes the steps and what each one holds.
Never starts where it cannot hold: `open` refuses with what is missing and what to do about it.
"""

import asyncio
import contextlib
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox import cgroups_end, jail_sweep
from sesame.sandbox.cgroups import Cgroups
from sesame.sandbox.jail_cells import READY_CELLS, Cells
from sesame.sandbox.jail_disks import Disks
from sesame.sandbox.jail_forker import Forker
from sesame.sandbox.jail_instance import JailSandbox, Terms
from sesame.sandbox.plain import Launch
from sesame.sandbox.seam import Enforcement, OnOutput, SandboxDied, SandboxSpec, SandboxStartFailed

START_TIMEOUT_S = 30.0


class JailOptions(msgspec.Struct, frozen=True):
    """`runtimes` get their zygote at `open`, others at their first instance.

    `cpu`: `shares` of what there is, or `cloud` for a quota by memory size. `without` is for tests of the walls.
    """

    runtimes: tuple[str, ...] = ()
    cpu: str = "shares"
    ready_cells: int = READY_CELLS
    version_1_freezer: bool = False
    without: frozenset[str] = frozenset()


class JailDriver:
    """Makes jailed instances. `state` is the driver's own directory."""

    name = "jail"

    def __init__(self, resolve: Callable[[str], Launch], state: Path, options: JailOptions | None = None) -> None:
        """`resolve` gives the launch for a runtime or raises `LookupError` with a message for the log."""
        self._resolve = resolve
        self._state = state
        self._options = options or JailOptions()
        self._terms = Terms(self._options.cpu, self._options.without)
        self._forkers: dict[str, Forker] = {}
        self._retired: list[Forker] = []
        self._sandboxes: set[JailSandbox] = set()
        self._cgroups: Cgroups | None = None
        self._cells = Cells(None, None)
        self._watchdog: subprocess.Popen[bytes] | None = None

    def enforcement(self) -> tuple[Enforcement, ...]:
        return ()

    async def open(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        (self._state / "root").mkdir(exist_ok=True)
        self._cgroups = await asyncio.to_thread(self._open_cgroups)
        self._watchdog = self._start_watchdog(self._cgroups)
        self._cells = Cells(self._cgroups, Disks(self._state), ready=self._options.ready_cells)
        try:
            await self._cells.open()
        except OSError as error:
            raise ConfigurationError(f"jail: {error}") from error
        for runtime in self._options.runtimes:
            # One that cannot be had is reported to whoever asks for it.
            with contextlib.suppress(SandboxStartFailed):
                self._forker(runtime)

    async def create(self, spec: SandboxSpec, on_output: OnOutput, on_death: Callable[[], None]) -> JailSandbox:
        forker = self._forker(spec.runtime)
        sandbox = JailSandbox(spec, self._terms, self._cells, on_death)
        self._sandboxes.add(sandbox)
        sandbox.on_ended = lambda: self._sandboxes.discard(sandbox)
        starting = asyncio.create_task(sandbox.start(forker, on_output))
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
            await sandbox.kill()
            said = sandbox.last_words()
            raise SandboxStartFailed(f"{forker.launch.interpreter}: {error or 'not ready in time'} {said}") from error
        return sandbox

    async def close(self) -> None:
        await asyncio.gather(*(sandbox.kill() for sandbox in list(self._sandboxes)))
        await asyncio.gather(*(forker.close() for forker in [*self._forkers.values(), *self._retired]))
        await self._cells.close()
        if self._cgroups is not None:
            await asyncio.to_thread(self._cgroups.clear)
        if self._watchdog is not None:
            await asyncio.to_thread(self._watchdog.communicate)

    def _open_cgroups(self) -> Cgroups:
        layout = jail_sweep.hierarchies()
        jail_sweep.sweep(layout)
        cgroups = Cgroups(layout, jail_sweep.own_name(secrets.token_hex(4)))
        cgroups.open(version_1_freezer=self._options.version_1_freezer)
        return cgroups

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
            raise SandboxStartFailed(str(error)) from error
        forker = self._forkers.get(runtime)
        if forker is None or not forker.alive or forker.launch != launch:
            if forker is not None:
                self._retired.append(forker)
            forker = self._forkers[runtime] = Forker(launch, self._state / "root", user_namespace=False)
            forker.open()
        return forker


async def _settled(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
