"""Asynchronous invocations at the endpoint: what is accepted, what is refused, and what reaches the queue."""

import uuid
from typing import Any

import pytest
from fc2.auth import Auth
from tests.fc.conftest import ACCOUNT_ID, DATE, NOW, Endpoint, request_of, scope
from tests.support.exchanges import FakeExchange

from sesame.identity.roles import Roles, new_role
from sesame.identity.tokens import Grant
from sesame.model import limits
from sesame.model.async_invocation import InvocationMeta, NewInvocation
from sesame.model.errors import PlatformError, Recursive
from sesame.model.invocation import Invocation, Outcome, Target

CALL = "/services/demo/functions/f/invocations"
ASYNC = {"x-fc-invocation-type": "Async"}
DAY_S = 24 * 3600


@pytest.fixture
async def demo(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    assert (await endpoint.call("POST", "/services", {"serviceName": "demo"})).status == 200
    assert (await endpoint.call("POST", "/services/demo/functions", function_body)).status == 200
    return endpoint


async def test_an_accepted_invocation_is_a_202_without_a_body(demo: Endpoint) -> None:
    answer = await demo.call("POST", CALL, b"\x00event", ASYNC)
    request_id = answer.headers.pop("X-Fc-Request-Id")
    assert (answer.status, answer.body) == (202, b"")
    assert answer.headers == {
        "Date": DATE,
        "Content-Length": "0",
        "Access-Control-Expose-Headers": "Date,x-fc-request-id,x-fc-stateful-async-invocation-id",
    }
    assert demo.queue.news == [
        NewInvocation(
            target=Target("demo", "LATEST", "f"),
            invocation_id=request_id,
            request_id=request_id,
            payload=b"\x00event",
            stateful=False,
            source="api",
            not_before=NOW,
            expires_at=NOW + DAY_S,
            meta=InvocationMeta(),
        )
    ]
    assert demo.engine.asked == []


async def test_the_caller_s_trace_goes_along(demo: Endpoint) -> None:
    mine, prefix = str(uuid.uuid4()), "x-fc-tracing-opentracing-span-context"
    answer = await demo.call(
        "POST", CALL, headers={**ASYNC, "x-fc-trace-id": mine, prefix: "a:b:0:1", prefix + "-baggage-key": "value"}
    )
    assert answer.headers["X-Fc-Request-Id"] == mine
    assert demo.queue.news[0].request_id == mine
    assert demo.queue.news[0].meta.tracing == {"span_context": "a:b:0:1", "span_baggages": {"key": "value"}}


@pytest.mark.parametrize(("sent", "seconds"), [("1", 1), ("3600", 3600), ("0.5", 0.5), ("", 0)])
async def test_a_delay(demo: Endpoint, sent: str, seconds: float) -> None:
    assert (await demo.call("POST", CALL, headers={**ASYNC, "x-fc-async-delay": sent})).status == 202
    new = demo.queue.news[0]
    assert new.not_before == NOW + seconds
    # Its age counts from then.
    assert new.expires_at == NOW + seconds + DAY_S


@pytest.mark.parametrize(
    "sent", ["0", "0.0", "-1", "3600.1", "3601", "99999999999", "soon", "nan", "inf", "1e2", "٣", " "]
)
async def test_delays_that_are_refused(demo: Endpoint, sent: str) -> None:
    raw = sent.encode().decode("latin-1")
    answer = await demo.call("POST", CALL, headers={**ASYNC, "x-fc-async-delay": raw})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert answer.json()["ErrorMessage"].startswith(
        "AsyncDelay is set to an invalid value (allowed: more than 0 and at most 3600 seconds, actual: '"
    )
    assert demo.queue.news == []


@pytest.mark.parametrize(
    ("header", "value", "name"),
    [
        ("x-fc-async-delay", "30", "AsyncDelay"),
        ("x-fc-async-delay", "soon", "AsyncDelay"),
        ("x-fc-stateful-async-invocation-id", "mine", "StatefulAsyncInvocationId"),
        ("x-fc-stateful-async-invocation-enable", "true", "StatefulAsyncInvocationEnable"),
    ],
)
async def test_a_synchronous_call_takes_no_options_of_asynchronous_ones(
    demo: Endpoint, header: str, value: str, name: str
) -> None:
    for kind in ({}, {"x-fc-invocation-type": "Sync"}):
        answer = await demo.call("POST", CALL, headers={**kind, header: value})
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
        assert answer.json()["ErrorMessage"] == (
            f"{name} is set to an invalid value (allowed: nothing in a synchronous call; send X-Fc-Invocation-Type: "
            f"Async with it, actual: '{value}')"
        )
    assert (demo.engine.asked, demo.queue.news) == ([], [])


@pytest.mark.parametrize("headers", [{"x-fc-async-delay": ""}, {"x-fc-stateful-async-invocation-enable": "False"}])
async def test_options_that_ask_for_nothing_harm_no_synchronous_call(demo: Endpoint, headers: dict[str, str]) -> None:
    assert (await demo.call("POST", CALL, headers=headers)).status == 200


@pytest.mark.parametrize("chosen", ["a", "_x-1", "A" * 128])
async def test_a_chosen_id_makes_the_invocation_stateful(demo: Endpoint, chosen: str) -> None:
    answer = await demo.call("POST", CALL, b"e", {**ASYNC, "x-fc-stateful-async-invocation-id": chosen})
    assert answer.headers["X-Fc-Stateful-Async-Invocation-Id"] == chosen
    assert (demo.queue.news[0].invocation_id, demo.queue.news[0].stateful) == (chosen, True)
    assert demo.queue.news[0].request_id == answer.headers["X-Fc-Request-Id"]


@pytest.mark.parametrize("chosen", ["1a", "-a", "a b", "a/b", "a.b", "A" * 129, "ü", "a%20"])
async def test_ids_that_are_refused(demo: Endpoint, chosen: str) -> None:
    answer = await demo.call("POST", CALL, headers={**ASYNC, "x-fc-stateful-async-invocation-id": chosen})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert answer.json()["ErrorMessage"].startswith("StatefulAsyncInvocationId is set to an invalid value (allowed: ")
    assert demo.queue.news == []


async def test_an_id_has_two_names_and_one_value(demo: Endpoint) -> None:
    same = {**ASYNC, "x-fc-stateful-async-invocation-id": "a", "x-fc-async-task-id": "a"}
    assert (await demo.call("POST", CALL, headers=same)).status == 202
    answer = await demo.call("POST", CALL, headers={**same, "x-fc-async-task-id": "b"})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert [new.invocation_id for new in demo.queue.news] == ["a"]


async def test_the_same_event_under_the_same_id_is_accepted_once(demo: Endpoint) -> None:
    sent = {**ASYNC, "x-fc-stateful-async-invocation-id": "mine"}
    for _ in range(2):
        answer = await demo.call("POST", CALL, b"event", sent)
        assert (answer.status, answer.headers["X-Fc-Stateful-Async-Invocation-Id"]) == (202, "mine")
    assert len(demo.queue.news) == 1
    other = await demo.call("POST", CALL, b"another event", sent)
    assert (other.status, other.json()["ErrorCode"]) == (409, "StatefulAsyncInvocationAlreadyExists")
    assert "choose another id" in other.json()["ErrorMessage"]
    assert len(demo.queue.news) == 1


async def test_ids_belong_to_a_function_under_a_qualifier(demo: Endpoint) -> None:
    assert (await demo.call("POST", "/services/demo/versions", {})).status == 200
    sent = {**ASYNC, "x-fc-stateful-async-invocation-id": "mine"}
    for event, path in ((b"1", CALL), (b"2", "/services/demo.1/functions/f/invocations")):
        assert (await demo.call("POST", path, event, sent)).status == 202
    assert [new.target.qualifier for new in demo.queue.news] == ["LATEST", "1"]


async def test_one_trace_may_invoke_a_function_several_times(demo: Endpoint) -> None:
    mine = str(uuid.uuid4())
    sent = {**ASYNC, "x-fc-trace-id": mine, "x-fc-stateful-async-invocation-enable": "true"}
    for _ in range(2):
        answer = await demo.call("POST", CALL, b"event", sent)
        assert (answer.status, answer.headers["X-Fc-Request-Id"]) == (202, mine)
    assert [new.request_id for new in demo.queue.news] == [mine, mine]
    assert len({new.invocation_id for new in demo.queue.news}) == 2


async def test_stateful_by_header_and_by_configuration(demo: Endpoint) -> None:
    enable = "x-fc-stateful-async-invocation-enable"
    first = await demo.call("POST", CALL, headers={**ASYNC, enable: "true"})
    assert first.headers["X-Fc-Stateful-Async-Invocation-Id"] == first.headers["X-Fc-Request-Id"]
    await demo.call("POST", CALL, headers={**ASYNC, enable: "False"})
    body = {"statefulInvocation": True, "maxAsyncEventAgeInSeconds": 60}
    assert (await demo.call("PUT", "/services/demo/functions/f/async-invoke-config", body)).status == 200
    await demo.call("POST", CALL, headers=ASYNC)
    assert [new.stateful for new in demo.queue.news] == [True, False, True]
    assert demo.queue.news[2].expires_at == NOW + 60
    wrong = await demo.call("POST", CALL, headers={**ASYNC, enable: "yes"})
    assert (wrong.status, wrong.json()["ErrorCode"]) == (400, "InvalidArgument")


@pytest.mark.parametrize("unset", [{}, {"destination": None}, {"Destination": ""}, None])
async def test_a_destination_that_nothing_is_set_in_is_none(demo: Endpoint, unset: Any) -> None:
    body = {"destinationConfig": {"onSuccess": unset, "onFailure": unset}}
    answer = await demo.call("PUT", "/services/demo/functions/f/async-invoke-config", body)
    assert answer.status == 200
    assert answer.json()["destinationConfig"] == {"onSuccess": None, "onFailure": None}


async def test_the_largest_event_and_one_that_is_larger(demo: Endpoint) -> None:
    largest = bytes(limits.ASYNC_PAYLOAD_BYTES)
    assert (await demo.call("POST", CALL, largest, ASYNC)).status == 202
    for chunks in ([largest + b"x"], [largest, b"x", b"y"]):
        answer = await demo.call("POST", CALL, chunks, ASYNC)
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "EntityTooLarge")
        assert answer.json()["ErrorMessage"] == "payload size exceeds maximum allowed size (131072 bytes)"
    assert len(demo.queue.news) == 1


