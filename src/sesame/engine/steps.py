"""One request to an instance's shim, between its Start and End lines in the log: a call, an initializer or a hook.

Used by `engine.dispatcher`, `engine.startup` and `engine.hooks`. A function's failure is a value here, never an
exception.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec

from sesame.engine.instance import CallFailed, Instance
from sesame.engine.invocation_log import InvocationLog
from sesame.model import limits
from sesame.model.clocks import Clocks
from sesame.model.invocation import Credentials, FunctionError
from sesame.model.stream import Stream
from sesame.sandbox.deaths import line_of
from sesame.sandbox.interface import Reply

UNHANDLED = "UnhandledInvocationError"
HANDLED = "HandledInvocationError"
# The cancellation message that marks the stopping of an asynchronous invocation.
STOPPED = "stopped"


class Ended(msgspec.Struct):
    """How one request ended. `last_line` is its End line, which the caller writes once no other line precedes it."""

    payload: bytes
    error: FunctionError | None
    duration_ms: float
    http: dict[str, object] | None = None
    last_line: str = ""
    trace: str = ""


def is_usable_after(error: FunctionError | None) -> bool:
    """Whether the instance may serve further calls: only after a result or an exception raised by the handler."""
    return error is None or error.reason == "unhandled"


class Steps:
    """The requests of one call on one instance, which share its request id, metadata, keys and log."""

    __slots__ = ("_clocks", "_keys", "_meta", "instance", "log", "request_id")

    def __init__(
        self, instance: Instance, request_id: str, meta: Mapping[str, Any], keys: Credentials, clocks: Clocks
    ) -> None:
        self.instance = instance
        self.request_id = request_id
        self.log: InvocationLog = instance.begin_log(request_id, meta["qualifier"])
        self._meta = meta
        # Mounted buckets need them also if the function is not given any (`disableInjectCredentials`).
        self._keys = keys if instance.snapshot.buckets else None
        self._clocks = clocks

    def run(self, kind: str, name: str, payload: bytes | Stream, timeout_s: float) -> Coroutine[Any, Any, Ended]:
        """Sends a request. `kind` is as in `sandbox.interface.Call`; `name` appears in the log."""
        answer = self.instance.call(kind, self.request_id, self._meta, payload, timeout_s, self._keys)
        return self._logged(name, timeout_s, answer)

    async def run_hook(self, kind: str, name: str, command: tuple[str, ...], timeout_s: float) -> Ended:
        """Like `run`, without a payload. A `command`, if given, is run instead (`Instance.run`)."""
        if command:
            return await self._logged(name, timeout_s, self.instance.run(command, timeout_s))
        return await self.run(kind, name, b"", timeout_s)

    async def _logged(self, name: str, timeout_s: float, answer: Coroutine[Any, Any, Reply | CallFailed]) -> Ended:
        instance, request_id, log = self.instance, self.request_id, self.log
        log.line(f"FC {name} Start RequestId: {request_id}", more=True)
        started_at = self._clocks.monotonic()
        try:
            reply = await answer
        except BaseException as error:
            took_ms = (self._clocks.monotonic() - started_at) * 1000
            why = _why_cut_off(error)
            log.ensure_new_line()
            log.line(
                f"FC {name} End RequestId: {request_id}, Error: {why} "
                f"(duration: {took_ms:.0f}ms, maxMemoryUsage: {instance.memory_mb():.2f}MB)"
            )
            raise
        took_ms = (self._clocks.monotonic() - started_at) * 1000
        ended = _ended(reply, took_ms, timeout_s, instance)
        log.ensure_new_line()
        failed = ""
        if ended.error is not None:
            failed = ", Error: Unhandled function error"
            if isinstance(reply, CallFailed) and (why := line_of(reply.reason, reply.detail)):
                log.write(f"{why}\n".encode())
        ended.last_line = f"FC {name} End RequestId: {request_id}{failed}"
        return ended


def _why_cut_off(error: BaseException) -> str:
    if not isinstance(error, asyncio.CancelledError):
        return "Internal error"
    return "Invocation stopped" if error.args == (STOPPED,) else "Invocation canceled by client"


def _ended(reply: Reply | CallFailed, took_ms: float, timeout_s: float, instance: Instance) -> Ended:
    if isinstance(reply, Reply):
        size = len(reply.payload)
        if size > limits.RESPONSE_PAYLOAD_BYTES:
            # The shim itself refuses a result of this size, so the function must have bypassed the shim.
            return _failed(
                f"response payload size {size} bytes exceeds maximum allowed size "
                f"({limits.RESPONSE_PAYLOAD_BYTES} bytes)",
                "response_too_large",
                took_ms,
            )
        error = None if reply.ok else FunctionError(HANDLED if reply.handled else UNHANDLED, "unhandled")
        return Ended(reply.payload, error, took_ms, reply.http, trace=reply.trace)
    memory_mb = instance.memory_mb()
    if reply.reason == "timeout":
        text = f"Function timed out after {timeout_s:g} seconds (maxMemoryUsage: {memory_mb:.2f}MB)"
    else:
        text = (
            "Process exited unexpectedly before completing request "
            f"(duration: {took_ms:.0f}ms, maxMemoryUsage: {memory_mb:.2f}MB)"
        )
    return _failed(text, reply.reason, took_ms)


def _failed(text: str, reason: str, took_ms: float) -> Ended:
    return Ended(msgspec.json.encode({"errorMessage": text}), FunctionError(UNHANDLED, str(reason)), took_ms)
