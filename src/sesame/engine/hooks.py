"""Runs a function's hooks before its instance is frozen (PreFreeze) or ended (PreStop) (reference/runtime.md §10).

Used by `engine.pool` on instances that serve no call. A hook's failure never becomes an exception: it appears in the
function's log, and the pool learns whether the instance still responds.
"""

import uuid

import structlog

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.instance import Instance
from sesame.engine.steps import Steps, is_usable_after
from sesame.model.clocks import Clocks
from sesame.model.errors import SesameError
from sesame.model.invocation import Invocation, Target
from sesame.model.snapshot import Hook

PRE_FREEZE, PRE_STOP = "pre_freeze", "pre_stop"
_NAMES = {PRE_FREEZE: "PreFreeze", PRE_STOP: "PreStop"}
_WITHOUT_HOOKS = "python2.7"

log = structlog.get_logger(__name__)


class Hooks:
    """`kind` is PRE_FREEZE or PRE_STOP throughout."""

    def __init__(self, clocks: Clocks, credentials: CredentialsOf) -> None:
        self._clocks = clocks
        self._credentials = credentials

    def has(self, instance: Instance, kind: str) -> bool:
        return _hook(instance, kind) is not None

    async def run(self, instance: Instance, kind: str) -> bool:
        """Runs the hook, if any, on a BUSY instance. Returns whether the instance may serve further calls.

        It may not after the hook timed out or ended the process.
        """
        hook = _hook(instance, kind)
        if hook is None:
            return True
        snapshot = instance.snapshot
        try:
            credentials = self._credentials(snapshot.role, snapshot.service, hook.timeout_s + CREDENTIALS_MARGIN_S, ())
        except SesameError as error:
            log.warning("a hook was skipped because it has no credentials", hook=_NAMES[kind], error=str(error))
            return True
        target = Target(snapshot.service, snapshot.version_id, snapshot.function)
        call = Invocation(str(uuid.uuid4()), target, b"")
        meta = call_meta(call, snapshot, credentials)
        steps = Steps(instance, call.request_id, meta, credentials, self._clocks)
        ended = await steps.run_hook(kind, _NAMES[kind], hook.command, hook.timeout_s)
        steps.log.line(ended.last_line)
        return is_usable_after(ended.error)


def _hook(instance: Instance, kind: str) -> Hook | None:
    if instance.snapshot.runtime == _WITHOUT_HOOKS:
        return None
    launch = instance.snapshot.launch
    return launch.pre_freeze if kind == PRE_FREEZE else launch.pre_stop
