"""FC 3.0's events of HTTP triggers, and the responses that functions return: the vendor's samples, and what is odd."""

import base64
import json
from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, Endpoint, outcome
from tests.support.sdk_2023 import Client, made

from sesame.fc.web import http_events
from sesame.fc.web.http_events import Response
from sesame.model.invocation import FunctionError, Invocation, Outcome

JSON = [["Content-Type", "application/json"]]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"Hello World!", Response(200, JSON, b"Hello World!")),
        (b'{"message": "Hello World!"}', Response(200, JSON, b'{"message": "Hello World!"}')),
        (
            b'{"statusCode": 201, "headers": {"Content-Type": "text/plain", "My": "v"}, "body": {"message": "Hello"}}',
            Response(201, [["Content-Type", "text/plain"], ["My", "v"]], b'{"message":"Hello"}'),
        ),
        (b'{"statusCode": 204}', Response(204, JSON, b"")),
        (b'{"statusCode": 200, "body": "aGk=", "isBase64Encoded": true}', Response(200, JSON, b"hi")),
        (b'{"statusCode": 200, "body": "no base64", "isBase64Encoded": true}', Response(200, JSON, b"no base64")),
        (b'{"statusCode": "200"}', Response(200, JSON, b'{"statusCode": "200"}')),
        (b'{"statusCode": 200', Response(200, JSON, b'{"statusCode": 200')),
        (
            b'{"statusCode": 200, "headers": {"Set-Cookie": ["a=1", "b=2"], "X": 1}, "body": null}',
            Response(200, [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["X", "1"], *JSON], b""),
        ),
    ],
)
async def test_responses(payload: bytes, expected: Response) -> None:
    assert await http_events.response(payload) == expected


