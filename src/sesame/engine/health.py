"""Checks the health of instances of functions with a health check, for as long as they live.

Built by `engine.pool`, which hands over each instance once it is ready. The monitor inside the instance
(runtime/custom) checks during the start; afterwards this module checks at the configured interval.
"""

import asyncio
from collections.abc import Callable

import structlog

from sesame.engine.instance import Instance, State
from sesame.engine.sharing import SharedInstances
from sesame.model.clocks import Clocks
from sesame.model.web_server import HealthCheck, WebServer
from sesame.sandbox.deaths import line_of
from sesame.sandbox.interface import KillReason, SandboxDied

log = structlog.get_logger(__name__)

End = Callable[[Instance, KillReason], object]


class HealthChecks:
    """Takes an instance that fails its check out of service, and ends it after the last call that it serves.

    POLICY: an instance is not checked while it is frozen, initializing or serving its only possible call: many servers
    handle one request at a time, and the call has its own time limit. For the same reason a check that times out while
    the instance serves calls does not count.
    """

    def __init__(self, clocks: Clocks, shared: SharedInstances, end: End) -> None:
        self._clocks = clocks
        self._shared = shared
        self._end = end
        self._asking: set[asyncio.Task[None]] = set()

    def watch(self, instance: Instance) -> None:
        """Checks the instance until it has ended. Does nothing if its function has no health check."""
        server = instance.snapshot.launch.web_server
        if server is not None and server.health_check is not None:
            self._later(instance, server, server.health_check, 0)

    def _later(self, instance: Instance, server: WebServer, check: HealthCheck, failures: int) -> None:
        def due() -> None:
            if instance.state is State.DEAD or instance.death is not None or instance.spent:
                return
            if not _may_be_asked(instance):
                self._later(instance, server, check, failures)
                return
            instance.checked = True
            task = asyncio.get_running_loop().create_task(self._ask(instance, server, check, failures))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

        self._clocks.call_later(check.period_seconds, due)

    async def _ask(self, instance: Instance, server: WebServer, check: HealthCheck, failures: int) -> None:
        serves = instance.calls > 0
        try:
            well = await instance.is_well()
            serves = serves or instance.calls > 0
        except SandboxDied as died:
            # If calls are running, they report the death themselves.
            if instance.state is State.IDLE:
                instance.write_output(f"{line_of(died.reason, str(died))}\n".encode())
                self._end(instance, KillReason.DIED)
            return
        finally:
            instance.checked = False
        # A busy server may handle one request at a time, so a timeout beside calls does not count: they have time
        # limits.
        if well is not None or not serves:
            failures = 0 if well else failures + 1
        if failures < check.failure_threshold:
            self._later(instance, server, check, failures)
            return
        if instance.state is State.DEAD:
            return
        text = (
            f"Function instance health check failed on port {server.port}: GET {check.http_get_url} was not answered "
            f"well {failures} times in a row. This instance takes no more calls and is replaced."
        )
        log.warning("an instance fails its health check", instance=instance.instance_id)
        instance.write_output(f"[sesame] {text}\n".encode())
        if instance.state is State.IDLE:
            self._end(instance, KillReason.FAILED)
        else:
            instance.spent = True
            self._shared.close(instance)


def _may_be_asked(instance: Instance) -> bool:
    if instance.state is State.IDLE:
        return not instance.frozen
    return instance.state is State.BUSY and instance.shared and instance.calls > 0
