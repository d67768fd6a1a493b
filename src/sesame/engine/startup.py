"""Brings an instance up: starts its sandbox, retries where that may help, backs off after failures, initializes it.

Called by `engine.pool` once the instance has its capacity and its start slot, and by `engine.dispatcher` for the
initializer. Separate from calling, so that provisioned instances are brought up in the same way.
"""

import msgspec
import structlog

from sesame.engine import debugger_start, environment
from sesame.engine.environment import CredentialsOf
from sesame.engine.instance import Instance, State
from sesame.engine.policies import BACKOFF_MAX_S, START_ATTEMPTS, start_backoff_s
from sesame.engine.steps import UNHANDLED, Ended, Steps
from sesame.model.clocks import Clocks
from sesame.model.errors import NotStarted, PlatformError, StartProblem, Unavailable
from sesame.model.invocation import FunctionError
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import InstanceSpec, OnDeath, SandboxLauncher, SandboxStartFailed, StartFailure

log = structlog.get_logger(__name__)


class _Failing(msgspec.Struct):
    """A function whose last start failed for good: how often in a row, why, and when it may be started again."""

    failures: int
    failed_at: float
    retry_at: float
    kind: StartFailure
    cause: str
    problem: StartProblem | None


class Startup:
    """One per engine. Failures are kept by snapshot key, so that a changed function can start at once."""

    def __init__(
        self, launcher: SandboxLauncher, clocks: Clocks, credentials: CredentialsOf, account_id: str, region: str
    ) -> None:
        self._launcher = launcher
        self._clocks = clocks
        self._credentials = credentials
        self._account_id = account_id
        self._region = region
        self._failing: dict[str, _Failing] = {}
        self._closed = False

    def close(self) -> None:
        """Starts no more sandboxes; starts under way complete."""
        self._closed = True

    def require_startable(self, snapshot: Snapshot) -> None:
        """Raises `NotStarted` while the function is backing off after failed starts."""
        if not self.may_start(snapshot):
            raise self._not_started(self._failing[snapshot.key])

    def may_start(self, snapshot: Snapshot) -> bool:
        failing = self._failing.get(snapshot.key)
        return failing is None or self._clocks.monotonic() >= failing.retry_at

    async def bring_up(self, instance: Instance, on_death: OnDeath) -> None:
        """On return the instance has a sandbox; `on_death` is called if its process ends between calls.

        Raises `NotStarted` if the function's configuration or the machine lacks something, or if the process ends
        before it is ready, and `PlatformError` for a failure of the host that persists through all attempts. Nothing of
        the start is left after an exception.
        """
        began_at, snapshot = self._clocks.monotonic(), instance.snapshot
        spec = _spec(snapshot, instance.instance_id, self._account_id, self._region)
        if snapshot.launch.web_server is not None or snapshot.buckets:
            # These instances need keys at the start; each call brings newer ones.
            keys = self._credentials(snapshot.role, snapshot.service, environment.INSTANCE_CREDENTIALS_S, ())
            spec = msgspec.structs.replace(spec, keys=keys)
            if snapshot.launch.web_server is not None and snapshot.keys_in_environment:
                # A custom program's environment is fixed at its start.
                variables = {**spec.environment, **environment.key_variables(keys)}
                spec = msgspec.structs.replace(spec, environment=variables)
        attempt = 0
        while True:
            attempt += 1
            if self._closed:
                raise Unavailable("the server is stopping")
            try:
                sandbox = await self._launcher.create(spec, instance.write_output, on_death)
            except SandboxStartFailed as error:
                if error.kind is StartFailure.CRASHED:
                    instance.write_output(f"[sesame] the function's process did not start: {error.cause}\n".encode())
                if attempt < START_ATTEMPTS[error.kind]:
                    log.warning("an instance did not start; trying again", attempt=attempt, **_shown(snapshot, error))
                    continue
                log.error("start failed", attempt=attempt, **_shown(snapshot, error))
                if error.kind is StartFailure.LOST:
                    # The caller can repair this: deploying the code again restores it on the disk.
                    raise NotStarted(str(error)) from error
                if error.kind is StartFailure.TRANSIENT:
                    raise PlatformError(f"no instance came up: {error}") from error
                raise self._not_started(self._remember(snapshot.key, error, began_at)) from error
            self._failing.pop(snapshot.key, None)
            instance.started(sandbox)
            if snapshot.debug:
                await debugger_start.listen(instance)
            return

    def _remember(self, key: str, error: SandboxStartFailed, began_at: float) -> _Failing:
        now, before = self._clocks.monotonic(), self._failing.pop(key, None)
        failures = 1
        if before is not None:
            # Starts that ran concurrently count as one failure.
            failures = before.failures + 1 if began_at > before.failed_at else before.failures
        forgotten = [other for other, failing in self._failing.items() if now - failing.retry_at > BACKOFF_MAX_S]
        for other in forgotten:
            del self._failing[other]
        failing = _Failing(failures, now, now + start_backoff_s(failures), error.kind, error.cause, error.problem)
        self._failing[key] = failing
        return failing

    def _not_started(self, failing: _Failing) -> NotStarted:
        if failing.kind in (StartFailure.REFUSED, StartFailure.PROGRAM):
            return NotStarted(failing.cause, failing.problem)
        times = "once" if failing.failures == 1 else f"{failing.failures} times in a row"
        left_s = max(failing.retry_at - self._clocks.monotonic(), 0.0)
        return NotStarted(
            f"Its process failed {times} before it was ready ({failing.cause}); the function's log has what it wrote. "
            f"It is started again in {left_s:.1f} seconds at the earliest, or when the function changes"
        )


async def initialize(steps: Steps) -> Ended:
    """Runs the function's initializer, or the command in its place.

    On success writes the initializer's last log line; the instance may then be called.
    """
    instance = steps.instance
    instance.move(State.INITIALIZING)
    snapshot = instance.snapshot
    command, timeout_s = snapshot.launch.initializer_command, snapshot.limits.initialization_timeout_s
    ended = await steps.run_hook("initialize", "Initialize", command, timeout_s)
    if ended.error is not None:
        ended.error = FunctionError(UNHANDLED, "initializer")
    else:
        steps.log.line(ended.last_line)
        instance.initialized = True
    return ended


def _shown(snapshot: Snapshot, error: SandboxStartFailed) -> dict[str, str]:
    return {
        "service": snapshot.service,
        "function": snapshot.function,
        "kind": error.kind.value,
        "error": str(error),
    }


def _spec(snapshot: Snapshot, instance_id: str, account_id: str, region: str) -> InstanceSpec:
    return InstanceSpec(
        instance_id=instance_id,
        runtime=snapshot.runtime,
        code=snapshot.code,
        layers=snapshot.layers,
        environment=environment.compose(snapshot, instance_id, account_id, region),
        memory_mb=snapshot.limits.memory_mb + (debugger_start.MEMORY_MB if snapshot.debug else 0),
        disk_mb=snapshot.limits.disk_mb,
        cpu=snapshot.limits.cpu,
        internet=snapshot.internet,
        setup=environment.setup(snapshot, account_id, region),
        nas=snapshot.nas,
        buckets=snapshot.buckets,
        web_server=snapshot.launch.web_server,
        image=snapshot.launch.image,
    )
