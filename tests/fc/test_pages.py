"""`corsConfig` of HTTP triggers and custom domains: which pages may use a function, and what browsers are told."""

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs
from tests.fc.conftest import Answer, Endpoint, request_of, scope
from tests.fc.test_http_functions import WEB, response, trigger, visit, web
from tests.support.exchanges import FakeExchange

from sesame.control import cors_checks
from sesame.fc.web import pages
from sesame.model import records
from sesame.model.cors_rules import CorsRules, allows
from sesame.store.catalog import Transaction

__all__ = ["web"]

PAGE = "https://shop.example.com"
RULES = {
    "allowOrigins": ["https://*.example.com"], "allowMethods": ["GET", "PUT"],
    "allowHeaders": ["X-Mine", "Content-Type"],
    "maxAge": 600, "allowCredentials": True,
}  # fmt: skip
DOMAINS = "/2023-03-30/custom-domains"
FUNCTION_SAYS = [["Access-Control-Allow-Origin", "https://elsewhere.com"], ["X-Seen", "1"]]


def of_pages(answer: Answer) -> dict[str, str]:
    named = (name for name in answer.headers if name.startswith("Access-Control-") or name == "Vary")
    return {name: answer.headers[name] for name in named if name != "Access-Control-Expose-Headers"}


async def preflight(endpoint: Endpoint, path: str, origin: str = PAGE, method: str = "PUT", **headers: str) -> Answer:
    asks = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": "x-mine"}
    return await visit(endpoint, path, "OPTIONS", headers={**asks, **headers})


async def test_a_preflight_is_answered_by_the_rules_and_reaches_no_function(web: Endpoint) -> None:
    await trigger(web, methods=["PUT"], authType="function", corsConfig=RULES)
    answer = await preflight(web, WEB + "/x")
    assert (answer.status, answer.body) == (204, b"")
    assert of_pages(answer) == {
        "Access-Control-Allow-Origin": PAGE, "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "PUT", "Access-Control-Allow-Headers": "X-Mine, Content-Type",
        "Access-Control-Max-Age": "600", "Vary": "Origin",
    }  # fmt: skip
    for refused in ({"origin": "https://example.org"}, {"method": "DELETE"}):
        assert of_pages(await preflight(web, WEB + "/x", **refused)) == {"Vary": "Origin"}
    assert web.engine.asked == []


async def test_answers_name_the_page_and_nothing_that_the_function_says(web: Endpoint) -> None:
    await trigger(web, corsConfig=RULES)
    web.engine.then = response(200, FUNCTION_SAYS)
    answer = await visit(web, WEB, headers={"origin": PAGE})
    assert of_pages(answer) == {
        "Access-Control-Allow-Origin": PAGE, "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
    }  # fmt: skip
    assert answer.headers["X-Seen"] == "1"
    assert of_pages(await visit(web, WEB, headers={"origin": "https://example.org"})) == {"Vary": "Origin"}
    assert of_pages(await visit(web, WEB)) == {"Vary": "Origin"}


async def test_who_is_refused_can_read_why(web: Endpoint) -> None:
    await trigger(web, authType="function", corsConfig=RULES)
    answer = await visit(web, WEB, headers={"origin": PAGE})
    assert answer.status in (400, 403)
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE


async def test_headers_that_pages_may_read() -> None:
    """They stand beside the platform's own, in a line of their own."""
    described = scope("GET", "/", {"origin": PAGE})
    exchange = FakeExchange(request_of(described), [b""])
    rules = CorsRules(allow_origins=("*",), expose_headers=("X-Seen", "X-Too"))
    assert not pages.is_answered(rules, exchange, [])
    exchange.send_whole(200, (), b"", b"")
    assert b"Access-Control-Expose-Headers: X-Seen, X-Too\r\n" in exchange.lines


async def test_without_rules_the_function_decides(web: Endpoint) -> None:
    web.engine.then = response(200, FUNCTION_SAYS)
    configs: list[dict[str, Any]] = [{}, {"corsConfig": {}}, {"corsConfig": {"allowOrigins": []}}]
    for config in configs:
        await trigger(web, **config)
        answer = await preflight(web, WEB)
        assert of_pages(answer) == {"Access-Control-Allow-Origin": "https://elsewhere.com"}


