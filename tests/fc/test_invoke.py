"""Invocations at the endpoint: headers, options, limits, clients that hang up."""

import asyncio
import base64
import uuid

import pytest
from fc2.auth import Auth
from tests.fc.conftest import ACCOUNT_ID, DATE, Endpoint, hang_up_on, outcome, request_of, scope
from tests.support.exchanges import FakeExchange

from sesame.fc.invoke import SMALL_EVENT_BYTES
from sesame.http.interface import Disconnected
from sesame.identity.roles import Roles, new_role
from sesame.identity.tokens import Grant
from sesame.model import limits
from sesame.model.errors import Exhausted, NotFound, NotStarted, Recursive
from sesame.model.invocation import FunctionError, Invocation, Outcome, Phases, Target

PATH = "/services/demo/functions/f/invocations"


async def test_a_call_that_succeeds(endpoint: Endpoint) -> None:
    answer = await endpoint.call(
        "POST", PATH, b"\x00event", {"x-fc-log-type": "Tail", "content-type": "application/json"}
    )
    assert answer.status == 200
    assert answer.body == b"\x00event"
    request_id = answer.headers.pop("X-Fc-Request-Id")
    assert endpoint.engine.asked == [Invocation(request_id, Target("demo", "LATEST", "f"), b"\x00event")]
    assert answer.headers == {
        "Date": DATE,
        "Content-Type": "application/octet-stream",
        "Content-Length": "6",
        "X-Fc-Code-Checksum": "17380263816131011825",
        "X-Fc-Invocation-Duration": "18",
        "X-Fc-Invocation-Service-Version": "LATEST",
        "X-Fc-Max-Memory-Usage": "30.99",
        "X-Fc-Instance-Id": "c-00000001",
        "X-Fc-Log-Result": base64.b64encode(b"FC Invoke Start\r\n").decode(),
        "Access-Control-Expose-Headers": "Date,x-fc-request-id,x-fc-error-type,x-fc-code-checksum,"
        "x-fc-invocation-duration,x-fc-max-memory-usage,x-fc-log-result,x-fc-invocation-code-version",
    }


@pytest.mark.parametrize("log_type", ["None", ""])
async def test_without_tail_no_log_is_sent(endpoint: Endpoint, log_type: str) -> None:
    answer = await endpoint.call("POST", PATH, headers={"x-fc-log-type": log_type})
    assert answer.status == 200
    assert "X-Fc-Log-Result" not in answer.headers


async def test_the_tail_is_cut_at_its_limit(endpoint: Endpoint) -> None:
    async def talk(_call: Invocation) -> Outcome:
        return outcome(log_tail=b"x" * 5000 + b"end")

    endpoint.engine.then = talk
    answer = await endpoint.call("POST", PATH, headers={"x-fc-log-type": "Tail"})
    tail = base64.b64decode(answer.headers["X-Fc-Log-Result"])
    assert len(tail) == limits.LOG_TAIL_BYTES
    assert tail.endswith(b"xend")


async def test_a_function_s_error_is_a_200_with_its_type(endpoint: Endpoint) -> None:
    async def fail(_call: Invocation) -> Outcome:
        return outcome(b'{"errorMessage":"no"}', error=FunctionError("UnhandledInvocationError", "unhandled"))

    endpoint.engine.then = fail
    answer = await endpoint.call("POST", PATH)
    assert answer.status == 200
    assert answer.json() == {"errorMessage": "no"}
    assert answer.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"
    assert answer.headers["Content-Type"] == "application/json"


async def test_a_cold_call_says_where_its_time_went(endpoint: Endpoint) -> None:
    async def cold(_call: Invocation) -> Outcome:
        return outcome(cold=True, phases=Phases(0.04, 12.34, 5.0, 1.0, {"fork_ms": 3.0, "shim_ms": 9.34}))

    endpoint.engine.then = cold
    headers = (await endpoint.call("POST", PATH)).headers
    shown = {name: value for name, value in headers.items() if name.startswith("X-Sesame")}
    # Together the 100 ms for which the fake exchange says that the request has been here.
    assert shown == {
        "X-Sesame-Cold-Start": "true",
        "X-Sesame-Queue-Ms": "0.0",
        "X-Sesame-Start-Ms": "12.3",
        "X-Sesame-Initialize-Ms": "5.0",
        "X-Sesame-Invoke-Ms": "1.0",
        "X-Sesame-Other-Ms": "81.6",
        "X-Sesame-Start-Steps": "fork_ms=3.00, shim_ms=9.34",
    }


