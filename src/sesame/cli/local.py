"""Runs a handler of a local directory through the same engine and sandbox as a deployed one, without a server.

Used by `sesame invoke`. Leaves nothing behind, and never writes into the directory.
"""

import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from sesame.engine.invocation_log import LogSource
from sesame.engine.policies import Caps
from sesame.engine.running import EngineDependencies, LocalEngine
from sesame.model import limits
from sesame.model.clocks import SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.model.function import Function, Package
from sesame.model.invocation import Credentials, Invocation, Outcome, Target
from sesame.model.recursion import Chain
from sesame.model.service import Service
from sesame.model.snapshot import Resolved, Snapshot, snapshot_of
from sesame.sandbox.drivers import Wanted, choose
from sesame.sandbox.launch import PackagedLauncher
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings

SERVICE = "local"
ACCOUNT_ID = "1234567890123456"
OTHERS_MAY_READ = 0o005


class LocalCall(msgspec.Struct, frozen=True, kw_only=True):
    """The handler to call, its event and its limits. `code` is an absolute path."""

    code: Path
    handler: str
    event: bytes
    runtime: str
    initializer: str
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]


async def run_local(call: LocalCall, settings: Settings) -> Outcome:
    """One cold call; the log goes to stderr as it comes. Raises `ConfigurationError` for a missing interpreter."""
    runtimes = Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir(), [call.runtime])
    try:
        runtimes.launch(call.runtime)
    except LookupError as error:
        raise ConfigurationError(str(error)) from error
    if settings.sandbox == "jail" and call.code.stat().st_mode & OTHERS_MAY_READ != OTHERS_MAY_READ:
        raise ConfigurationError(
            f"the user of a jail may not read {call.code}: `chmod -R o+rX {call.code}`, or use --sandbox plain"
        )
    with tempfile.TemporaryDirectory(prefix="sesame-invoke-") as scratch:
        # POLICY: one's own code is locked up only when asked for: a jail's user may not read one's directories.
        name = "jail" if settings.sandbox == "jail" else "plain"
        wanted = Wanted(name=name, cpu=settings.cpu, state=Path(scratch), runtimes=(call.runtime,))
        driver = (await choose(wanted, runtimes.launch)).driver
        try:
            await driver.open()
            snapshot = _snapshot(call)
            engine = LocalEngine(
                EngineDependencies(
                    launcher=PackagedLauncher(driver, _OneDirectory(call.code)),
                    resolver=_OneFunction(snapshot),
                    clocks=SystemClocks(),
                    caps=Caps(instances_per_function=1, memory_mb=call.memory_mb, starts_at_once=1, keep_alive_s=1.0),
                    sink=_to_stderr,
                    credentials=_no_credentials,
                    account_id=settings.account_id or ACCOUNT_ID,
                    region=settings.region,
                )
            )
            try:
                target = Target(SERVICE, limits.LATEST, snapshot.function)
                return await engine.invoke(Invocation(str(uuid.uuid4()), target, call.event))
            finally:
                await engine.drain(0.0)
        finally:
            await driver.close()


def _no_credentials(_role: str, _session_name: str, _validity_s: float, _chain: Chain) -> Credentials:
    return Credentials()


class _OneDirectory:
    """A `launch.Packages`, and its lease: the only package is the caller's directory, which is never removed."""

    def __init__(self, code: Path) -> None:
        self.code_dirs: tuple[Path, ...] = (code,)
        self.compiled: tuple[Path, ...] = ()

    async def lease(self, sha256s: Sequence[str], runtime: str) -> "_OneDirectory":
        return self

    def release(self) -> None:
        """Does nothing: the directory is the caller's."""


class _OneFunction:
    """A `resolver.Snapshots` in which every target resolves to the local function, which never changes."""

    changes = 0

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def resolve(self, target: Target) -> Snapshot:
        return self._snapshot

    def is_current(self, target: Target, key: str) -> bool:
        return True

    def on_change(self, callback: Callable[[], None]) -> None:
        """Never calls back: the function does not change."""


def _snapshot(call: LocalCall) -> Snapshot:
    function = Function(
        function_name=call.code.name or "function",
        function_id=str(uuid.uuid4()),
        runtime=call.runtime,
        handler=call.handler,
        package=Package(sha256="", checksum="", size_bytes=0),
        initializer=call.initializer,
        timeout=call.timeout_s,
        memory_size=call.memory_mb,
        environment_variables=dict(call.environment),
    )
    service = Service(service_name=SERVICE, service_id=str(uuid.uuid4()))
    return snapshot_of(service, function, Resolved("local", limits.LATEST))


def _to_stderr(source: LogSource, request_id: str, data: bytes, more: bool) -> None:
    sys.stderr.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stderr.buffer.flush()
