"""Runs what a function wants done before its instance is frozen, and before it ends (reference/runtime.md §10).

Used by `engine.pool` on instances that no call has.
Never lets a hook's failure out: the function's log tells it, and the pool learns whether the instance still answers.
"""

import uuid

import structlog

from sesame.engine.environment import CREDENTIALS_MARGIN_S, CredentialsOf, call_meta
from sesame.engine.instance import Instance
from sesame.model.clocks import Clocks
from sesame.model.errors import SesameError
from sesame.model.function import LifecycleHook
from sesame.model.invocation import Invocation, Target
from sesame.sandbox.interface import Reply

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
        """Whether the instance may serve on: not after a hook that took too long or ended the process.

        The instance is BUSY, as for a call. Without a hook of that kind nothing happens.
        """
        hook = _hook(instance, kind)
        if hook is None:
            return True
        snapshot, journal = instance.snapshot, instance.journal
        try:
            credentials = self._credentials(snapshot.service, hook.timeout + CREDENTIALS_MARGIN_S)
        except SesameError as error:
            log.warning("a hook has no credentials and was left out", hook=_NAMES[kind], error=str(error))
            return True
        target = Target(snapshot.service.service_name, snapshot.version_id, snapshot.function.function_name)
        call = Invocation(str(uuid.uuid4()), target, b"")
        journal.begin(call.request_id)
        journal.line(f"FC {_NAMES[kind]} Start RequestId: {call.request_id}")
        reply = await instance.call(
            kind, call.request_id, call_meta(call, snapshot, credentials), call.event, hook.timeout
        )
        well = isinstance(reply, Reply) and reply.ok
        journal.ensure_new_line()
        failed = "" if well else ", Error: Unhandled function error"
        journal.line(f"FC {_NAMES[kind]} End RequestId: {call.request_id}{failed}")
        return isinstance(reply, Reply)


def _hook(instance: Instance, kind: str) -> LifecycleHook | None:
    function = instance.snapshot.function
    config = function.instance_lifecycle_config
    if config is None or function.runtime == _WITHOUT_HOOKS:
        return None
    hook = config.pre_freeze if kind == PRE_FREEZE else config.pre_stop
    return hook if hook is not None and hook.handler else None
