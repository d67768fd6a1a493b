"""Turns an HTTP request into an invocation for the engine, and the outcome into the HTTP answer.

Called by `fc.app` after authentication and authorization. This is the hot path: allocate as little as possible.
"""

from base64 import b64encode
from collections.abc import Awaitable
from math import ceil

from sesame.engine.interface import Destined, Engine
from sesame.fc import async_invoke
from sesame.fc.async_invoke import AsyncIntake, AsyncRequest
from sesame.fc.auth.request_head import head_of
from sesame.fc.body import body_if_here, read_body
from sesame.fc.call_sessions import CallSession, CallSessions
from sesame.fc.headers import REQUEST_ID, DateHeader, Headers
from sesame.fc.tracing import tracing_of
from sesame.http.disconnects import while_connected
from sesame.http.interface import Exchange
from sesame.http.request import Request
from sesame.model import limits
from sesame.model.invocation import Invocation, Outcome, Phases, Target
from sesame.model.recursion import Chain
from sesame.model.session import SessionKey

# Reading an event up to this size costs less than first checking whether the function can be called now.
SMALL_EVENT_BYTES = 16 * 1024

_EXPOSED = (
    "Date,x-fc-request-id,x-fc-error-type,x-fc-code-checksum,"
    "x-fc-invocation-duration,x-fc-max-memory-usage,x-fc-log-result,x-fc-invocation-code-version"
)
_STREAM_LINES = b"X-Fc-Request-Id: %b\r\nDate: %b\r\n"
_BYTES_TYPE = b"Content-Type: application/octet-stream\r\n"
# Sesame's own headers for cold calls: the milliseconds of each phase.
_COLD_LINES = (
    b"X-Sesame-Cold-Start: true\r\n"
    b"X-Sesame-Queue-Ms: %.1f\r\n"
    b"X-Sesame-Start-Ms: %.1f\r\n"
    b"X-Sesame-Initialize-Ms: %.1f\r\n"
    b"X-Sesame-Invoke-Ms: %.1f\r\n"
    b"X-Sesame-Other-Ms: %.1f\r\n"
    b"X-Sesame-Start-Steps: %b\r\n"
)