@pytest.fixture
async def web(sdk_of_f: Client, endpoint: Endpoint) -> Endpoint:
    config = json.dumps({"authType": "anonymous", "methods": ["GET", "POST"]})
    await sdk_of_f("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    return endpoint


async def ask(endpoint: Endpoint, path: str, body: bytes = b"", **headers: str) -> Any:
    sent = {"host": "f.localhost:9000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await endpoint.call("POST" if body else "GET", path, body, sent, sign=False, whole_path=True)


async def test_a_path_that_is_no_text(web: Endpoint) -> None:
    await ask(web, "/a%ff")
    document = json.loads(web.engine.asked[-1].event)
    assert (document["rawPath"], document["requestContext"]["http"]["path"]) == ("/a%ff", "/a\N{REPLACEMENT CHARACTER}")


async def test_the_event_of_a_request(web: Endpoint) -> None:
    answer = await ask(web, "/a%20b?x=1&x=2&y=", user_agent="curl/8", x_own="v", x_fc_hidden="h")
    document = json.loads(web.engine.asked[-1].event)
    context = document.pop("requestContext")
    assert document == {
        "version": "v1",
        "rawPath": "/a%20b",
        "headers": {"Host": "f.localhost:9000", "User-Agent": "curl/8", "X-Own": "v"},
        "queryParameters": {"x": "1,2", "y": ""},
        "body": "",
        "isBase64Encoded": True,
    }
    assert context.pop("triggerId")
    moment = int(web.now[0])
    assert int(context.pop("timeEpoch")) // 1000 == moment
    assert context.pop("time").endswith("Z")
    assert context == {
        "accountId": ACCOUNT_ID,
        "domainName": "f.localhost",
        "domainPrefix": "f",
        "requestId": answer.headers["X-Fc-Request-Id"],
        "http": {
            "method": "GET", "path": "/a b", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "curl/8",
        },
    }  # fmt: skip
    assert web.engine.asked[-1].http_params is None


@pytest.mark.parametrize(
    ("kind", "sent", "body", "encoded"),
    [
        ("application/json; charset=utf-8", b'{"a": 1}', '{"a": 1}', False),
        ("text/plain", "ä".encode(), "ä", False),
        ("text/plain", b"\xff", base64.b64encode(b"\xff").decode(), True),
        ("application/x-www-form-urlencoded", b"a=1", base64.b64encode(b"a=1").decode(), True),
        ("text/plain", b"x" * 100_000, "x" * 100_000, False),
    ],
)
async def test_bodies(web: Endpoint, kind: str, sent: bytes, body: str, encoded: bool) -> None:
    await ask(web, "/", sent, content_type=kind)
    document = json.loads(web.engine.asked[-1].event)
    assert (document["body"], document["isBase64Encoded"]) == (body, encoded)


async def test_an_answer_has_the_functions_status_and_headers(web: Endpoint) -> None:
    async def respond(_call: Invocation) -> Outcome:
        headers = {"X-Own": "v", "Date": "never", "X-Fc-Own": "no"}
        return outcome(json.dumps({"statusCode": 404, "headers": headers, "body": "gone"}).encode())

    web.engine.then = respond
    answer = await ask(web, "/")
    assert (answer.status, answer.body, answer.headers["X-Own"]) == (404, b"gone", "v")
    assert answer.headers["Content-Type"] == "application/json"
    assert "X-Fc-Own" not in answer.headers
    assert answer.headers["Date"] != "never"


async def test_what_went_wrong_in_a_function_is_hidden(web: Endpoint) -> None:
    async def fail(_call: Invocation) -> Outcome:
        return outcome(b'{"errorMessage": "secret"}', error=FunctionError("UnhandledInvocationError", "unhandled"))

    web.engine.then = fail
    answer = await ask(web, "/")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


async def test_a_status_that_none_has_is_a_bad_response(web: Endpoint) -> None:
    async def respond(_call: Invocation) -> Outcome:
        return outcome(b'{"statusCode": 42}')

    web.engine.then = respond
    answer = await ask(web, "/")
    assert (answer.status, answer.json()["ErrorCode"]) == (502, "BadResponse")


async def test_an_asynchronous_request_queues_the_event(web: Endpoint) -> None:
    answer = await ask(web, "/later", b"x", x_fc_invocation_type="Async", content_type="text/plain")
    assert answer.status == 202
    assert json.loads(web.queue.news[-1].payload)["rawPath"] == "/later"


async def test_versions_have_hosts_of_their_own(web: Endpoint, sdk_of_f: Client) -> None:
    await sdk_of_f("publish_function_version", "f", body={})
    config = json.dumps({"authType": "anonymous", "methods": ["GET"]})
    body = {"triggerName": "v", "triggerType": "http", "triggerConfig": config, "qualifier": "1"}
    found = await sdk_of_f("create_trigger", "f", body=body)
    host = found["httpTrigger"]["urlInternet"].removeprefix("http://").rstrip("/")
    assert host.startswith("f--1.localhost:")
    await ask(web, "/", host=host)
    assert web.engine.asked[-1].target.qualifier == "1"


async def test_custom_runtimes_get_the_request_itself(sdk: Client, endpoint: Endpoint) -> None:
    await sdk("create_function", body=made("f", runtime="custom", customRuntimeConfig={"command": ["./run"]}))
    config = json.dumps({"authType": "anonymous", "methods": ["GET"]})
    await sdk("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    await ask(endpoint, "/x")
    assert endpoint.engine.asked[-1].http_params is not None


async def test_a_domain_leads_to_functions_without_an_http_trigger(sdk_of_f: Client, endpoint: Endpoint) -> None:
    """As the vendor's own applications have it: a function, and a domain beside it."""
    routes = [{"path": "/*", "functionName": "f"}, {"path": "/get", "functionName": "f", "methods": ["GET"]}]
    domain = {"domainName": "a.example.com", "protocol": "HTTP", "routeConfig": {"routes": routes}}
    await sdk_of_f("create_custom_domain", body=domain)
    assert (await ask(endpoint, "/x", b"body", host="a.example.com")).status == 200
    document = json.loads(endpoint.engine.asked[-1].event)
    assert (document["rawPath"], document["requestContext"]["triggerId"]) == ("/x", "")
    assert (await ask(endpoint, "/get", b"body", host="a.example.com")).status == 405
    assert (await ask(endpoint, "/x", host="f.localhost:9000")).status == 400
    config = json.dumps({"authType": "anonymous", "methods": ["GET"]})
    await sdk_of_f("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    assert (await ask(endpoint, "/x", b"body", host="a.example.com")).status == 405
    await sdk_of_f("delete_trigger", "f", "t")
    await sdk_of_f("delete_function", "f")
    assert (await ask(endpoint, "/x", host="a.example.com")).status == 404