async def test_a_larger_event_is_refused_before_it_is_read(demo: Endpoint) -> None:
    sent = demo.signed("POST", CALL, {**ASYNC, "content-length": str(limits.ASYNC_PAYLOAD_BYTES + 1)})
    exchange = FakeExchange(request_of(scope("POST", "/2016-08-15" + CALL, sent)), [b"x"])
    await demo.gateway.serve(exchange)
    assert (exchange.status, exchange.read) == (400, 0)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/services/no/functions/f/invocations", "ServiceNotFound"),
        ("/services/demo/functions/no/invocations", "FunctionNotFound"),
        ("/services/demo.7/functions/f/invocations", "VersionNotFound"),
        ("/services/demo.no/functions/f/invocations", "AliasNotFound"),
    ],
)
async def test_what_is_not_there_is_refused_before_the_event_is_read(demo: Endpoint, path: str, code: str) -> None:
    sent = demo.signed("POST", path, ASYNC)
    exchange = FakeExchange(request_of(scope("POST", "/2016-08-15" + path, sent)), [b"x", b"y"])
    await demo.gateway.serve(exchange)
    assert (exchange.status, exchange.read) == (404, 0)
    assert code.encode() in exchange.body
    assert demo.queue.news == []


async def test_what_cannot_be_kept_is_not_accepted(demo: Endpoint) -> None:
    demo.queue.failure = PlatformError("the change could not be committed: disk full")
    answer = await demo.call("POST", CALL, b"event", ASYNC)
    assert (answer.status, answer.json()["ErrorCode"]) == (503, "ServiceUnavailable")
    assert "was not accepted" in answer.json()["ErrorMessage"]
    assert "disk" not in answer.json()["ErrorMessage"], "callers are shown nothing of the platform"
    assert demo.queue.rows == []


