"""HTTP functions through the endpoint: who may come, what the function sees, what goes back."""

import base64
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
from tests.fc.conftest import ACCOUNT_ID, DATE, NOW, Answer, Endpoint, hang_up_on, outcome
from tests.support.sdk import KEY_ID, SECRET, Client

from sesame.engine.interface import Destined
from sesame.fc.auth import signature
from sesame.fc.web.response_heads import HEADERS_BYTES_MAX
from sesame.fc.web.ways import URL_BYTES_MAX
from sesame.model.invocation import FunctionError, Invocation, Outcome, Target
from sesame.model.session_affinity import GENERATED_COOKIE, SessionAffinity

TRIGGERS = "/services/demo/functions/f/triggers"
WEB = "/2016-08-15/proxy/demo/f"
ALL = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]


@pytest.fixture
async def web(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    assert (await endpoint.call("POST", "/services", {"serviceName": "demo"})).status == 200
    assert (await endpoint.call("POST", "/services/demo/functions", function_body)).status == 200
    await trigger(endpoint)
    return endpoint


async def trigger(endpoint: Endpoint, name: str = "web", **config: Any) -> None:
    whole = {"authType": "anonymous", "methods": ALL, **config}
    body = {"triggerName": name, "triggerType": "http", "triggerConfig": whole}
    answer = await endpoint.call("POST", TRIGGERS, body)
    if answer.status == 409:
        answer = await endpoint.call("PUT", f"{TRIGGERS}/{name}", {"triggerConfig": whole})
    assert answer.status == 200, answer.body


async def visit(
    endpoint: Endpoint, path: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    sent = {"host": "127.0.0.1:9000", **(headers or {})}
    return await endpoint.call(method, path, body, sent, sign=False, whole_path=True)


def response(status: Any = 200, headers: Any = (), body: bytes = b"") -> Callable[[Invocation], Awaitable[Outcome]]:
    async def answer(_call: Invocation) -> Outcome:
        return outcome(body, http_params={"status": status, "headers": list(headers)})

    return answer


def seen(endpoint: Endpoint) -> dict[str, Any]:
    params = endpoint.engine.asked[-1].http_params
    assert params is not None
    return params


async def test_what_the_function_sees(web: Endpoint) -> None:
    headers = {
        "X-Custom": "a", "x-fc-secret": "no", "connection": "close, X-Hop", "keep-alive": "5", "x-hop": "no",
        "accept": "*/*",
    }  # fmt: skip
    await visit(web, WEB + "/a%20b/%E4%B8%AD%2Fc?x=1&aaa=&a=%20", "POST", b"\x00\xff", headers)
    params = seen(web)
    assert params["path"] == "/a b/中/c"
    assert params["query"] == "x=1&aaa=&a=%20"
    assert params["request_uri"] == WEB + "/a%20b/%E4%B8%AD%2Fc?x=1&aaa=&a=%20"
    assert (params["method"], params["client_ip"]) == ("POST", "127.0.0.1")
    assert params["headers"] == [
        ["host", "127.0.0.1:9000"],
        ["x-custom", "a"],
        ["accept", "*/*"],
        ["x-fc-base-path", WEB],
    ]
    assert web.engine.asked[-1].event == b"\x00\xff"


async def test_a_path_that_is_not_utf_8_also_comes_as_bytes(web: Endpoint) -> None:
    await visit(web, WEB + "/%C4%E3?q=%FF")
    assert (seen(web)["path"], seen(web)["raw_path"]) == ("/\ufffd\ufffd", "/\xc4\xe3")
    await visit(web, WEB + "/%C3%A9")
    assert (seen(web)["path"], "raw_path" in seen(web)) == ("/é", False)


@pytest.mark.parametrize(("path", "expected"), [("", "/"), ("/", "/"), ("//x", "//x")])
async def test_paths(web: Endpoint, path: str, expected: str) -> None:
    await visit(web, WEB + path)
    assert seen(web)["path"] == expected


async def test_what_goes_back(web: Endpoint) -> None:
    web.engine.then = response(
        202,
        [
            ["X-Custom", "v"],
            ["Connection", "x-hop, close"],
            ["X-Hop", "no"],
            ["Server", "mine"],
            ["Content-Length", "1"],
            ["X-Fc-Request-Id", "mine"],
            ["Date", "now"],
        ],
        b"\x00body",
    )
    answer = await visit(web, WEB)
    assert (answer.status, answer.body) == (202, b"\x00body")
    assert (answer.headers["X-Custom"], answer.headers["Content-Disposition"]) == ("v", "attachment")
    assert (answer.headers["Date"], answer.headers["Content-Length"]) == (DATE, "5")
    assert len(answer.headers["X-Fc-Request-Id"]) == 36
    assert "Server" not in answer.headers
    assert "X-Hop" not in answer.headers


@pytest.mark.parametrize(
    ("value", "sent"), [(" v\t", "v"), ("Ã\xa0", "Ã\xa0"), ("中", "中".encode().decode("latin-1"))]
)
async def test_values_of_headers_reach_the_wire_byte_by_byte(web: Endpoint, value: str, sent: str) -> None:
    web.engine.then = response(200, [["X-Custom", value]])
    assert (await visit(web, WEB)).headers["X-Custom"] == sent


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body(web: Endpoint, status: int) -> None:
    web.engine.then = response(status, [], b"ignored")
    answer = await visit(web, WEB)
    assert (answer.status, answer.body) == (status, b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
async def test_an_answer_without_a_body_says_the_length_that_the_function_set(
    web: Endpoint, method: str, status: int
) -> None:
    web.engine.then = response(status, [["Content-Length", "5"], ["X-A", "1"]], b"")
    answer = await visit(web, WEB, method=method)
    assert (answer.status, answer.headers["X-A"], answer.body) == (status, "1", b"")
    assert answer.headers["Content-Length"] == "5"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_content_has_no_length_whatever_the_function_set(web: Endpoint, method: str) -> None:
    web.engine.then = response(204, [["Content-Length", "5"]], b"")
    answer = await visit(web, WEB, method=method)
    assert answer.status == 204
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (99, []),
        (101, []),
        (600, []),
        ("200", []),
        ("9" * 5000, []),
        (10**4000, []),
        (200, [["a b", "v"]]),
        (200, [["a", "v\r\nSet-Cookie: x"]]),
        (200, [["a\r\nb", "v"]]),
        (200, [["", "v"]]),
        (200, [["a", "\x01"]]),
        (200, [["a", "\x7f"]]),
        (200, [["a", 1]]),
        (200, ["ab"]),
        (200, [["a", "v" * HEADERS_BYTES_MAX]]),
    ],
)
async def test_responses_that_cannot_be_sent(web: Endpoint, status: Any, headers: list[Any]) -> None:
    web.engine.then = response(status, headers)
    answer = await visit(web, WEB)
    assert (answer.status, answer.json()["ErrorCode"]) == (502, "BadResponse")


async def test_a_raising_handler_is_502_and_says_what_it_said(web: Endpoint) -> None:
    async def fail(_call: Invocation) -> Outcome:
        return outcome(b'{"errorMessage":"no"}', error=FunctionError("UnhandledInvocationError", "unhandled"))

    web.engine.then = fail
    answer = await visit(web, WEB)
    assert (answer.status, answer.json()) == (502, {"errorMessage": "no"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Fc-Error-Type"] == "UnhandledInvocationError"


@pytest.mark.parametrize("streams", [True, False])
async def test_a_call_goes_to_the_version_for_which_its_form_was_chosen(web: Endpoint, *, streams: bool) -> None:
    web.engine.destination = Destined("7", streams=streams)
    await visit(web, WEB)
    call = web.engine.asked[-1]
    assert (call.version, call.target.qualifier) == ("7", "LATEST")
    assert (call.stream is not None, call.http_params is None) == (streams, streams)


async def test_who_may_not_come(web: Endpoint) -> None:
    await trigger(web, methods=["GET"])
    refused = await visit(web, WEB, "POST")
    assert (refused.status, refused.json()["ErrorCode"]) == (405, "MethodNotAllowed")
    for path, code in (
        ("/2016-08-15/proxy/no/f", "ServiceNotFound"),
        ("/2016-08-15/proxy/demo/no", "FunctionNotFound"),
        ("/2016-08-15/proxy/demo.prod/f", "AliasNotFound"),
        ("/2016-08-15/proxy/demo", "PathNotSupported"),
        ("/2016-08-15/proxy/demo/", "PathNotSupported"),
    ):
        assert (await visit(web, path)).json()["ErrorCode"] == code
    await web.call("DELETE", TRIGGERS + "/web")
    gone = await visit(web, WEB)
    assert (gone.status, gone.json()["ErrorCode"]) == (404, "TriggerNotFound")
    assert web.engine.asked == []


async def test_a_trigger_serves_its_own_qualifier_only(web: Endpoint) -> None:
    await web.call("POST", "/services/demo/versions", {})
    assert (await visit(web, "/2016-08-15/proxy/demo.1/f")).json()["ErrorCode"] == "TriggerNotFound"
    body = {"triggerConfig": {"authType": "anonymous", "methods": ["GET"]}, "qualifier": "1"}
    assert (await web.call("POST", TRIGGERS, {"triggerName": "v1", "triggerType": "http", **body})).status == 200
    await visit(web, "/2016-08-15/proxy/demo.1/f/x")
    assert web.engine.asked[-1].target.qualifier == "1"
    assert seen(web)["headers"][-1] == ["x-fc-base-path", "/2016-08-15/proxy/demo.1/f"]
    await visit(web, "/2016-08-15/proxy/demo.LATEST/f/x")
    assert web.engine.asked[-1].target.qualifier == "LATEST"


async def test_sizes(web: Endpoint) -> None:
    long = await visit(web, WEB + "/" + "x" * URL_BYTES_MAX)
    wide = await visit(web, WEB, headers={"x": "y" * HEADERS_BYTES_MAX})
    assert [(each.status, each.json()["ErrorCode"]) for each in (long, wide)] == [(400, "InvalidArgument")] * 2


def link(path: str, items: dict[str, str], secret: str = SECRET, method: str = "GET") -> str:
    """A presigned URL, as the official Go and Java clients make them."""
    resource = "\n".join([path, *sorted(f"{key}={value}" for key, value in items.items())])
    text = f"{method}\n\n\n{items['x-fc-expires']}\n{resource}"
    items = {**items, "x-fc-signature": signature.sign(secret.encode(), text.encode()).decode()}
    return quote(path) + "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in items.items())


async def test_signed_links(web: Endpoint) -> None:
    await trigger(web, authType="function")
    assert (await visit(web, WEB)).json()["ErrorCode"] == "MissingRequiredHeader"
    items = {"x-fc-access-key-id": KEY_ID, "x-fc-expires": str(int(NOW) + 60), "a": "1 2/中"}
    good = link(WEB + "/中 文", items)
    assert (await visit(web, good)).status == 200
    assert seen(web)["query"].startswith("x-fc-access-key-id=")
    assert (await visit(web, good, headers={"content-type": "text/html", "x-fc-trace-id": "t"})).status == 200
    assert (await visit(web, good, headers={"authorization": "Bearer of the application"})).status == 200
    for bad, code in (
        (good + "&b=1", "SignatureNotMatch"),
        (good.replace("%E6%96%87", "%E6%96%88"), "SignatureNotMatch"),
        (link(WEB, items, secret="wrong"), "SignatureNotMatch"),
        (link(WEB, items, method="POST"), "SignatureNotMatch"),
        (link(WEB, {**items, "x-fc-access-key-id": "nobody"}), "InvalidAccessKeyID"),
        (link(WEB, {**items, "x-fc-expires": str(int(NOW) - 1)}), "AccessDenied"),
        (link(WEB, {**items, "x-fc-expires": "soon"}), "InvalidArgument"),
    ):
        assert (await visit(web, bad)).json()["ErrorCode"] == code, bad
    assert (await visit(web, good, headers={"x-fc-account-id": "7"})).status == 403
    assert (await visit(web, good, headers={"x-fc-account-id": ACCOUNT_ID})).status == 200


async def test_the_sdk_signs_for_http_functions(web: Endpoint, client: Client) -> None:
    web.now[0] = time.time()
    await client("update_trigger", "demo", "f", "web", triggerConfig={"authType": "function"})
    web.engine.then = response(202, [["Content-Type", "text/plain"]], b"made")
    params = {"key with space": "value with space", "key": "value", "many": ["b", "a"]}
    answer = await client("do_http_request", "POST", "demo", "f", "/a%20b", {"Foo": "Bar"}, params, b"hello")
    assert (answer.status_code, answer.content) == (202, b"made")
    assert web.engine.asked[-1].event == b"hello"
    assert (await client("do_http_request", "GET", "demo", "f", "/")).status_code == 202
    web.now[0] += 3600
    assert (await client("do_http_request", "GET", "demo", "f", "/")).status_code == 403


async def test_header_names_with_an_underscore_reach_no_function(web: Endpoint) -> None:
    twins = {"X_Fc_Request_Id": "mine", "x_forwarded-proto": "https", "X_Custom": "a", "x-custom": "b", "_": "c"}
    await visit(web, WEB, headers=twins)
    assert [name for name, _value in seen(web)["headers"]] == ["host", "x-custom", "x-fc-base-path"]
    assert ["x-custom", "b"] in seen(web)["headers"]


async def test_custom_domains(web: Endpoint) -> None:
    rewrite = {"wildcardRules": [{"match": "/old/*", "replacement": "/new/$1?b=2"}]}
    routes = [
        {"path": "/old/*", "serviceName": "demo", "functionName": "f", "rewriteConfig": rewrite},
        {"path": "/get", "serviceName": "demo", "functionName": "f", "methods": ["GET"]},
    ]
    made = {"domainName": "Web.Example.com", "routeConfig": {"routes": routes}}
    assert (await web.call("POST", "/custom-domains", made)).status == 200
    host = {"host": "web.example.COM:9000"}
    web.engine.then = response(200, [["Content-Disposition", "inline"]], b"x")
    answer = await visit(web, "/old/a%20b?c=3", headers=host)
    assert (answer.body, answer.headers["Content-Disposition"]) == (b"x", "inline")
    assert (seen(web)["path"], seen(web)["query"]) == ("/new/a b", "b=2&c=3")
    assert seen(web)["request_uri"] == "/old/a%20b?c=3"
    assert seen(web)["headers"][-1] == ["x-fc-base-path", "/"]
    for spelled in ("web.example.com", "web.example.com.", "web.example.com:", "WEB.example.com.:9000"):
        assert (await visit(web, "/get", headers={"host": spelled})).status == 200, spelled
    assert (await visit(web, "/get", headers={"host": "web.example.com.."})).status == 400
    assert (await visit(web, "/get", "POST", headers=host)).json()["ErrorCode"] == "MethodNotAllowed"
    assert (await visit(web, "/nowhere", headers=host)).json()["ErrorCode"] == "RouteNotFound"
    assert (await visit(web, "/get", headers={"host": "other.example.com"})).json()["ErrorCode"] == "PathNotSupported"
    assert (await visit(web, "/2016-08-15/services", headers=host)).json()["ErrorCode"] == "MissingRequiredHeader"


async def test_a_url_that_is_too_long_is_refused_before_its_path_is_rewritten(web: Endpoint) -> None:
    rewrite = {
        "wildcardRules": [{"match": "/*", "replacement": "/$1"}],
        "regexRules": [{"match": "(a*)*b", "replacement": "/"}],
    }
    route = {"path": "/*", "serviceName": "demo", "functionName": "f", "rewriteConfig": rewrite}
    made = await web.call("POST", "/custom-domains", {"domainName": "e.com", "routeConfig": {"routes": [route]}})
    assert made.status == 200
    answer = await visit(web, "/" + "a" * 5000, headers={"host": "e.com"})
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")
    assert "more than the 4096 that are allowed" in answer.json()["ErrorMessage"]
    assert (await visit(web, "/" + "a" * 4000, headers={"host": "e.com"})).status == 200


async def test_a_path_on_a_custom_domain_that_is_not_utf_8_reaches_the_function_byte_by_byte(web: Endpoint) -> None:
    await trigger(web)
    rewrite = {"wildcardRules": [{"match": "/w/*", "replacement": "/x/$1?q=$1"}]}
    route = {"path": "/w/*", "serviceName": "demo", "functionName": "f", "rewriteConfig": rewrite}
    await web.call("POST", "/custom-domains", {"domainName": "e.com", "routeConfig": {"routes": [route]}})
    await visit(web, "/w/%C4%E3", headers={"host": "e.com"})
    assert (seen(web)["path"], seen(web)["raw_path"]) == ("/x/\ufffd\ufffd", "/x/\xc4\xe3")
    assert seen(web)["query"] == "q=\xc4\xe3"
    nowhere = await visit(web, "/%C4%E3", headers={"host": "e.com"})
    assert (nowhere.status, nowhere.json()["ErrorCode"]) == (404, "RouteNotFound")


async def test_no_path_on_a_custom_domain_ends_the_line_that_a_function_gets(web: Endpoint) -> None:
    rewrite = {"wildcardRules": [{"match": "/w/*", "replacement": "/x?q=$1"}]}
    routes = [
        {"path": "/w/*", "serviceName": "demo", "functionName": "f", "rewriteConfig": rewrite},
        {"path": "/*", "serviceName": "demo", "functionName": "f"},
    ]
    await web.call("POST", "/custom-domains", {"domainName": "e.com", "routeConfig": {"routes": routes}})
    await visit(web, "/a%3Fb%20HTTP/1.1%0D%0AX:%201?c=1", headers={"host": "e.com"})
    assert (seen(web)["path"], seen(web)["query"]) == ("/a?b HTTP/1.1\r\nX: 1", "c=1")
    await visit(web, "/w/b%20HTTP/1.1%0D%0AX:%201", headers={"host": "e.com"})
    assert (seen(web)["path"], seen(web)["query"]) == ("/x", "q=b%20HTTP/1.1%0D%0AX:%201")


async def test_links_on_a_custom_domain_are_signed_by_its_own_path(web: Endpoint) -> None:
    await trigger(web, authType="function")
    route = {"path": "/*", "serviceName": "demo", "functionName": "f"}
    await web.call("POST", "/custom-domains", {"domainName": "e.com", "routeConfig": {"routes": [route]}})
    items = {"x-fc-access-key-id": KEY_ID, "x-fc-expires": str(int(NOW) + 60)}
    assert (await visit(web, link("/test/path", items), headers={"host": "e.com"})).status == 200
    assert (await visit(web, link("/other", items).replace("other", "test"), headers={"host": "e.com"})).status == 403


async def test_code_still_reaches_clients_through_any_host(web: Endpoint) -> None:
    code = base64.b64encode(b"no zip").decode()
    refused = await web.call("PUT", "/services/demo/functions/f", {"code": {"zipFile": code}})
    assert refused.status == 400
    url = (await web.call("GET", "/services/demo/functions/f/code")).json()["url"]
    assert (await visit(web, url.partition(":9000")[2])).status == 200


PAGE = "https://page.example.com"


async def test_preflights_are_the_function_s_to_answer(web: Endpoint) -> None:
    asks = {"origin": PAGE, "access-control-request-method": "PUT"}
    web.engine.then = response(204, [["Access-Control-Allow-Origin", PAGE], ["Access-Control-Max-Age", "9"]])
    answer = await visit(web, WEB, "OPTIONS", headers=asks)
    assert answer.status == 204
    assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Access-Control-Max-Age"]) == (PAGE, "9")
    assert ["access-control-request-method", "PUT"] in seen(web)["headers"]
    web.engine.then = response(200, [])
    assert "Access-Control-Allow-Origin" not in (await visit(web, WEB, headers=asks)).headers
    await trigger(web, methods=["GET", "PUT"])
    refused = await visit(web, WEB, "OPTIONS", headers=asks)
    assert (refused.status, refused.json()["ErrorCode"]) == (405, "MethodNotAllowed")
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_a_visitor_who_hangs_up_cancels_the_call(web: Endpoint) -> None:
    await hang_up_on(web, WEB, {"host": "127.0.0.1"})
    assert web.engine.cancelled == 1


@pytest.mark.parametrize("host", ["f.demo.localhost:9000", "F.Demo.LOCALHOST", "f.demo.localhost."])
async def test_a_function_is_reached_under_a_host_of_its_own(web: Endpoint, host: str) -> None:
    answer = await visit(web, "/a%20b/c?d=1", "POST", b"body", {"host": host})
    assert answer.status == 200
    assert (seen(web)["path"], seen(web)["query"], seen(web)["request_uri"]) == ("/a b/c", "d=1", "/a%20b/c?d=1")
    assert ["x-fc-base-path", "/"] in seen(web)["headers"]
    assert web.engine.asked[-1].target == Target("demo", "LATEST", "f")
    assert "Content-Disposition" not in answer.headers


async def test_the_rules_of_the_trigger_hold_under_a_local_url(web: Endpoint) -> None:
    await trigger(web, authType="function", methods=["GET"])
    assert (await visit(web, "/", "POST", headers={"host": "f.demo.localhost"})).status == 405
    unsigned = await visit(web, "/", headers={"host": "f.demo.localhost"})
    assert unsigned.status in (400, 403)
    assert web.engine.asked == []


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("nothing.demo.localhost", "FunctionNotFound"),
        ("f.nothing.localhost", "ServiceNotFound"),
        ("demo.localhost", "PathNotSupported"),
        ("a.f.demo.localhost", "PathNotSupported"),
        (".demo.localhost", "PathNotSupported"),
        ("f.demo.localhost.example.com", "PathNotSupported"),
    ],
)
async def test_a_local_url_of_nothing_is_not_found(web: Endpoint, host: str, code: str) -> None:
    answer = await visit(web, "/a", headers={"host": host})
    assert (answer.status, answer.json()["ErrorCode"]) == (400 if code == "PathNotSupported" else 404, code)


async def test_names_that_differ_in_their_case_keep_apart_where_they_are_written_so(
    web: Endpoint, function_body: dict[str, Any]
) -> None:
    body = {**function_body, "functionName": "F"}
    assert (await web.call("POST", "/services/demo/functions", body)).status == 200
    config = {"authType": "anonymous", "methods": ["GET"]}
    made = {"triggerName": "web", "triggerType": "http", "triggerConfig": config}
    assert (await web.call("POST", "/services/demo/functions/F/triggers", made)).status == 200
    for written in ("f", "F"):
        await visit(web, "/", headers={"host": f"{written}.demo.localhost"})
        assert web.engine.asked[-1].target.function == written
    assert (await web.call("DELETE", "/services/demo/functions/F/triggers/web")).status == 204
    await visit(web, "/", headers={"host": "F.demo.localhost"})
    assert web.engine.asked[-1].target.function == "f"


async def test_the_cookie_of_a_session_is_for_all_paths_of_its_function_alone(web: Endpoint) -> None:
    web.engine.then = response()
    web.engine.affinities["f"] = SessionAffinity(GENERATED_COOKIE, 1, 10, 100, disable_id_reuse=False)
    for path in ("", "/", "/deep/er?a=/b"):
        answer = await visit(web, WEB + path)
        assert answer.headers["Set-Cookie"].endswith(f"; Max-Age=100; Path={WEB}")
    assert web.engine.forgotten == []


async def test_the_instance_of_a_session_that_has_ended_is_forgotten(web: Endpoint) -> None:
    web.engine.affinities["f"] = SessionAffinity(GENERATED_COOKIE, 1, 10, 100, disable_id_reuse=False)
    catalog = web.catalog

    async def end(call: Invocation) -> Outcome:
        assert call.session is not None
        parent, name = call.session.parent, call.session.session_id
        await catalog.edit(lambda tx: tx.delete("session", parent, name))
        return outcome(b"", http_params={"status": 200, "headers": []})

    web.engine.then = end
    await visit(web, f"{WEB}/")
    assert web.engine.forgotten == [web.engine.asked[-1].session]
