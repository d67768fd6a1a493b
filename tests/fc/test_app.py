"""What every request meets at the endpoint: ids, errors in JSON, order of refusals."""

import uuid
from typing import Any

import pytest
from tests.fc.conftest import DATE, Endpoint, request_of, scope
from tests.support.exchanges import FakeExchange


@pytest.mark.parametrize(
    ("method", "path", "shown"),
    [
        ("GET", "/", "/"),
        ("GET", "/favicon.ico", "/favicon.ico"),
        ("GET", "/2016-08-15", "/2016-08-15"),
    ],
)
async def test_paths_outside_the_api_need_no_signature_to_be_unknown(
    endpoint: Endpoint, method: str, path: str, shown: str
) -> None:
    answer = await endpoint.call(method, path, sign=False, whole_path=True)
    assert answer.status == 400
    assert answer.json() == {
        "ErrorCode": "PathNotSupported",
        "ErrorMessage": f"'{method}' against '{shown}' is not supported",
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Date"] == DATE
    assert uuid.UUID(answer.headers["X-Fc-Request-Id"]).version == 7


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("PATCH", "/services"),
        ("DELETE", "/services"),
        ("POST", "/services/demo"),
        ("GET", "/services/"),
        ("GET", "/services/demo/"),
        ("GET", "/services/demo/functions/f/invocations"),
        ("POST", "/services/demo/functions/f/code"),
    ],
)
async def test_unknown_paths_and_methods(endpoint: Endpoint, method: str, path: str) -> None:
    answer = await endpoint.call(method, path)
    assert answer.status == 400
    assert answer.json() == {
        "ErrorCode": "PathNotSupported",
        "ErrorMessage": f"'{method}' against '/2016-08-15{path}' is not supported",
    }


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/nothing/" + "x" * 6000, b""),
        ("GET", "/services/" + "x" * 6000, b""),
        ("GET", "/services/demo/functions/" + "é" * 900, b""),
        ("POST", "/services", {"serviceName": "x" * 60_000}),
        ("POST", "/custom-domains", {"domainName": "x" * 60_000}),
    ],
)
async def test_errors_repeat_at_most_the_beginning_and_the_end_of_what_was_sent(
    endpoint: Endpoint, method: str, path: str, body: Any
) -> None:
    answer = await endpoint.call(method, path, body)
    assert 400 <= answer.status < 500
    assert len(answer.json()["ErrorMessage"]) <= 2100


async def test_an_unsupported_path_is_shown_with_its_first_characters(endpoint: Endpoint) -> None:
    answer = await endpoint.call("GET", "/nothing/" + "x" * 6000)
    path = "/2016-08-15/nothing/" + "x" * 6000
    assert answer.json()["ErrorMessage"] == f"'GET' against '{path[:256]}…' is not supported"


async def test_who_calls_is_asked_before_what(endpoint: Endpoint) -> None:
    answer = await endpoint.call("GET", "/nothing", sign=False)
    assert answer.status == 400
    assert answer.json() == {
        "ErrorCode": "MissingRequiredHeader",
        "ErrorMessage": "required HTTP header Authorization was not specified",
    }


async def test_refusals_have_their_status_and_code(endpoint: Endpoint) -> None:
    headers = {**endpoint.signed("GET", "/services"), "authorization": "FC nobody:x"}
    answer = await endpoint.call("GET", "/services", headers=headers, sign=False)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "InvalidAccessKeyID")
    headers["authorization"] = "FC LTAItest:x"
    answer = await endpoint.call("GET", "/services", headers=headers, sign=False)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "SignatureNotMatch")
    endpoint.now[0] += 901
    answer = await endpoint.call("GET", "/services")
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")


async def test_the_body_of_a_stranger_is_not_read(endpoint: Endpoint) -> None:
    exchange = FakeExchange(request_of(scope("POST", "/2016-08-15/services", {})), [b"a", b"b"])
    await endpoint.gateway.serve(exchange)
    assert (exchange.status, exchange.read) == (400, 0)


async def test_a_trace_id_is_answered_by_routes_too(endpoint: Endpoint) -> None:
    mine = str(uuid.uuid4())
    answer = await endpoint.call("GET", "/services", headers={"x-fc-trace-id": mine})
    assert answer.headers["X-Fc-Request-Id"] == mine


async def test_a_platform_error_in_a_route_is_a_500_without_internals(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(endpoint.catalog, "page", break_down)
    answer = await endpoint.call("GET", "/services")
    assert answer.status == 500
    assert answer.json() == {
        "ErrorCode": "InternalServerError",
        "ErrorMessage": "an internal error has occurred. Please retry.",
    }