class Invoker:
    """Answers `POST …/invocations` (reference/api.md §3.3)."""

    def __init__(self, engine: Engine, asynchronous: AsyncIntake, date: DateHeader, sessions: CallSessions) -> None:
        self._engine = engine
        self._sessions = sessions
        self._async = asynchronous
        self._date = date

    async def serve(self, request_id: str, target: Target, exchange: Exchange, chain: Chain, version: str = "") -> None:
        """Reads the event, invokes the function and answers; an asynchronous invocation is only queued.

        `chain` is the caller's. `version` is as in `Invocation`.

        A function's failure is answered with 200, too, and the header X-Fc-Error-Type. Raises a `CallerError` for a
        refused request, and `Disconnected` if the client hung up, after cancelling the call.
        """
        head = head_of(exchange.request)
        if async_invoke.is_async(head):
            await self.accept(AsyncRequest(request_id, target, head, chain=chain), exchange)
            return
        event = body_if_here(exchange)
        if event is None:
            event = await self.read_event(target, exchange)
        session = await self.session(target, exchange) if self.has_sessions(target) else None
        invocation = Invocation(
            request_id, target, event, tracing=tracing_of(head), chain=chain, version=version, session=session
        )
        outcome = await self.run(invocation, exchange)
        lines = self.lines(request_id, target, outcome, exchange)
        if outcome.error is None:
            lines += _BYTES_TYPE
        if head.log_type == b"Tail":
            lines += b"X-Fc-Log-Result: %b\r\n" % b64encode(outcome.log_tail[-limits.LOG_TAIL_BYTES :])
        exchange.send_whole(200, (), lines, outcome.payload)

    def has_sessions(self, target: Target) -> bool:
        return self._sessions.affinity(target) is not None

    async def session(self, target: Target, exchange: Exchange) -> SessionKey | None:
        """The session of a call; the answer contains a new session's id. None if the function has no session affinity.

        Raises the errors of `CallSessions.of`.
        """
        affinity = self._sessions.affinity(target)
        if affinity is None:
            return None
        session = await self._sessions.of(affinity, target, exchange.request)
        exchange.add_headers(session.headers)
        return session.key

    async def accept(self, request: AsyncRequest, exchange: Exchange) -> None:
        """Answers 202 once the invocation is in the queue, see `AsyncIntake.serve`."""
        await self._async.serve(request, exchange)

    async def read_event(self, target: Target, exchange: Exchange) -> bytes:
        """Reads the body; a large one only after the engine has confirmed that the function can be called now."""
        length = exchange.request.header(b"content-length")
        if length is not None and int(length) <= SMALL_EVENT_BYTES:
            return await read_body(exchange, limits.SYNC_PAYLOAD_BYTES)
        with self._engine.announce(target):
            return await read_body(exchange, limits.SYNC_PAYLOAD_BYTES)

    def run(self, invocation: Invocation, exchange: Exchange) -> Awaitable[Outcome]:
        """Invokes the function. If the client hangs up, cancels the call and raises `Disconnected`."""
        return while_connected(exchange, self._sessions.invoke(invocation))

    async def session_of(self, target: Target, request: Request) -> CallSession | None:
        """Like `session`, for requests without an exchange."""
        affinity = self._sessions.affinity(target)
        return None if affinity is None else await self._sessions.of(affinity, target, request)

    def invoke(self, invocation: Invocation) -> Awaitable[Outcome]:
        """Like `Engine.invoke`, for callers that watch the client's connection themselves."""
        return self._sessions.invoke(invocation)

    def destined(self, target: Target, session: SessionKey | None = None) -> Destined:
        return self._engine.destined(target, "" if session is None else session.session_id)

    def stream_headers(self, request_id: str) -> Headers:
        """The headers of a response that begins before the function has ended."""
        return [(REQUEST_ID, request_id.encode()), self._date()]

    def stream_lines(self, request_id: str) -> bytes:
        """The same headers, encoded."""
        return _STREAM_LINES % (request_id.encode(), self._date()[1])

    def lines(self, request_id: str, target: Target, outcome: Outcome, exchange: Exchange) -> bytes:
        """The header lines of the answer to an invocation; a failure's include the Content-Type."""
        # Formatted as text and encoded once: formatting bytes takes twice as long.
        lines = (
            f"X-Fc-Request-Id: {request_id}\r\n"
            f"Date: {self._date.text()}\r\n"
            f"X-Fc-Code-Checksum: {outcome.code_checksum}\r\n"
            f"X-Fc-Invocation-Duration: {ceil(outcome.duration_ms)}\r\n"
            f"X-Fc-Invocation-Service-Version: {outcome.version_id}\r\n"
            f"X-Fc-Max-Memory-Usage: {outcome.memory_mb:.2f}\r\n"
            f"X-Fc-Instance-Id: {outcome.instance_id}\r\n"
            f"Access-Control-Expose-Headers: {_EXPOSED}\r\n"
        ).encode()
        if outcome.error is not None:
            lines += b"Content-Type: application/json\r\nX-Fc-Error-Type: %b\r\n" % outcome.error.type.encode()
        if target.qualifier != limits.LATEST:
            lines += b"X-Fc-Invocation-Code-Version: %b\r\n" % outcome.version_id.encode()
        return lines + _cold_lines(outcome.phases, exchange.age_ms()) if outcome.cold else lines


def _cold_lines(phases: Phases, total_ms: float) -> bytes:
    """The phases add up to the time since the request's head; the last one is the time that no phase accounts for."""
    return _COLD_LINES % (
        phases.queue_ms,
        phases.start_ms,
        phases.initialize_ms,
        phases.invoke_ms,
        max(0.0, total_ms - phases.total_ms),
        ", ".join(f"{name}={ms:.2f}" for name, ms in phases.steps.items()).encode(),
    )