async def test_a_qualifier_reaches_the_engine_and_the_answer(endpoint: Endpoint) -> None:
    async def third(_call: Invocation) -> Outcome:
        return outcome(version_id="3")

    endpoint.engine.then = third
    answer = await endpoint.call("POST", "/services/demo.prod/functions/f/invocations")
    assert endpoint.engine.asked[0].target == Target("demo", "prod", "f")
    assert answer.headers["X-Fc-Invocation-Service-Version"] == "3"
    assert answer.headers["X-Fc-Invocation-Code-Version"] == "3"


async def test_a_caller_s_uuid_is_the_request_id(endpoint: Endpoint) -> None:
    mine = str(uuid.uuid4())
    answer = await endpoint.call("POST", PATH, headers={"x-fc-trace-id": mine})
    assert answer.headers["X-Fc-Request-Id"] == mine
    assert endpoint.engine.asked[0].request_id == mine


async def test_the_caller_s_span_goes_along(endpoint: Endpoint) -> None:
    prefix = "x-fc-tracing-opentracing-span-context"
    await endpoint.call("POST", PATH, headers={prefix: "a:b:0:1", prefix + "-baggage-key": "value"})
    assert endpoint.engine.asked[0].tracing == {"span_context": "a:b:0:1", "span_baggages": {"key": "value"}}


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (
            {"x-fc-log-type": "Invalid"},
            "LogType is set to an invalid value (allowed: Tail | None, actual: 'Invalid')",
        ),
        (
            {"x-fc-log-type": "Tail", "x-fc-invocation-type": "Async"},
            "LogType is set to an invalid value (allowed: None, actual: 'Tail')",
        ),
        (
            {"x-fc-invocation-type": "Later"},
            "InvocationType is set to an invalid value (allowed: Sync | Async, actual: 'Later')",
        ),
    ],
)
async def test_options_that_are_refused(endpoint: Endpoint, headers: dict[str, str], text: str) -> None:
    answer = await endpoint.call("POST", PATH, headers=headers)
    assert answer.status == 400
    assert answer.json() == {"ErrorCode": "InvalidArgument", "ErrorMessage": text}
    assert endpoint.engine.asked == []


async def test_an_empty_qualifier_is_refused(endpoint: Endpoint) -> None:
    answer = await endpoint.call("POST", "/services/demo./functions/f/invocations")
    assert answer.status == 400
    assert answer.json()["ErrorMessage"].startswith("Qualifier is set to an invalid value")


async def test_names_are_decoded_one_by_one(endpoint: Endpoint) -> None:
    assert (await endpoint.call("POST", "/services/a%2Fb/functions/f%20g/invocations")).status == 200
    assert endpoint.engine.asked[0].target == Target("a/b", "LATEST", "f g")


