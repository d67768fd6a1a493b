"""Runs a handler of a local directory, without a server, in the same engine and sandbox as a deployed function.

Used by `sesame invoke` for one call, and by `cli.kept_process` for several. Leaves nothing behind, and never writes
to the directory.
"""

import asyncio
import io
import os
import tempfile
import uuid
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from sesame.cli import local_code, output
from sesame.cli.local_call import LocalCall, LocalFunction
from sesame.engine.debugging import Debugging
from sesame.engine.invocation_log import LogSink, LogSource
from sesame.engine.policies import Caps
from sesame.engine.resolver import OneSnapshot
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model import limits
from sesame.model.clocks import SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.model.function import Function, Package
from sesame.model.invocation import Credentials, Invocation, Outcome, Target
from sesame.model.recursion import Chain
from sesame.model.service import Service
from sesame.model.snapshot import Resolved, Snapshot, snapshot_of
from sesame.sandbox.drivers import Wanted, choose, find_out
from sesame.sandbox.launch import PackagedLauncher
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.volumes import NasVolumes
from sesame.settings import Settings

SERVICE = "local"
ACCOUNT_ID = "1234567890123456"
ONE_CALL_S = 1.0

Say = Callable[[str], None]


class Calls:
    """Calls one function; a call is cold or warm, depending on whether an instance exists."""

    def __init__(self, engine: LocalEngine, target: Target, lent: "_Lent") -> None:
        self._engine = engine
        self._lent = lent
        self.target = target

    @property
    def debugging(self) -> Debugging:
        """Access to the function's debugger, if it was opened with one."""
        assert self._engine.debugging is not None
        return self._engine.debugging

    async def call(self, call: LocalCall) -> Outcome:
        self._lent.credentials = call.credentials
        request = Invocation(str(uuid.uuid4()), self.target, call.event, http_params=call.http_params)
        return await self._engine.invoke(request)


async def run_local(function: LocalFunction, call: LocalCall, settings: Settings, say: Say) -> Outcome:
    """Makes one cold call; its log goes to stderr immediately. Raises `ConfigurationError` without an interpreter."""
    async with opened(function, settings, say, sink=to_stderr) as calls:
        return await calls.call(call)


@asynccontextmanager
async def opened(
    function: LocalFunction,
    settings: Settings,
    say: Say,
    *,
    sink: LogSink,
    keep_alive_s: float = ONE_CALL_S,
    debug: bool = False,
    layers: Sequence[Path] = (),
) -> AsyncIterator[Calls]:
    """Opens the function for calls, in the sandbox that a server would use; leaving the context ends it.

    `layers` are directories that appear at /opt. With `debug`, its instance has a debugger, which is installed if
    missing.
    """
    # Both wait for processes that they start.
    (function, runtimes), isolation = await asyncio.gather(
        asyncio.to_thread(with_runtime, function, settings), find_out(settings.sandbox)
    )
    with tempfile.TemporaryDirectory(prefix="sesame-invoke-") as folder:
        scratch = Path(folder)
        wanted = Wanted(
            name=settings.sandbox, cpu=settings.cpu, state=scratch, runtimes=(function.runtime,), one_instance=True
        )
        chosen = await choose(wanted, runtimes.launch, isolation)
        if settings.sandbox == "auto" and chosen.driver.name != "jail":
            say(chosen.reason)
        code = function.code
        # Run by root, a jail gives each instance its own user; in a user namespace, the instance runs as the caller.
        if chosen.driver.name == "jail" and os.geteuid() == 0 and not local_code.others_may_read(code):
            code = local_code.copy_for_others(code, scratch / "code")
        directories = [code, *layers]
        if debug:
            runtimes.debuggers.install(function.runtime, say)
            directories.append(_unpacked(runtimes.debuggers.archive(function.runtime), scratch / "debugger"))
        try:
            await chosen.driver.open()
            snapshot = _snapshot(function, [str(number) for number, _layer in enumerate(layers)])
            lent = _Lent()
            engine = LocalEngine(
                EngineDependencies(
                    launcher=PackagedLauncher(
                        chosen.driver, _Directories(directories), NasVolumes(scratch / "nas", {})
                    ),
                    resolver=OneSnapshot(snapshot),
                    clocks=SystemClocks(),
                    caps=Caps(
                        instances_per_function=1,
                        memory_mb=function.memory_mb,
                        starts_at_once=1,
                        keep_alive_s=keep_alive_s,
                    ),
                    sink=sink,
                    credentials=lent.of_role,
                    account_id=settings.account_id or ACCOUNT_ID,
                    region=settings.region,
                    debuggable=debug,
                )
            )
            target = Target(SERVICE, limits.LATEST, snapshot.function)
            if engine.debugging is not None:
                engine.debugging.debug(target, "debugger")
            try:
                yield Calls(engine, target, lent)
            finally:
                await engine.drain(0.0)
        finally:
            await chosen.driver.close()


def with_runtime(function: LocalFunction, settings: Settings) -> tuple[LocalFunction, Runtimes]:
    """The function with its runtime: its own, otherwise the newest available one that can run its source.

    Raises `ConfigurationError` if no interpreter is available.
    """
    named = (function.runtime,) if function.runtime else local_code.runtimes_for(function.code, function.handler)
    for runtime in named:
        # Checks one runtime at a time: looking up an interpreter runs it, and the first match is enough.
        runtimes = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), [runtime])
        if runtime in runtimes.found:
            return msgspec.structs.replace(function, runtime=runtime), runtimes
    try:
        runtimes.launch(named[0])
    except LookupError as error:
        raise ConfigurationError(str(error)) from error
    raise AssertionError("a runtime without an interpreter was launched")


class _Lent:
    """The keys of the current call, whatever role the engine asks for."""

    def __init__(self) -> None:
        self.credentials = Credentials()

    def of_role(self, _role: str, _session_name: str, _validity_s: float, _chain: Chain) -> Credentials:
        return self.credentials


def _unpacked(archive: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(folder)
    return folder


class _Directories:
    """A `launch.Packages`, and its lease: the caller's directory and a debugger's, which outlive the instance."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.code_dirs = tuple(directories)
        self.compiled: tuple[Path, ...] = ()

    async def lease(self, sha256s: Sequence[str], runtime: str) -> "_Directories":
        return self

    def release(self) -> None:
        """Does nothing: others own the directories."""


def _snapshot(function: LocalFunction, layers: Sequence[str]) -> Snapshot:
    described = Function(
        function_name=function.code.name or "function",
        function_id=str(uuid.uuid4()),
        runtime=function.runtime,
        handler=function.handler,
        package=Package(sha256="", checksum="", size_bytes=0),
        initializer=function.initializer,
        timeout=function.timeout_s,
        memory_size=function.memory_mb,
        environment_variables=dict(function.environment),
    )
    service = Service(service_name=SERVICE, service_id=str(uuid.uuid4()))
    return snapshot_of(service, described, Resolved("local", limits.LATEST, tuple(layers)))


def to_stderr(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
    output.log(data)
