"""The JSON record of a finished asynchronous invocation that its destination receives.

Created by `destinations.following` when the invocation ends. Field names and value types follow the cloud's page
"Result callback" (help.aliyun.com 422720); points that the page leaves open are marked (open).
"""

import asyncio
import base64
import codecs
from typing import Any

import msgspec

from sesame.model import utc
from sesame.model.arn import Arns
from sesame.model.async_result import AsyncResult

EVENT_SOURCE = "acs:fc"
# (open) The types that EventBridge gives these events.
EVENT_TYPES = {"Success": "fc:AsyncInvoke:Succeeded", "Failure": "fc:AsyncInvoke:Failed"}


# Encoding a larger record would block the event loop for too long.
ENCODED_ON_LOOP_BYTES_MAX = 256 * 1024
# Payloads are encoded in pieces, so that the encoding thread lets the event loop have the interpreter's lock. A
# multiple of 3, so that the base64 of the pieces concatenates to the base64 of the whole.
PIECE_BYTES = 3 * 64 * 1024


class RequestContext(msgspec.Struct, frozen=True, rename="camel"):
    """`condition` is the error's code, or "Success" (open).

    `approximate_invoke_count` is how often the function was called.
    """

    request_id: str
    function_arn: str
    condition: str
    approximate_invoke_count: int


class ResponseContext(msgspec.Struct, frozen=True, rename="camel"):
    """A `status_code` other than 200 means a failure outside the function."""

    status_code: int
    function_error: str


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`timestamp` is when the last call began, in milliseconds (open: the cloud says "of the invocation").

    Payloads are JSON strings. A payload that is not UTF-8 is base64, marked by a field of Sesame's own.
    """

    timestamp: int
    request_context: RequestContext
    request_payload: msgspec.Raw
    response_context: ResponseContext
    response_payload: msgspec.Raw
    request_payload_base64_encoded: bool = False
    response_payload_base64_encoded: bool = False


async def record_of(result: AsyncResult, arns: Arns) -> bytes:
    """The JSON document; a large one is encoded in another thread."""
    if len(result.lease.payload) + len(result.response) <= ENCODED_ON_LOOP_BYTES_MAX:
        return _encoded(result, arns)
    return await asyncio.to_thread(_encoded, result, arns)


def _encoded(result: AsyncResult, arns: Arns) -> bytes:
    lease = result.lease
    at = lease.enqueued_at if result.started_at is None else result.started_at
    request, request_is_base64 = _text(lease.payload)
    response, response_is_base64 = _text(result.response)
    return msgspec.json.encode(
        Record(
            timestamp=int(at * 1000),
            request_context=RequestContext(
                request_id=lease.request_id,
                # (open) Whether the cloud includes LATEST; its sample has no qualifier.
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


class _Condition(msgspec.Struct, rename="camel"):
    condition: str


class _Conditional(msgspec.Struct, rename="camel"):
    request_context: _Condition


def condition_of(record: bytes) -> str:
    """How the invocation ended, according to the record."""
    return msgspec.json.decode(record, type=_Conditional).request_context.condition


class EventFacts(msgspec.Struct, frozen=True):
    """The attributes of a CloudEvent. `condition` is Success or Failure, `at` Unix seconds."""

    event_id: str
    subject: str
    condition: str
    at: float


def cloud_event(record: bytes, facts: EventFacts, arns: Arns) -> bytes:
    """Wraps the record like EventBridge (CloudEvents 1.0, structured JSON)."""
    event: dict[str, Any] = {
        "id": facts.event_id,
        "source": EVENT_SOURCE,
        "specversion": "1.0",
        "type": EVENT_TYPES[facts.condition],
        "datacontenttype": "application/json",
        "subject": facts.subject,
        "time": utc.text_of(facts.at),
        "aliyunaccountid": arns.account_id,
        "aliyunregionid": arns.region,
        "data": msgspec.Raw(record),
    }
    return msgspec.json.encode(event)


def _text(payload: bytes) -> tuple[msgspec.Raw, bool]:
    """The payload as a JSON string, and whether it is base64."""
    pieces = [payload[start : start + PIECE_BYTES] for start in range(0, len(payload), PIECE_BYTES)]
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        texts = [_inside_string(decoder.decode(piece)) for piece in pieces]
        decoder.decode(b"", final=True)
        is_base64 = False
    except UnicodeDecodeError:
        texts, is_base64 = [base64.b64encode(piece) for piece in pieces], True
    return msgspec.Raw(b'"%b"' % b"".join(texts)), is_base64


def _inside_string(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]