async def test_rules_of_a_domain_go_before_those_of_the_trigger(web: Endpoint) -> None:
    await trigger(web, corsConfig=RULES)
    routes = [{"path": "/*", "functionName": "demo$f", "methods": ["GET"]}]
    made = {"domainName": "e.com", "routeConfig": {"routes": routes}, "corsConfig": {"ALLOWORIGINS": ["*"]}}
    assert (await web.call("POST", DOMAINS, made, whole_path=True)).status == 200
    answer = await visit(web, "/", headers={"host": "e.com", "origin": PAGE})
    assert of_pages(answer) == {"Access-Control-Allow-Origin": "*"}
    changed = {"corsConfig": {"allowOrigins": ["*"], "allowMethods": ["*"], "allowHeaders": ["*"]}}
    assert (await web.call("PUT", f"{DOMAINS}/e.com", changed, whole_path=True)).status == 200
    assert of_pages(await preflight(web, "/", host="e.com")) == {
        "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "PUT",
        "Access-Control-Allow-Headers": "x-mine",
    }  # fmt: skip
    assert (await web.call("PUT", f"{DOMAINS}/e.com", {"corsConfig": {}}, whole_path=True)).status == 200
    answer = await visit(web, "/", headers={"host": "e.com", "origin": PAGE})
    assert of_pages(answer)["Access-Control-Allow-Origin"] == PAGE


@pytest.mark.parametrize(
    "sent",
    [
        {"allowOrigins": 5}, {"allowOrigins": ["https://a b"]}, {"allowOrigins": ["https://*.*.com"]},
        {"allowOrigins": ["a.com"]}, {"allowOrigins": ["https://a.com/path"]}, {"allowOrigins": ["https://a\r\nX: 1"]},
        {"allowMethods": ["GET POST"]}, {"allowHeaders": ["X\r\nY"]}, {"exposeHeaders": [""]}, {"maxAge": -1},
        {"maxAge": 86_401}, {"allowHeaders": ["x"] * 101}, {"allowCredentials": "yes"},
    ],
)  # fmt: skip
async def test_rules_that_no_browser_can_read_are_refused(web: Endpoint, sent: dict[str, Any]) -> None:
    made = {"domainName": "e.com", "corsConfig": sent}
    assert (await web.call("POST", DOMAINS, made, whole_path=True)).status == 400
    body = {"triggerConfig": {"authType": "anonymous", "methods": ["GET"], "corsConfig": sent}}
    answer = await web.call("PUT", "/services/demo/functions/f/triggers/web", body)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("*", "null", True), ("https://a.com", "https://a.com", True), ("https://a.com", "https://A.com", False),
        ("https://*.a.com", "https://b.a.com", True), ("https://*.a.com", "https://a.com", False),
        ("https://*.a.com", "https://.a.com", True), ("https://a*a", "https://a", False),
        ("http://localhost:*", "http://localhost:8080", True), ("https://a.com", "https://a.com.evil.com", False),
    ],
)  # fmt: skip
def test_origins(pattern: str, origin: str, allowed: bool) -> None:
    cors_checks.check("cors_config", CorsRules(allow_origins=(pattern,)))
    assert allows(CorsRules(allow_origins=(pattern,)), origin) == allowed


@pytest.mark.parametrize(
    "stored", [{"allowOrigins": 5}, {"allowOrigins": ["*"], "exposeHeaders": ["X\r\nY: 1"]}, "all", {"maxAge": -1}]
)
async def test_what_was_stored_before_it_was_checked_allows_nothing(web: Endpoint, stored: Any) -> None:
    """And is logged once, however many pages ask."""
    web.engine.then = response(200)
    kept = {"authType": "anonymous", "methods": ["GET"], "corsConfig": stored, "disableURLInternet": "no"}
    await changed(web, (records.TRIGGER, "demo/f", "web"), trigger_config=kept)
    with capture_logs() as logged:
        for _ in range(3):
            answer = await visit(web, WEB, headers={"origin": PAGE})
            assert (answer.status, of_pages(answer)) == (200, {})
            # An entry is made anew when another record changes.
            await web.call("PUT", "/services/demo/functions/f", {"description": "d"})
    assert [(line["log_level"], line["name"]) for line in logged] == [("error", "demo/f/web")]
    assert "corsConfig" in logged[0]["reason"]
    if isinstance(stored, dict):
        routes = [{"path": "/*", "functionName": "demo$f"}]
        made = {"domainName": "e.com", "routeConfig": {"routes": routes}}
        assert (await web.call("POST", DOMAINS, made, whole_path=True)).status == 200
        await changed(web, (records.CUSTOM_DOMAIN, "", "e.com"), cors_config=stored)
        with capture_logs() as logged:
            for _ in range(3):
                answer = await visit(web, "/", headers={"host": "e.com", "origin": PAGE})
                assert (answer.status, of_pages(answer)) == (200, {})
        assert [line["name"] for line in logged] == ["e.com"]
        assert (await web.call("PUT", f"{DOMAINS}/e.com", {"corsConfig": RULES}, whole_path=True)).status == 200
        assert of_pages(await visit(web, "/", headers={"host": "e.com", "origin": PAGE}))


async def changed(endpoint: Endpoint, path: tuple[str, str, str], **values: Any) -> None:
    """Writes these values into a record as an earlier version may have, past all checks."""

    def edit(tx: Transaction) -> None:
        record = tx.get(*path)
        assert record is not None
        tx.put(*path, msgspec.structs.replace(record.document, **values))

    await endpoint.catalog.edit(edit)
