"""Debugs one function of a project: makes its debugger reachable on the loopback interface.

Used by `cli.dev`, which calls `after_deploy` after each deployment, because new code runs in a new instance.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec

from sesame.app import Sesame
from sesame.deploy.project import Function, Project
from sesame.dev import launch_json
from sesame.dev.debug_bridge import HOST, DebugBridge
from sesame.engine.debugging import Debugging
from sesame.model import limits
from sesame.model.command import Execution
from sesame.model.errors import ConfigurationError, Exhausted
from sesame.model.invocation import Target
from sesame.model.owner import label

PORT = 5678


class Wanted(msgspec.Struct, frozen=True):
    """`name` is `service/function` or just the function. `folder` contains `.vscode`."""

    name: str
    port: int
    folder: Path


class DebuggedFunction:
    def __init__(self, sesame: Sesame, wanted: Wanted, say: Callable[[str], None]) -> None:
        self._sesame = sesame
        self._name = wanted.name
        self._port = wanted.port
        self._folder = wanted.folder
        self._say = say
        self._bridge = DebugBridge(self._connect, say)
        self._debugging: Debugging | None = None
        self._target: Target | None = None
        self._told: launch_json.Attach | None = None

    async def after_deploy(self, project: Project) -> None:
        """Returns when the function can be debugged. Raises a `SesameError` that states why it cannot."""
        function = self._function(project)
        target = Target(function.service, limits.LATEST, function.name)
        if self._debugging is None:
            await self._begin(target)
        assert self._debugging is not None
        try:
            debugger = await self._debugging.start(target)
        except Exhausted:
            # A call of the old code is stopped in the debugger; the new code gets an instance once that call has ended.
            return
        path = function.code.path
        if path is not None and (path.is_dir() or path.suffix == ".py"):
            local = path if path.is_dir() else path.parent
            await self._tell(
                launch_json.Attach(label(target.service, target.function), self._port, local, debugger.code)
            )

    async def close(self) -> None:
        await self._bridge.close()

    async def _begin(self, target: Target) -> None:
        loop = asyncio.get_running_loop()

        def progress(line: str) -> None:
            loop.call_soon_threadsafe(self._say, line)

        try:
            self._port = await self._bridge.listen(self._port)
        except OSError as error:
            raise ConfigurationError(
                f"the debugger cannot listen on {HOST}:{self._port}: {error.strerror}; choose another with --debug-port"
            ) from error
        try:
            self._debugging = await self._sesame.debug(target, progress)
        except BaseException:
            await self._bridge.close()
            raise
        self._target = target

    def _connect(self) -> AbstractAsyncContextManager[Execution]:
        if self._debugging is None or self._target is None:
            raise ConfigurationError("the function is not ready to be debugged yet")
        return self._debugging.connect(self._target)

    async def _tell(self, attach: launch_json.Attach) -> None:
        if attach == self._told:
            return
        first, self._told = self._told is None, attach
        why = await asyncio.to_thread(launch_json.write, self._folder, attach)
        if not first:
            return
        self._say(f"Debugging {attach.function}: attach to {HOST}:{attach.port} ({attach.local} is {attach.remote}).")
        if why:
            self._say(f"{why}. Add this configuration to it: {launch_json.configuration(self._folder, attach)}")
        else:
            self._say(f"In VS Code: Run and Debug, '{launch_json.name_of(attach.function)}'.")

    def _function(self, project: Project) -> Function:
        found = [each for each in project.functions if self._name in (each.name, each.label)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(each.label for each in project.functions)
        raise ConfigurationError(
            f"--debug {self._name}: expected one function of the project ({names or 'it has none'})"
        )
