"""Makes one attempt at an asynchronous invocation: calls the function and records the result.

`engine.async_invoker` runs one task per attempt. While the queue cannot be written, the result is kept in memory and
the write is retried.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from sesame.engine.async_places import Spot
from sesame.engine.async_policies import function_retry_s, throttle_retry_s
from sesame.engine.async_work import InvokerDependencies
from sesame.engine.error_bodies import message_of
from sesame.engine.steps import STOPPED
from sesame.model.async_invocation import Ending, Leased, State
from sesame.model.async_result import AsyncResult
from sesame.model.errors import CallerError, Exhausted, NotStarted, PlatformError
from sesame.model.invocation import Invocation, Outcome, Target, of_version
from sesame.model.owner import label
from sesame.model.shortened import shortened
from sesame.model.write_again import write_until_taken

SUCCESS = "Success"
# The cloud's documentation does not name these two conditions.
EXPIRED_CONDITION = "EventAgeExceeded"
STOPPED_CONDITION = "AsyncInvocationStopped"
NOT_RUN = "the server could not run the function"
ERROR_CHARS_MAX = 4096
# How much of a function's answer is stored with its invocation; destinations get the whole answer.
RETURN_BYTES_MAX = 128 * 1024
# Error bodies longer than this are not parsed for a message: their beginning is stored as it is.
ERROR_BODY_BYTES_MAX = 128 * 1024

log = structlog.get_logger(__name__)


class Attempt(msgspec.Struct, eq=False):
    """A claimed invocation. `lease` is replaced if the invocation is claimed again while it runs.

    The attempt holds `spot` until its call has ended; one that is only put off holds none. `calling` is set while the
    engine runs the call, `stopped` once a stop was requested. `instance_id`, `began_at` (wall clock) and `began`
    (monotonic clock), both in seconds, are set when the function is called. `version` is the version drawn for the call
    if it calls an alias with a canary and there are several agents.
    """

    lease: Leased
    version: str = ""
    spot: Spot | None = None
    calling: bool = False
    stopped: bool = False
    instance_id: str = ""
    began_at: float | None = None
    began: float = 0.0
    task: "asyncio.Task[None] | None" = None

    @property
    def called(self) -> Target:
        return of_version(self.lease.target, self.version)

    def stop(self) -> None:
        """Cancels the call if it is running. A result that is already being recorded stands."""
        self.stopped = True
        if self.calling and self.task is not None:
            self.task.cancel(STOPPED)


class CallSteps(msgspec.Struct, frozen=True):
    """Callbacks into the invoker.

    `leave` is called when an attempt's call has ended, so that another call can start. `running` returns how many
    calls run now.
    """

    leave: Callable[[Attempt], None]
    running: Callable[[], int]


class AsyncCalls:
    def __init__(self, given: InvokerDependencies, steps: CallSteps) -> None:
        self._given = given
        self._steps = steps
        # Results that could not be written so far. While there are any, every call started might have to be repeated.
        self.kept = 0

    async def run(self, attempt: Attempt) -> None:
        """On return the invocation is in a final state, waits for its next attempt, or its lease was lost.

        Raises `CancelledError` if the task is cancelled for any reason other than stopping the invocation; the caller
        may then release the lease.
        """
        lease, now = attempt.lease, self._given.clocks.wall()
        if attempt.stopped:
            await self._finish(attempt, _result(lease, State.STOPPED, STOPPED_CONDITION, now))
        elif now >= lease.expires_at:
            text = _why_expired(lease)
            result = msgspec.structs.replace(
                _result(lease, State.EXPIRED, EXPIRED_CONDITION, now), response=_error_body(EXPIRED_CONDITION, text)
            )
            await self._finish(attempt, result, text)
        else:
            await self._record(attempt, await self._call(attempt))

    async def put_off(self, attempt: Attempt) -> None:
        """Returns the invocation to the queue because its function is at its cap. Does not count as an attempt."""
        await self._wait(attempt, "as many calls run as may run at a time")

    async def _call(self, attempt: Attempt) -> Outcome | Exception | None:
        """Returns the outcome, the error that prevented one, or None if the call was stopped."""
        given, lease = self._given, attempt.lease
        invocation = Invocation(
            request_id=lease.request_id,
            target=lease.target,
            event=lease.payload,
            retry_count=lease.attempts,
            tracing=lease.meta.tracing,
            http_params=lease.meta.http_params,
            chain=lease.meta.chain,
            asynchronous=True,
            version=attempt.version,
        )

        def began(instance_id: str) -> None:
            attempt.instance_id, attempt.began_at = instance_id, given.clocks.wall()
            attempt.began = given.clocks.monotonic()
            given.queue.started(attempt.lease, instance_id)

        spot = attempt.spot
        assert spot is not None
        asked_at = given.clocks.monotonic()
        spot.pace.begun()
        attempt.calling = True
        outcome = None
        try:
            outcome = await spot.place.invoke(invocation, spot.enter, began)
            return outcome
        except asyncio.CancelledError:
            if not attempt.stopped:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            return None
        except Exception as error:  # noqa: BLE001 - any error is recorded with the invocation
            return error
        finally:
            attempt.calling = False
            spot.pace.ended(given.clocks.monotonic() - asked_at, reached=outcome is not None)
            self._steps.leave(attempt)

    def _record(self, attempt: Attempt, outcome: Outcome | Exception | None) -> Awaitable[None]:
        lease, now = attempt.lease, self._given.clocks.wall()
        match outcome:
            case Outcome():
                return self._ended(attempt, outcome)
            case None:
                result = _result(lease, State.STOPPED, STOPPED_CONDITION, now, attempt.began_at)
                text = "stopped before it ran" if attempt.began_at is None else "stopped while it ran"
                return self._finish(attempt, result, text)
            case Exhausted() | NotStarted():
                # POLICY: a function that fails to start may start later, once the machine or its package has been
                # repaired.
                return self._wait(attempt, str(outcome))
            case CallerError():
                # Retrying does not help if the target does not exist, cannot run here or is forbidden.
                status, code, text = self._given.wording(outcome)
                result = msgspec.structs.replace(
                    _result(lease, State.FAILED, code, now, attempt.began_at),
                    status_code=status,
                    response=_error_body(code, text),
                )
                return self._finish(attempt, result, f"{code}: {text}")
            case PlatformError():
                log.error("an asynchronous invocation was not run", **_shown(lease), error=str(outcome))
                return self._wait(attempt, NOT_RUN)
            case _:
                log.error("an asynchronous invocation was not run", **_shown(lease), exc_info=outcome)
                return self._wait(attempt, NOT_RUN)

    def _ended(self, attempt: Attempt, outcome: Outcome) -> Awaitable[None]:
        """Records a call that reached its function, whether the function succeeded or failed."""
        given, lease, now = self._given, attempt.lease, self._given.clocks.wall()
        failed = outcome.error
        errors = lease.attempts + 1
        if failed is not None and errors <= lease.meta.max_retries:
            delay_s = function_retry_s(errors, given.chance())
            error, duration_ms = _message(outcome), outcome.duration_ms
            return self._retry(attempt, delay_s, counted=True, error=error, duration_ms=duration_ms)
        state, condition = (State.SUCCEEDED, SUCCESS) if failed is None else (State.FAILED, failed.type)
        result = AsyncResult(
            lease=lease,
            state=state,
            condition=condition,
            status_code=200,
            executions=errors,
            ended_at=now,
            started_at=attempt.began_at,
            function_error="" if failed is None else failed.type,
            response=outcome.payload,
        )
        return self._finish(attempt, result, "" if failed is None else _message(outcome), outcome)

    def _wait(self, attempt: Attempt, why: str) -> Awaitable[None]:
        delay_s = throttle_retry_s(attempt.lease.throttles + 1, self._given.chance())
        return self._retry(attempt, delay_s, counted=False, error=why)

    async def _retry(
        self, attempt: Attempt, delay_s: float, *, counted: bool, error: str, duration_ms: float | None = None
    ) -> None:
        given, lease = self._given, attempt.lease
        # Never wait past the expiry: the invocation then returns just in time to be recorded as expired.
        not_before = min(given.clocks.wall() + delay_s, lease.expires_at)
        error = shortened(error, ERROR_CHARS_MAX)
        duration_ms = self._ran_ms(attempt) if duration_ms is None else duration_ms
        await self._write(
            attempt,
            lambda held: given.queue.retry(held, not_before, counted=counted, error=error, duration_ms=duration_ms),
        )

    async def _finish(
        self, attempt: Attempt, result: AsyncResult, error: str = "", outcome: Outcome | None = None
    ) -> None:
        given = self._given
        following = await given.follow(result)
        ran_ms = self._ran_ms(attempt) if outcome is None else outcome.duration_ms
        size = len(result.response)
        if size > RETURN_BYTES_MAX:
            log.warning(
                "only the beginning of a result is kept", bytes=size, kept=RETURN_BYTES_MAX, **_shown(result.lease)
            )
        ending = Ending(
            state=result.state,
            ended_at=result.ended_at,
            started_at=result.started_at,
            error=shortened(error, ERROR_CHARS_MAX),
            return_payload=result.response[:RETURN_BYTES_MAX],
            return_bytes=size if size > RETURN_BYTES_MAX else None,
            instance_id=attempt.instance_id,
            duration_ms=ran_ms or 0.0,
            destination_status=following.destination_status,
        )
        # Batch the write if other attempts are still running and will write soon. The last one does not wait.
        patient = self._steps.running() > 0
        await self._write(attempt, lambda held: given.queue.finish(held, ending, following.then, patient=patient))

    def _ran_ms(self, attempt: Attempt) -> float | None:
        """Milliseconds since the function was called; None if it was not called."""
        return None if attempt.began_at is None else (self._given.clocks.monotonic() - attempt.began) * 1000

    async def _write(self, attempt: Attempt, write: Callable[[Leased], Awaitable[bool]]) -> None:
        """Retries `write` until the queue has accepted or refused it for the lease held at that time."""
        kept = 0

        def failed(error: Exception) -> None:
            nonlocal kept
            kept, self.kept = 1, self.kept + 1
            log.warning("a result is held in memory until it can be written", error=str(error), **_shown(attempt.lease))

        try:
            lease, written = await write_until_taken(attempt, write, self._given.clocks.sleep, failed)
        finally:
            self.kept -= kept
        if not written:
            log.warning("the lease was lost before its result was written", **_shown(lease))
        elif attempt.lease is not lease:
            # The write made the invocation due, and it was claimed again before this task resumed.
            await self._give_back(attempt.lease)

    async def _give_back(self, lease: Leased) -> None:
        try:
            await self._given.queue.release([lease])
        except Exception as error:  # noqa: BLE001 - after any error the lease expires
            log.warning("a lease was not given back; it will expire", error=str(error), **_shown(lease))


def _result(
    lease: Leased, state: State, condition: str, ended_at: float, started_at: float | None = None
) -> AsyncResult:
    return AsyncResult(
        lease=lease,
        state=state,
        condition=condition,
        status_code=200,
        executions=lease.attempts + (started_at is not None),
        ended_at=ended_at,
        started_at=started_at,
    )


def _why_expired(lease: Leased) -> str:
    text = f"it became older than its maximum age of {lease.meta.max_age_s} s: "
    if not lease.attempts and not lease.throttles:
        return text + "no attempt ended"
    text += f"{_counted(lease.attempts, 'attempt')} failed"
    if lease.throttles:
        text += f", {_counted(lease.throttles, 'attempt')} could not start the function"
    return f"{text}; the last error: {lease.last_error}" if lease.last_error else text


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _error_body(code: str, text: str) -> bytes:
    """Formats an error the way functions' own errors are written (runtime.md §6)."""
    return msgspec.json.encode({"errorMessage": text, "errorType": code})


def _message(outcome: Outcome) -> str:
    """Returns the function's error type and message; the raw body if it has no message in the usual form."""
    assert outcome.error is not None
    return f"{outcome.error.type}: {message_of(outcome.payload[:ERROR_BODY_BYTES_MAX])}"


def _shown(lease: Leased) -> dict[str, str]:
    target = lease.target
    return {
        "function": label(target.service, target.function, target.qualifier),
        "invocation": lease.invocation_id,
        "request_id": lease.request_id,
    }
