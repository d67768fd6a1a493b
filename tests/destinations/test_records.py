"""The records of finished invocations: the cloud's fields and types."""

import base64
import json
import threading

import pytest

from sesame.destinations.records import (
    ENCODED_ON_LOOP_BYTES_MAX,
    PIECE_BYTES,
    EventFacts,
    cloud_event,
    record_of,
)
from sesame.model.arn import Arns
from sesame.model.async_invocation import Leased, State
from sesame.model.async_result import AsyncResult
from sesame.model.invocation import Target

ARNS = Arns("cn-shanghai", "123")
LEASE = Leased(
    seq=1, epoch=1, target=Target("s", "LATEST", "f"), invocation_id="i", request_id="r", payload=b'{"a": 1}',
    stateful=False, source="api", attempts=3, throttles=0, enqueued_at=1_660_120_000.0, expires_at=1e12,
)  # fmt: skip


def result(**changes: object) -> AsyncResult:
    values: dict[str, object] = {
        "lease": LEASE, "state": State.FAILED, "condition": "UnhandledInvocationError", "status_code": 200,
        "executions": 4, "ended_at": 1_660_120_277.0, "started_at": 1_660_120_276.975,
        "function_error": "UnhandledInvocationError", "response": b'{"errorMessage":"boom"}', **changes,
    }  # fmt: skip
    return AsyncResult(**values)  # type: ignore[arg-type]


async def test_a_record_has_the_clouds_fields_in_the_clouds_types() -> None:
    assert json.loads(await record_of(result(), ARNS)) == {
        "timestamp": 1660120276975,
        "requestContext": {
            "requestId": "r",
            "functionArn": "acs:fc:cn-shanghai:123:services/s/functions/f",
            "condition": "UnhandledInvocationError",
            "approximateInvokeCount": 4,
        },
        "requestPayload": '{"a": 1}',
        "responseContext": {"statusCode": 200, "functionError": "UnhandledInvocationError"},
        "responsePayload": '{"errorMessage":"boom"}',
    }


async def test_what_never_ran_is_told_with_the_time_of_its_acceptance() -> None:
    record = json.loads(await record_of(result(started_at=None, executions=0, response=b""), ARNS))
    assert (record["timestamp"], record["requestContext"]["approximateInvokeCount"]) == (1660120000000, 0)
    assert record["responsePayload"] == ""


async def test_payloads_that_are_no_text_are_base64_and_say_so() -> None:
    record = json.loads(await record_of(result(response=b"\xff\x00"), ARNS))
    assert base64.b64decode(record["responsePayload"]) == b"\xff\x00"
    assert record["responsePayloadBase64Encoded"] is True
    assert "requestPayloadBase64Encoded" not in record


@pytest.mark.parametrize("ends", [0, 1, 2])
async def test_payloads_of_several_pieces_are_told_whole(ends: int) -> None:
    """Characters, escapes and groups of base64 lie across the ends of pieces."""
    text = "x" * (PIECE_BYTES - 4 + ends) + 'é\n"' + "日本" * (PIECE_BYTES // 3) + "\\"
    assert json.loads(await record_of(result(response=text.encode()), ARNS))["responsePayload"] == text
    binary = text.encode() + b"\xff"
    record = json.loads(await record_of(result(response=binary), ARNS))
    assert base64.b64decode(record["responsePayload"], validate=True) == binary
    cut = json.loads(await record_of(result(response=text.encode()[:-2] + "é".encode()[:1]), ARNS))
    assert cut["responsePayloadBase64Encoded"] is True


@pytest.mark.parametrize(("surplus", "elsewhere"), [(0, False), (1, True)])
async def test_a_large_record_is_made_by_another_thread(
    surplus: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []
    tell = ARNS.of_target

    def of_target(_arns: Arns, target: Target) -> str:
        threads.append(threading.current_thread() is not threading.main_thread())
        return tell(target)

    monkeypatch.setattr(Arns, "of_target", of_target)
    response = b"x" * (ENCODED_ON_LOOP_BYTES_MAX - len(LEASE.payload) + surplus)
    await record_of(result(response=response), ARNS)
    assert threads == [elsewhere]


async def test_eventbridge_gets_the_record_as_a_cloud_event() -> None:
    record = await record_of(result(), ARNS)
    facts = EventFacts("r-1", "acs:fc:cn-shanghai:123:services/s/functions/f", "Failure", 1_660_120_277.0)
    event = json.loads(cloud_event(record, facts, ARNS))
    assert event.pop("data") == json.loads(record)
    assert event == {
        "id": "r-1", "source": "acs:fc", "specversion": "1.0", "type": "fc:AsyncInvoke:Failed",
        "datacontenttype": "application/json", "subject": facts.subject, "time": "2022-08-10T08:31:17Z",
        "aliyunaccountid": "123", "aliyunregionid": "cn-shanghai",
    }  # fmt: skip
