"""Converts asynchronous invocations into the answers of the API.

Called by the routes of invocations and of destinations (reference/api.md §3.6). Times are milliseconds since 1970.
"""

from collections.abc import Iterator

import msgspec
from msgspec import UNSET, UnsetType

from sesame.destinations.routes import Routes
from sesame.fc.milliseconds import milliseconds
from sesame.model.async_invocation import LEASED, AsyncInvocation, DeadLetter, InvocationEvent
from sesame.model.configs import AsyncConfig
from sesame.model.invocation import Target
from sesame.model.records import Record


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    event_id: int
    status: str
    timestamp: int
    event_detail: str


class StatefulInvocationAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`startedTime` is when the invocation was accepted, `durationMs` the duration of its last attempt.

    `endTime` is 0 until it ends. `invocationPayload` is included only on request. Sesame's own `returnPayloadBytes` is
    the full size of a result of which `returnPayload` contains only the beginning.
    """

    service_name: str
    qualifier: str
    function_name: str
    invocation_id: str
    request_id: str
    status: str
    started_time: int
    end_time: int
    duration_ms: int
    already_retried_times: int
    instance_id: str
    destination_status: str
    invocation_error_message: str
    return_payload: str
    return_payload_bytes: int | UnsetType = UNSET
    invocation_payload: str | UnsetType = UNSET
    events: tuple[EventAnswer, ...]


class FunctionWithInvocations(msgspec.Struct, frozen=True, rename="camel"):
    service_name: str
    function_name: str
    qualifier: str


class OwnInvocationAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An invocation with details that the cloud's API does not show.

    `source` is its origin: `api`, `timer:NAME`, `oss:NAME`, `destination`, `fire` or `replay`. `dueTime` is when a
    waiting invocation will run, else 0; it does not start after `expiresTime`. `runningTime` is when the last attempt
    that ran began, or 0. `throttles` counts the attempts that found no capacity.
    """

    invocation: StatefulInvocationAnswer
    stateful: bool
    source: str
    due_time: int
    running_time: int
    expires_time: int
    throttles: int


class DeadLetterAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A record that could not be delivered. `record` is the JSON document that was to be sent, as text."""

    dead_letter: str
    destination: str
    condition: str
    error: str
    attempts: int
    created_time: int
    buried_time: int
    service_name: str
    qualifier: str
    function_name: str
    invocation_id: str
    request_id: str
    record: str


class DestinationAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where results of a function go. `condition` is Success or Failure.

    `undeliveredBecause` states why records become dead letters immediately; empty if they are sent.
    """

    service_name: str
    qualifier: str
    function_name: str
    condition: str
    destination: str
    undelivered_because: str


class Replayed(msgspec.Struct, frozen=True, rename="camel"):
    """The id of the new invocation."""

    invocation_id: str


def own(found: AsyncInvocation) -> OwnInvocationAnswer:
    return OwnInvocationAnswer(
        invocation=invocation(found),
        stateful=found.stateful,
        source=found.source,
        due_time=0 if found.state in LEASED or found.next_at is None else milliseconds(found.next_at),
        running_time=0 if found.started_at is None else milliseconds(found.started_at),
        expires_time=milliseconds(found.expires_at),
        throttles=found.throttles,
    )


def destinations(record: Record, routes: Routes) -> Iterator[DestinationAnswer]:
    config: AsyncConfig = record.document
    named = config.destination_config
    for condition, each in (("Success", named.on_success), ("Failure", named.on_failure)):
        if each is not None:
            yield DestinationAnswer(
                service_name=config.service,
                qualifier=config.qualifier,
                function_name=config.function,
                condition=condition,
                destination=each.destination,
                undelivered_because=routes.why_undelivered(each.destination),
            )


def dead_letter(found: DeadLetter) -> DeadLetterAnswer:
    return DeadLetterAnswer(
        dead_letter=str(found.id),
        destination=found.destination,
        condition=found.condition,
        error=found.error,
        attempts=found.attempts,
        created_time=milliseconds(found.created_at),
        buried_time=milliseconds(found.buried_at),
        service_name=found.target.service,
        qualifier=found.target.qualifier,
        function_name=found.target.function,
        invocation_id=found.invocation_id,
        request_id=found.request_id,
        record=_text(found.record),
    )


def invocation(found: AsyncInvocation) -> StatefulInvocationAnswer:
    return StatefulInvocationAnswer(
        service_name=found.target.service,
        qualifier=found.target.qualifier,
        function_name=found.target.function,
        invocation_id=found.invocation_id,
        request_id=found.request_id,
        status=found.state.value,
        started_time=milliseconds(found.enqueued_at),
        end_time=0 if found.ended_at is None else milliseconds(found.ended_at),
        duration_ms=round(found.duration_ms),
        already_retried_times=found.attempts,
        instance_id=found.instance_id,
        destination_status=found.destination_status,
        invocation_error_message=found.error,
        return_payload=_text(found.return_payload),
        return_payload_bytes=UNSET if found.return_bytes is None else found.return_bytes,
        invocation_payload=UNSET if found.payload is None else _text(found.payload),
        events=tuple(map(_event, found.events)),
    )


def function(target: Target) -> FunctionWithInvocations:
    return FunctionWithInvocations(target.service, target.function, target.qualifier)


def _event(event: InvocationEvent) -> EventAnswer:
    return EventAnswer(
        event_id=event.event_id,
        status=event.status,
        timestamp=milliseconds(event.timestamp),
        event_detail=event.detail,
    )


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")
