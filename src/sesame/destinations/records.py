"""The JSON record of a finished asynchronous invocation, as its destination gets it.

Made by `destinations.following` when the invocation ends. Field names and the types of the values are those of the
cloud's page "Result callback" (help.aliyun.com 422720); what that page leaves open is marked (open) here.
"""

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec

from sesame.model.arn import Arns
from sesame.model.async_result import AsyncResult

EVENT_SOURCE = "acs:fc"
# (open) What EventBridge calls these events.
EVENT_TYPES = {"Success": "fc:AsyncInvoke:Succeeded", "Failure": "fc:AsyncInvoke:Failed"}


class RequestContext(msgspec.Struct, frozen=True, rename="camel"):
    """`condition` is the error's code, and for a success "Success" (open).

    `approximate_invoke_count` is how often the function was called.
    """

    request_id: str
    function_arn: str
    condition: str
    approximate_invoke_count: int


class ResponseContext(msgspec.Struct, frozen=True, rename="camel"):
    """A `status_code` other than 200 tells of a failure that is not the function's."""

    status_code: int
    function_error: str


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`timestamp` is when the last call began (open: the cloud says "of the invocation"), in milliseconds.

    Payloads are text. One that is not UTF-8 is base64, and a field of Sesame's own says so.
    """

    timestamp: int
    request_context: RequestContext
    request_payload: str
    response_context: ResponseContext
    response_payload: str
    request_payload_base64_encoded: bool = False
    response_payload_base64_encoded: bool = False


def record_of(result: AsyncResult, arns: Arns) -> bytes:
    lease = result.lease
    at = lease.enqueued_at if result.started_at is None else result.started_at
    request, request_is_base64 = _text(lease.payload)
    response, response_is_base64 = _text(result.response)
    return msgspec.json.encode(
        Record(
            timestamp=int(at * 1000),
            request_context=RequestContext(
                request_id=lease.request_id,
                # (open) Whether the cloud names LATEST; its sample has no qualifier.
                function_arn=arns.of_target(lease.target),
                condition=result.condition,
                approximate_invoke_count=result.executions,
            ),
            request_payload=request,
            response_context=ResponseContext(status_code=result.status_code, function_error=result.function_error),
            response_payload=response,
            request_payload_base64_encoded=request_is_base64,
            response_payload_base64_encoded=response_is_base64,
        )
    )


class EventFacts(msgspec.Struct, frozen=True):
    """What a CloudEvent says beside its data. `condition` is Success or Failure, `at` Unix seconds."""

    event_id: str
    subject: str
    condition: str
    at: float


def cloud_event(record: bytes, facts: EventFacts, arns: Arns) -> bytes:
    """The record as EventBridge wraps it (CloudEvents 1.0, structured JSON)."""
    event: dict[str, Any] = {
        "id": facts.event_id,
        "source": EVENT_SOURCE,
        "specversion": "1.0",
        "type": EVENT_TYPES[facts.condition],
        "datacontenttype": "application/json",
        "subject": facts.subject,
        "time": datetime.fromtimestamp(facts.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aliyunaccountid": arns.account_id,
        "aliyunregionid": arns.region,
        "data": msgspec.Raw(record),
    }
    return msgspec.json.encode(event)


def _text(payload: bytes) -> tuple[str, bool]:
    try:
        return payload.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), True