TRIGGER = {"triggerName": "web", "triggerType": "http", "triggerConfig": {"authType": "anonymous", "methods": ["POST"]}}


async def test_an_http_function_can_be_invoked_asynchronously(demo: Endpoint) -> None:
    assert (await demo.call("POST", "/services/demo/functions/f/triggers", TRIGGER)).status == 200
    path = "/2016-08-15/proxy/demo/f/a%20b?x=1"
    sent = {"host": "h", "x-mine": "1", **ASYNC, "x-fc-async-delay": "5"}
    answer = await demo.call("POST", path, b"body", sent, sign=False, whole_path=True)
    assert (answer.status, answer.body) == (202, b"")
    assert "Content-Type" not in answer.headers
    new = demo.queue.news[0]
    assert (new.target, new.payload, new.not_before) == (Target("demo", "LATEST", "f"), b"body", NOW + 5)
    params: Any = new.meta.http_params
    assert (params["method"], params["path"], params["query"]) == ("POST", "/a b", "x=1")
    assert ["x-mine", "1"] in params["headers"]
    assert not [name for name, _value in params["headers"] if name.startswith("x-fc-async")]
    assert demo.engine.asked == []


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({**ASYNC, "x-fc-log-type": "Tail"}, "InvalidArgument"),
        ({"x-fc-invocation-type": "Later"}, "InvalidArgument"),
        ({**ASYNC, "content-length": str(limits.ASYNC_PAYLOAD_BYTES + 1)}, "EntityTooLarge"),
    ],
)
async def test_what_is_refused_through_an_http_trigger(demo: Endpoint, headers: dict[str, str], code: str) -> None:
    assert (await demo.call("POST", "/services/demo/functions/f/triggers", TRIGGER)).status == 200
    sent = {"host": "h", **headers}
    answer = await demo.call("POST", "/2016-08-15/proxy/demo/f/", b"", sent, sign=False, whole_path=True)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, code)
    assert demo.queue.news == []


