"""Accepts asynchronous invocations (`X-Fc-Invocation-Type: Async`), through the API and through HTTP triggers.

Called by `fc.invoke` and `fc.web.http_functions` once the caller is known to be allowed to invoke the function. The 202
is sent after the queue's commit.
"""

import re
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from sesame.control.async_invocations import AsyncInvocations
from sesame.control.inputs import AsyncCall, AsyncOptions
from sesame.fc.auth.request_head import RequestHead
from sesame.fc.body import body_if_here, read_body
from sesame.fc.headers import DateHeader
from sesame.fc.refusals import ApiError, EntityTooLarge, InvalidArgument
from sesame.fc.tracing import Continued, tracing_of
from sesame.http.interface import Exchange
from sesame.model import limits
from sesame.model.errors import PlatformError
from sesame.model.invocation import Target
from sesame.model.recursion import Chain

log = structlog.get_logger("sesame.fc")

SYNC, ASYNC = b"Sync", b"Async"

_DELAY = b"x-fc-async-delay"
_ID = b"x-fc-stateful-async-invocation-id"
_ENABLE = b"x-fc-stateful-async-invocation-enable"
# The name of the id in 2023-03-30.
_TASK_ID = b"x-fc-async-task-id"
_OPTIONS = {
    _DELAY: "AsyncDelay",
    _ID: "StatefulAsyncInvocationId",
    _ENABLE: "StatefulAsyncInvocationEnable",
    _TASK_ID: "AsyncTaskId",
}
_SECONDS = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?\Z")
_SHOWN_BYTES = 64
# Keys in the memory of a head.
_IS_ASYNC, _OPTIONS_SENT = "is async", "options of an asynchronous call"

_NOT_ACCEPTED = (
    "the invocation was not accepted, because the queue cannot be written now: send it again later; with an id of your "
    "own in X-Fc-Stateful-Async-Invocation-Id no event is accepted twice"
)
_LINES = (
    b"X-Fc-Request-Id: %b\r\n"
    b"Date: %b\r\n"
    b"Access-Control-Expose-Headers: Date,x-fc-request-id,x-fc-stateful-async-invocation-id\r\n"
)
_ID_LINE = b"X-Fc-Stateful-Async-Invocation-Id: %b\r\nX-Fc-Async-Task-Id: %b\r\n"


class AsyncRequest(msgspec.Struct, frozen=True):
    """A request to invoke a function asynchronously; `http_params` is set if it comes through an HTTP trigger.

    `chain` is the caller's. `event_of` builds the event from the body; by default the body is the event.
    """

    request_id: str
    target: Target
    head: RequestHead
    http_params: dict[str, object] | None = None
    chain: Chain = ()
    event_of: Callable[[bytes], Awaitable[bytes]] | None = None


class AsyncIntake:
    """Hands events to the queue (reference/api.md §3.3)."""

    def __init__(self, invocations: AsyncInvocations, date: DateHeader, continued: Continued | None = None) -> None:
        self._invocations = invocations
        self._date = date
        self._continued = continued

    async def serve(self, request: AsyncRequest, exchange: Exchange) -> None:
        """Answers 202 without a body once the invocation is committed.

        Everything in the head is checked before the body is read. Raises a `CallerError` for a refused request, and an
        error with status 503 if the queue cannot be written.
        """
        options = _options(request.head)
        self._invocations.check(request.target, options)
        payload = body_if_here(exchange)
        if payload is None:
            payload = await read_body(exchange, limits.ASYNC_PAYLOAD_BYTES)
        if len(payload) > limits.ASYNC_PAYLOAD_BYTES:
            raise EntityTooLarge(limits.ASYNC_PAYLOAD_BYTES)
        if request.event_of is not None:
            payload = await request.event_of(payload)
        tracing = tracing_of(request.head)
        call = AsyncCall(
            target=request.target,
            request_id=request.request_id,
            payload=payload,
            options=options,
            tracing=tracing if self._continued is None else self._continued(tracing),
            http_params=request.http_params,
            chain=request.chain,
        )
        try:
            accepted = await self._invocations.accept(call)
        except PlatformError as error:
            log.error("an asynchronous invocation was not accepted", request_id=request.request_id, error=str(error))
            raise ApiError(503, "ServiceUnavailable", _NOT_ACCEPTED) from error
        lines = _LINES % (request.request_id.encode(), self._date()[1])
        if accepted.stateful:
            chosen = accepted.invocation_id.encode()
            lines += _ID_LINE % (chosen, chosen)
        exchange.send_whole(202, (), lines, b"")


def is_async(head: RequestHead) -> bool:
    """Whether the caller asks for an asynchronous invocation. Raises `InvalidArgument` for unknown options.

    The result is cached for repeated heads.
    """
    asynchronous: bool | None = head.memory.get(_IS_ASYNC)
    if asynchronous is None:
        asynchronous = head.memory[_IS_ASYNC] = _asks_for_async(head)
    return asynchronous


def _asks_for_async(head: RequestHead) -> bool:
    kind, log_type = head.invocation_type or SYNC, head.log_type or b"None"
    if kind not in (SYNC, ASYNC):
        raise InvalidArgument.of("InvocationType", "Sync | Async", _shown(kind))
    if kind == ASYNC:
        if log_type != b"None":
            raise InvalidArgument.of("LogType", "None", _shown(log_type))
        return True
    if log_type not in (b"None", b"Tail"):
        raise InvalidArgument.of("LogType", "Tail | None", _shown(log_type))
    refuse_options(head)
    return False


def refuse_options(head: RequestHead) -> None:
    """Raises `InvalidArgument` if a synchronous call uses options of asynchronous ones."""
    for name, value in head.fc_headers:
        if name in _OPTIONS and value and not (name == _ENABLE and value.lower() == b"false"):
            allowed = "nothing in a synchronous call; send X-Fc-Invocation-Type: Async with it"
            raise InvalidArgument.of(_OPTIONS[name], allowed, _shown(value))


def _options(head: RequestHead) -> AsyncOptions:
    """The options in the headers; cached for repeated heads."""
    options: AsyncOptions | None = head.memory.get(_OPTIONS_SENT)
    if options is None:
        options = head.memory[_OPTIONS_SENT] = _read_options(head)
    return options


def _read_options(head: RequestHead) -> AsyncOptions:
    """An empty header counts as absent."""
    sent: dict[bytes, bytes] = {}
    for name, value in head.fc_headers:
        if value and name in _OPTIONS and sent.setdefault(name, value) != value:
            raise InvalidArgument.of(_OPTIONS[name], "one value", _shown(sent[name] + b", " + value))
    delay = sent.get(_DELAY, b"")
    if delay and not _SECONDS.match(delay):
        allowed = f"more than 0 and at most {limits.ASYNC_DELAY_S_MAX} seconds"
        raise InvalidArgument.of("AsyncDelay", allowed, _shown(delay))
    enable = sent.get(_ENABLE, b"false").lower()
    if enable not in (b"true", b"false"):
        raise InvalidArgument.of("StatefulAsyncInvocationEnable", "true | false", _shown(enable))
    chosen = sent.get(_TASK_ID) or sent.get(_ID, b"")
    if sent.get(_ID, chosen) != chosen:
        raise InvalidArgument.of(
            _OPTIONS[_TASK_ID], "the StatefulAsyncInvocationId, or only one of both", _shown(chosen)
        )
    return AsyncOptions(
        delay_s=float(delay) if delay else None,
        stateful_async_invocation_id=chosen.decode("latin-1"),
        stateful=enable == b"true",
    )


def _shown(value: bytes) -> str:
    return value[:_SHOWN_BYTES].decode("latin-1")
