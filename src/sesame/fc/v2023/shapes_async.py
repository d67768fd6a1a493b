"""Converts asynchronous invocations into the tasks that 2023-03-30 answers (reference/api.md §5.2).

Called by the routes of tasks. Times are milliseconds since 1970.
"""

import msgspec
from msgspec import UNSET, UnsetType

from sesame.fc.milliseconds import milliseconds
from sesame.model.arn import Arns
from sesame.model.async_invocation import AsyncInvocation


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    event_id: int
    status: str
    timestamp: int
    event_detail: str


class TaskAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`startedTime` is when it was accepted, `durationMs` the last attempt's duration, `endTime` 0 until it ends."""

    task_id: str
    function_arn: str
    qualifier: str
    request_id: str
    status: str
    started_time: int
    end_time: int
    duration_ms: int
    already_retried_times: int
    instance_id: str
    destination_status: str
    task_error_message: str
    return_payload: str
    task_payload: str | UnsetType = UNSET
    events: tuple[EventAnswer, ...]


def task(found: AsyncInvocation, arns: Arns) -> TaskAnswer:
    target = found.target
    return TaskAnswer(
        task_id=found.invocation_id,
        function_arn=arns.spoken_function(target.service, target.function, target.qualifier),
        qualifier=target.qualifier,
        request_id=found.request_id,
        status=found.state.value,
        started_time=milliseconds(found.enqueued_at),
        end_time=0 if found.ended_at is None else milliseconds(found.ended_at),
        duration_ms=round(found.duration_ms),
        already_retried_times=found.attempts,
        instance_id=found.instance_id,
        destination_status=found.destination_status,
        task_error_message=found.error,
        return_payload=found.return_payload.decode("utf-8", "replace"),
        task_payload=UNSET if found.payload is None else found.payload.decode("utf-8", "replace"),
        events=tuple(
            EventAnswer(
                event_id=event.event_id,
                status=event.status,
                timestamp=milliseconds(event.timestamp),
                event_detail=event.detail,
            )
            for event in found.events
        ),
    )