@pytest.mark.parametrize("kind", ["Sync", "Async"])
async def test_an_invocation_carries_the_chain_of_the_function_that_asks_for_it(demo: Endpoint, kind: str) -> None:
    roles = Roles(demo.catalog)
    role = new_role("tester", ["AliyunFCInvocationAccess"])
    await roles.put(ACCOUNT_ID, role)
    keys = demo.tokens.issue(Grant(ACCOUNT_ID, role.role_name, role.role_id, "session", chain=("demo/g", "demo/h")))
    sent = {
        "host": "h",
        "date": DATE,
        "x-fc-invocation-type": kind,
        "x-fc-security-token": keys.security_token,
    }
    sent["authorization"] = Auth(keys.access_key_id, keys.access_key_secret).sign_request(
        "POST", "/2016-08-15" + CALL, sent
    )
    answer = await demo.call("POST", CALL, b"", sent, sign=False)
    assert answer.status == (200 if kind == "Sync" else 202)
    chain = demo.engine.asked[0].chain if kind == "Sync" else demo.queue.news[0].meta.chain
    assert chain == ("demo/g", "demo/h")


async def test_a_function_that_leads_to_itself_too_often(demo: Endpoint) -> None:
    async def cut(_call: Invocation) -> Outcome:
        raise Recursive("demo/f", 16)

    demo.engine.then = cut
    answer = await demo.call("POST", CALL)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "RecursionLimitExceeded")
    assert "--recursion-limit" in answer.json()["ErrorMessage"]


async def test_a_custom_domain_takes_asynchronous_invocations_too(demo: Endpoint) -> None:
    assert (await demo.call("POST", "/services/demo/functions/f/triggers", TRIGGER)).status == 200
    route = {"path": "/*", "serviceName": "demo", "functionName": "f"}
    domain = {"domainName": "async.example.com", "protocol": "HTTP", "routeConfig": {"routes": [route]}}
    assert (await demo.call("POST", "/custom-domains", domain)).status == 200
    sent = {"host": "async.example.com", **ASYNC}
    answer = await demo.call("POST", "/a", b"body", sent, sign=False, whole_path=True)
    assert (answer.status, answer.body) == (202, b"")
    params: Any = demo.queue.news[0].meta.http_params
    assert params["path"] == "/a"
