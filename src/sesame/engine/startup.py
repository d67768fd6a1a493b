"""Brings up the sandbox of an instance: tries again what may succeed, and remembers what does not.

Called by `engine.pool` once the instance has its capacity and its start slot. Knows no calls: an instance that is
provisioned ahead of use is brought up in the same way.
"""

from collections.abc import Callable

import msgspec
import structlog

from sesame.engine import environment
from sesame.engine.instance import Instance
from sesame.engine.policies import BACKOFF_MAX_S, START_ATTEMPTS, start_backoff_s
from sesame.model.clocks import Clocks
from sesame.model.errors import FunctionNotStarted, PlatformError
from sesame.model.invocation import Snapshot
from sesame.sandbox.interface import Sandbox, SandboxDriver, SandboxSpec, SandboxStartFailed, StartFailure

log = structlog.get_logger(__name__)


class _Failing(msgspec.Struct):
    """A function whose last start failed for good: how often in a row, why, and when it may be started again."""

    failures: int
    failed_at: float
    retry_at: float
    kind: StartFailure
    cause: str


class Startup:
    """One for each engine. Failures are kept by snapshot key, so a changed function is started at once."""

    def __init__(self, driver: SandboxDriver, clocks: Clocks, account_id: str, region: str) -> None:
        self._driver = driver
        self._clocks = clocks
        self._account_id = account_id
        self._region = region
        self._failing: dict[str, _Failing] = {}
        self._closed = False

    def close(self) -> None:
        """No sandbox is started from here on; starts under way end by themselves."""
        self._closed = True

    def require_startable(self, snapshot: Snapshot) -> None:
        """Raises `FunctionNotStarted` while the function's failed starts have it wait."""
        failing = self._failing.get(snapshot.key)
        if failing is not None and self._clocks.monotonic() < failing.retry_at:
            raise self._not_started(failing)

    async def bring_up(self, instance: Instance, on_death: Callable[[], None]) -> Sandbox:
        """The instance's sandbox, ready for its first call; `on_death` is called if its process ends while idle.

        Raises `FunctionNotStarted` for what the function's configuration or the machine lacks and for a process that
        ends before it is ready, `PlatformError` for a failure of the host that outlasts every attempt.
        """
        began_at, snapshot = self._clocks.monotonic(), instance.snapshot
        spec = _spec(snapshot, instance.instance_id, self._account_id, self._region)
        attempt = 0
        while True:
            attempt += 1
            if self._closed:
                raise PlatformError("the server is stopping")
            try:
                sandbox = await self._driver.create(spec, instance.journal.write, on_death)
            except SandboxStartFailed as error:
                if attempt < START_ATTEMPTS[error.kind]:
                    log.warning("start failed, trying again", attempt=attempt, **_shown(snapshot, error))
                    continue
                log.error("start failed", attempt=attempt, **_shown(snapshot, error))
                if error.kind is StartFailure.TRANSIENT:
                    raise PlatformError(f"no instance came up: {error}") from error
                raise self._not_started(self._remember(snapshot.key, error, began_at)) from error
            self._failing.pop(snapshot.key, None)
            return sandbox

    def _remember(self, key: str, error: SandboxStartFailed, began_at: float) -> _Failing:
        now, before = self._clocks.monotonic(), self._failing.pop(key, None)
        failures = 1
        if before is not None:
            # Starts that were under way together are one failure.
            failures = before.failures + 1 if began_at > before.failed_at else before.failures
        forgotten = [other for other, failing in self._failing.items() if now - failing.retry_at > BACKOFF_MAX_S]
        for other in forgotten:
            del self._failing[other]
        failing = _Failing(failures, now, now + start_backoff_s(failures), error.kind, error.cause)
        self._failing[key] = failing
        return failing

    def _not_started(self, failing: _Failing) -> FunctionNotStarted:
        if failing.kind is StartFailure.REFUSED:
            return FunctionNotStarted(failing.cause)
        times = "once" if failing.failures == 1 else f"{failing.failures} times in a row"
        left_s = max(failing.retry_at - self._clocks.monotonic(), 0.0)
        return FunctionNotStarted(
            f"Its process failed {times} before it was ready ({failing.cause}); the function's log has what it wrote. "
            f"It is started again in {left_s:.1f} seconds at the earliest, or when the function changes"
        )


def _shown(snapshot: Snapshot, error: SandboxStartFailed) -> dict[str, str]:
    return {
        "service": snapshot.service.service_name,
        "function": snapshot.function.function_name,
        "kind": error.kind.value,
        "error": str(error),
    }


def _spec(snapshot: Snapshot, instance_id: str, account_id: str, region: str) -> SandboxSpec:
    function = snapshot.function
    return SandboxSpec(
        instance_id=instance_id,
        runtime=function.runtime,
        code_dir=snapshot.code_dir,
        layer_dirs=snapshot.layer_dirs,
        environment=environment.compose(snapshot, instance_id, account_id, region),
        memory_mb=function.memory_size,
        disk_mb=function.disk_size,
        setup=environment.setup(snapshot, account_id, region),
    )
