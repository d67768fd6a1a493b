"""Carries one invocation from its HTTP request to the engine, and its outcome back.

Called by `gateway.app` with requests whose caller is known; the main road, so it makes as little as it can on the way.
Never knows instances, and never answers a client that has gone.
"""

import asyncio
import math
from base64 import b64encode
from typing import Protocol

from starlette.types import Receive, Send

from sesame.gateway.auth import RequestHead
from sesame.gateway.body import ClientGone, read_body
from sesame.gateway.headers import BYTES_TYPE, CONTENT_LENGTH, JSON_TYPE, REQUEST_ID, DateHeader, Headers
from sesame.model import limits
from sesame.model.errors import InvalidArgument
from sesame.model.invocation import Invocation, Outcome, Target

# Most calls end sooner; only longer ones pay for a task that waits for the client to hang up.
WATCH_AFTER_S = 0.02

_TRACING = b"x-fc-tracing-opentracing-"
_SPAN_CONTEXT = _TRACING + b"span-context"
_BAGGAGE = _SPAN_CONTEXT + b"-baggage-"

_CHECKSUM = b"X-Fc-Code-Checksum"
_DURATION = b"X-Fc-Invocation-Duration"
_VERSION = b"X-Fc-Invocation-Service-Version"
_CODE_VERSION = b"X-Fc-Invocation-Code-Version"
_MEMORY = b"X-Fc-Max-Memory-Usage"
_INSTANCE = b"X-Fc-Instance-Id"
_ERROR_TYPE = b"X-Fc-Error-Type"
_LOG_RESULT = b"X-Fc-Log-Result"
_EXPOSED = (
    b"Access-Control-Expose-Headers",
    b"Date,x-fc-request-id,x-fc-error-type,x-fc-code-checksum,x-fc-invocation-duration,x-fc-max-memory-usage,"
    b"x-fc-log-result,x-fc-invocation-code-version",
)
# Ours: a cold call says so, and where its time went, in milliseconds.
_COLD = (b"X-Sesame-Cold-Start", b"true")
_QUEUE_MS = b"X-Sesame-Queue-Ms"
_START_MS = b"X-Sesame-Start-Ms"
_INITIALIZE_MS = b"X-Sesame-Initialize-Ms"
_INVOKE_MS = b"X-Sesame-Invoke-Ms"
_START_STEPS = b"X-Sesame-Start-Steps"


class Dispatcher(Protocol):
    """The part of `engine.dispatcher.Dispatcher` that is used here."""

    async def invoke(self, invocation: Invocation) -> Outcome: ...


class Invoker:
    """Answers `POST …/invocations` (reference/api.md §3.3)."""

    def __init__(self, dispatcher: Dispatcher, date: DateHeader) -> None:
        self._dispatcher = dispatcher
        self._date = date

    async def outcome(self, request_id: str, target: Target, head: RequestHead, receive: Receive) -> Outcome:
        """Reads the event and has it run.

        Raises a `CallerError` for what the caller got wrong, and `ClientGone` when the client hung up, in which case
        the call was cancelled.
        """
        _check_options(head)
        event = await read_body(receive, head.content_length, limits.SYNC_PAYLOAD_BYTES)
        return await self.run(Invocation(request_id, target, event, tracing=_tracing(head.fc_headers)), receive)

    async def run(self, invocation: Invocation, receive: Receive) -> Outcome:
        """Has it run, and cancels it when the client hangs up; then raises `ClientGone`. The body is read already."""
        watch = _DisconnectWatch(receive)
        timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, watch.start)
        try:
            return await self._dispatcher.invoke(invocation)
        except asyncio.CancelledError:
            if watch.take_back_cancel():
                raise ClientGone from None
            raise
        finally:
            timer.cancel()
            watch.stop()

    async def send(self, request_id: str, target: Target, head: RequestHead, outcome: Outcome, send: Send) -> None:
        """A function's failure is a 200 too: only X-Fc-Error-Type and the content type tell."""
        headers = self.headers(request_id, target, outcome)
        if outcome.error is None:
            headers.append(BYTES_TYPE)
        headers.append((CONTENT_LENGTH, b"%d" % len(outcome.payload)))
        if head.log_type == b"Tail":
            headers.append((_LOG_RESULT, b64encode(outcome.log_tail[-limits.LOG_TAIL_BYTES :])))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": outcome.payload})

    def headers(self, request_id: str, target: Target, outcome: Outcome) -> Headers:
        """What every answer of a call says of it; with the content type where the payload is the JSON of a failure."""
        headers: Headers = [
            (REQUEST_ID, request_id.encode()),
            self._date(),
            (_CHECKSUM, outcome.code_checksum.encode()),
            (_DURATION, b"%d" % math.ceil(outcome.duration_ms)),
            (_VERSION, outcome.version_id.encode()),
            (_MEMORY, b"%.2f" % outcome.memory_mb),
            (_INSTANCE, outcome.instance_id.encode()),
            _EXPOSED,
        ]
        if outcome.error is not None:
            headers += (JSON_TYPE, (_ERROR_TYPE, outcome.error.type.encode()))
        if target.qualifier != limits.LATEST:
            headers.append((_CODE_VERSION, outcome.version_id.encode()))
        if outcome.cold:
            phases = outcome.phases
            headers += (
                _COLD,
                (_QUEUE_MS, b"%.1f" % phases.queue_ms),
                (_START_MS, b"%.1f" % phases.start_ms),
                (_INITIALIZE_MS, b"%.1f" % phases.initialize_ms),
                (_INVOKE_MS, b"%.1f" % phases.invoke_ms),
                (_START_STEPS, ", ".join(f"{name}={ms:.2f}" for name, ms in phases.steps.items()).encode()),
            )
        return headers


def _check_options(head: RequestHead) -> None:
    kind, log_type = head.invocation_type or b"Sync", head.log_type or b"None"
    if kind not in (b"Sync", b"Async"):
        raise InvalidArgument.of("InvocationType", "Sync | Async", _shown(kind))
    if kind == b"Async":
        if log_type != b"None":
            raise InvalidArgument.of("LogType", "None", _shown(log_type))
        raise InvalidArgument(
            "InvocationType is set to an invalid value (allowed: Sync, actual: 'Async'): "
            "asynchronous invocation is not available in this version of Sesame"
        )
    if log_type not in (b"None", b"Tail"):
        raise InvalidArgument.of("LogType", "Tail | None", _shown(log_type))


def _tracing(fc_headers: list[tuple[bytes, bytes]]) -> dict[str, object] | None:
    """The span that the caller wants to be continued, or None for callers that trace nothing."""
    context, baggages = "", {}
    for name, value in fc_headers:
        if name.startswith(_TRACING):
            if name == _SPAN_CONTEXT:
                context = value.decode("latin-1")
            elif name.startswith(_BAGGAGE):
                baggages[name[len(_BAGGAGE) :].decode("latin-1")] = value.decode("latin-1")
    return {"span_context": context, "span_baggages": baggages} if context or baggages else None


class _DisconnectWatch:
    """Cancels the task it was made in when the client hangs up."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._caller = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def take_back_cancel(self) -> bool:
        """Whether it was this watch, and nobody else, that cancelled; the task may go on then."""
        return self._cancelled and self._caller is not None and self._caller.uncancel() == 0

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._caller is not None:
            self._cancelled = True
            self._caller.cancel()


def _shown(value: bytes) -> str:
    return value[:64].decode("latin-1")
