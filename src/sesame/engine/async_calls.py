"""One attempt at an asynchronous invocation: calls the function and records what came of it.

Run by `engine.async_invoker`, one task for each. While the queue cannot be written, the result is kept and written
later.
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
from sesame.model.invocation import Invocation, Outcome
from sesame.model.owner import label
from sesame.model.shortened import shortened
from sesame.model.write_again import write_until_taken

SUCCESS = "Success"
# The cloud's documents do not say what it calls these.
EXPIRED_CONDITION = "EventAgeExceeded"
STOPPED_CONDITION = "AsyncInvocationStopped"
NOT_RUN = "the server could not run the function"
ERROR_CHARS_MAX = 4096
# What is kept of a function's answer with its invocation; destinations get all of it.
RETURN_BYTES_MAX = 128 * 1024
# Of a longer error body, what its function says is not looked for: its beginning is shown as it is.
ERROR_BODY_BYTES_MAX = 128 * 1024

log = structlog.get_logger(__name__)


class Attempt(msgspec.Struct, eq=False):
    """A claimed invocation. `lease` is replaced when the invocation is claimed again while it runs.

    It takes a `spot` until its call has ended, unless it is only put off; it is `calling` while its call is with an
    engine, `stopped` once it is to be stopped. Once the function is called, `instance_id` and the two times (of the
    wall clock, and monotonic) say where and since when.
    """

    lease: Leased
    spot: Spot | None = None
    calling: bool = False
    stopped: bool = False
    instance_id: str = ""
    began_at: float | None = None
    began: float = 0.0
    task: "asyncio.Task[None] | None" = None

    def stop(self) -> None:
        """Ends the call, if it is running; what has been decided is not changed."""
        self.stopped = True
        if self.calling and self.task is not None:
            self.task.cancel(STOPPED)


class CallSteps(msgspec.Struct, frozen=True):
    """`leave` is called when an attempt's call has ended, so that another may run meanwhile.

    `running` says how many run now.
    """

    leave: Callable[[Attempt], None]
    running: Callable[[], int]


class AsyncCalls:
    def __init__(self, given: InvokerDependencies, steps: CallSteps) -> None:
        self._given = given
        self._steps = steps
        # Results that the queue did not take so far. While there are any, each further call might run twice.
        self.kept = 0

    async def run(self, attempt: Attempt) -> None:
        """On return the invocation is in a final state, waits for its next attempt, or its lease was lost.

        Raises `CancelledError` when the task is cancelled for another reason than that the invocation is stopped; the
        invocation may then be given back.
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
        """Has an invocation wait whose function runs as often as it may. Not counted as an attempt."""
        await self._wait(attempt, "as many calls run as may run at a time")

    async def _call(self, attempt: Attempt) -> Outcome | Exception | None:
        """The outcome or the error of the call; None when it was stopped."""
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
        except Exception as error:  # noqa: BLE001 - recorded with the invocation, whatever it is
            return error
        finally:
            attempt.calling = False
            spot.pace.ended(given.clocks.monotonic() - asked_at, reached=outcome is not None)
            self._steps.leave(attempt)

    async def _record(self, attempt: Attempt, outcome: Outcome | Exception | None) -> None:
        lease, now = attempt.lease, self._given.clocks.wall()
        match outcome:
            case Outcome():
                await self._ended(attempt, outcome)
            case None:
                result = _result(lease, State.STOPPED, STOPPED_CONDITION, now, attempt.began_at)
                text = "stopped before it ran" if attempt.began_at is None else "stopped while it ran"
                await self._finish(attempt, result, text)
            case Exhausted() | NotStarted():
                # POLICY: a function that does not start may start later, once the machine or its package is mended.
                await self._wait(attempt, str(outcome))
            case CallerError():
                # What does not exist, cannot run here or may not be run is not tried again.
                status, code, text = self._given.wording(outcome)
                result = msgspec.structs.replace(
                    _result(lease, State.FAILED, code, now, attempt.began_at),
                    status_code=status,
                    response=_error_body(code, text),
                )
                await self._finish(attempt, result, f"{code}: {text}")
            case PlatformError():
                log.error("an asynchronous invocation was not run", **_shown(lease), error=str(outcome))
                await self._wait(attempt, NOT_RUN)
            case _:
                log.error("an asynchronous invocation was not run", **_shown(lease), exc_info=outcome)
                await self._wait(attempt, NOT_RUN)

    async def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """The function was called, and answered or failed."""
        given, lease, now = self._given, attempt.lease, self._given.clocks.wall()
        failed = outcome.error
        errors = lease.attempts + 1
        if failed is not None and errors <= lease.meta.max_retries:
            delay_s = function_retry_s(errors, given.chance())
            await self._retry(attempt, delay_s, counted=True, error=_message(outcome), duration_ms=outcome.duration_ms)
            return
        state, condition = (State.SUCCEEDED, SUCCESS) if failed is None else (State.FAILED, failed.type)
        result = msgspec.structs.replace(
            _result(lease, state, condition, now, attempt.began_at),
            executions=errors,
            function_error="" if failed is None else failed.type,
            response=outcome.payload,
        )
        await self._finish(attempt, result, "" if failed is None else _message(outcome), outcome)

    async def _wait(self, attempt: Attempt, why: str) -> None:
        delay_s = throttle_retry_s(attempt.lease.throttles + 1, self._given.chance())
        await self._retry(attempt, delay_s, counted=False, error=why)

    async def _retry(
        self, attempt: Attempt, delay_s: float, *, counted: bool, error: str, duration_ms: float | None = None
    ) -> None:
        given, lease = self._given, attempt.lease
        # An invocation that would have expired by then comes back in time to expire.
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
        # Those that run will end soon, too; the last of them does not wait.
        patient = self._steps.running() > 0
        await self._write(attempt, lambda held: given.queue.finish(held, ending, following.then, patient=patient))

    def _ran_ms(self, attempt: Attempt) -> float | None:
        """Since the function was called, None where it was not."""
        return None if attempt.began_at is None else (self._given.clocks.monotonic() - attempt.began) * 1000

    async def _write(self, attempt: Attempt, write: Callable[[Leased], Awaitable[bool]]) -> None:
        """On return the queue has taken or refused it for the lease that is held now."""
        kept = 0

        def failed(error: Exception) -> None:
            nonlocal kept
            kept, self.kept = 1, self.kept + 1
            log.warning("a result is kept until it can be written", error=str(error), **_shown(attempt.lease))

        try:
            lease, written = await write_until_taken(attempt, write, self._given.clocks.sleep, failed)
        finally:
            self.kept -= kept
        if not written:
            log.warning("the lease was lost before its result was written", **_shown(lease))
        elif attempt.lease is not lease:
            # What was written made the invocation due, and it was claimed again before this task was told.
            await self._give_back(attempt.lease)

    async def _give_back(self, lease: Leased) -> None:
        try:
            await self._given.queue.release([lease])
        except Exception as error:  # noqa: BLE001 - whatever the database has, the lease ends by itself
            log.warning("a lease was not given back and ends by itself", error=str(error), **_shown(lease))


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
    """As a function's own errors are written (runtime.md §6)."""
    return msgspec.json.encode({"errorMessage": text, "errorType": code})


def _message(outcome: Outcome) -> str:
    """The function's own message, or its error body where that is not of the usual form."""
    assert outcome.error is not None
    return f"{outcome.error.type}: {message_of(outcome.payload[:ERROR_BODY_BYTES_MAX])}"


def _shown(lease: Leased) -> dict[str, str]:
    target = lease.target
    return {
        "function": label(target.service, target.function, target.qualifier),
        "invocation": lease.invocation_id,
        "request_id": lease.request_id,
    }