@pytest.mark.parametrize("path", ["/functions/f/invocations", "/services/s/functions/f/x/invocations"])
async def test_paths_that_only_end_like_an_invocation(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.call("POST", path)
    assert answer.status == 400
    assert answer.json()["ErrorCode"] == "PathNotSupported"


async def test_events_in_chunks_are_joined(endpoint: Endpoint) -> None:
    assert (await endpoint.call("POST", PATH, [b"a", b"", b"bc"])).body == b"abc"


async def test_an_event_over_the_limit_is_refused_before_it_is_read(endpoint: Endpoint) -> None:
    too_long = {"content-length": str(limits.SYNC_PAYLOAD_BYTES + 1)}
    answer = await endpoint.call("POST", PATH, [b"never read"], too_long)
    assert answer.status == 400
    assert answer.json() == {
        "ErrorCode": "EntityTooLarge",
        "ErrorMessage": "payload size exceeds maximum allowed size (33554432 bytes)",
    }


async def test_an_event_in_chunks_is_cut_off_at_the_limit(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SYNC_PAYLOAD_BYTES", 10)
    assert (await endpoint.call("POST", PATH, [b"12345", b"67890"])).status == 200
    assert (await endpoint.call("POST", PATH, [b"12345", b"678901"])).json()["ErrorCode"] == "EntityTooLarge"


@pytest.mark.parametrize(
    ("error", "status", "code", "text"),
    [
        (
            NotFound("function", "f", ("demo",)),
            404,
            "FunctionNotFound",
            "function 'f' does not exist in service 'demo'",
        ),
        (Exhausted("full"), 429, "ResourceExhausted", "full"),
        (NotStarted("No Python."), 412, "FunctionNotStarted", "The function cannot be started. No Python."),
    ],
)
async def test_what_the_engine_refuses(endpoint: Endpoint, error: Exception, status: int, code: str, text: str) -> None:
    async def refuse(_call: Invocation) -> Outcome:
        raise error

    endpoint.engine.then = refuse
    answer = await endpoint.call("POST", PATH)
    assert answer.status == status
    assert answer.json() == {"ErrorCode": code, "ErrorMessage": text}
    assert len(answer.headers["X-Fc-Request-Id"]) == 36


async def test_a_platform_error_is_a_500_without_internals(endpoint: Endpoint) -> None:
    async def break_down(_call: Invocation) -> Outcome:
        raise KeyError("secret detail")

    endpoint.engine.then = break_down
    answer = await endpoint.call("POST", PATH)
    assert answer.status == 500
    assert answer.json() == {
        "ErrorCode": "InternalServerError",
        "ErrorMessage": "an internal error has occurred. Please retry.",
    }


@pytest.mark.parametrize("size", [0, 100_000, 200_000, 5_000_000])
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["alone", "pipelined"])
async def test_a_client_that_hangs_up_cancels_its_call(endpoint: Endpoint, size: int, behind: bytes) -> None:
    await hang_up_on(endpoint, "/2016-08-15" + PATH, endpoint.signed("POST", PATH), bytes(size), behind)
    assert endpoint.engine.cancelled == 1


async def test_a_client_that_hangs_up_before_its_event_is_whole_calls_nothing(endpoint: Endpoint) -> None:
    request = request_of(scope("POST", "/2016-08-15" + PATH, endpoint.signed("POST", PATH)))
    with pytest.raises(Disconnected):
        await endpoint.gateway.serve(FakeExchange(request, [b"half"], leaves=True))
    assert endpoint.engine.asked == []


async def test_a_server_that_stops_answers_the_calls_it_cancels(endpoint: Endpoint) -> None:
    async def forever(_call: Invocation) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.engine.then = forever
    request = request_of(scope("POST", "/2016-08-15" + PATH, endpoint.signed("POST", PATH)))
    exchange = FakeExchange(request)
    call = asyncio.ensure_future(endpoint.gateway.serve(exchange))
    await endpoint.engine.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert exchange.status == 500


@pytest.mark.parametrize("length", [SMALL_EVENT_BYTES + 1, None])
async def test_a_function_without_capacity_refuses_a_large_event_unread(endpoint: Endpoint, length: int | None) -> None:
    endpoint.engine.full = True
    signed = endpoint.signed("POST", PATH) | ({} if length is None else {"content-length": str(length)})
    exchange = FakeExchange(request_of(scope("POST", "/2016-08-15" + PATH, signed)), [b"never", b"read"])
    await endpoint.gateway.serve(exchange)
    assert (exchange.status, exchange.read) == (429, 0)
    assert b"ResourceExhausted" in exchange.body
    assert endpoint.engine.asked == []


async def test_a_small_event_is_read_without_asking(endpoint: Endpoint) -> None:
    signed = endpoint.signed("POST", PATH) | {"content-length": "4"}
    exchange = FakeExchange(request_of(scope("POST", "/2016-08-15" + PATH, signed)), [b"ev", b"nt"])
    await endpoint.gateway.serve(exchange)
    assert (exchange.status, endpoint.engine.announced) == (200, [])


async def test_a_call_carries_the_chain_of_the_function_that_asks_for_it(endpoint: Endpoint) -> None:
    roles = Roles(endpoint.catalog)
    role = new_role("tester", ["AliyunFCInvocationAccess"])
    await roles.put(ACCOUNT_ID, role)
    keys = endpoint.tokens.issue(Grant(ACCOUNT_ID, role.role_name, role.role_id, "session", chain=("demo/g", "demo/h")))
    sent = {"host": "h", "date": DATE, "x-fc-security-token": keys.security_token}
    signer = Auth(keys.access_key_id, keys.access_key_secret)
    sent["authorization"] = signer.sign_request("POST", "/2016-08-15" + PATH, sent)
    assert (await endpoint.call("POST", PATH, b"", sent, sign=False)).status == 200
    assert endpoint.engine.asked[0].chain == ("demo/g", "demo/h")


async def test_a_function_that_leads_to_itself_too_often(endpoint: Endpoint) -> None:
    async def cut(_call: Invocation) -> Outcome:
        raise Recursive("demo/f", 16)

    endpoint.engine.then = cut
    answer = await endpoint.call("POST", PATH)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "RecursionLimitExceeded")
    assert "--recursion-limit" in answer.json()["ErrorMessage"]
