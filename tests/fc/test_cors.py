"""Web pages that call the API: preflights, and answers that the page may read."""

from typing import Any

import pytest
from tests.fc.conftest import Endpoint

INVOKE = "/services/demo/functions/f/invocations"
PAGE = "https://page.example.com"
ASKS = {
    "host": "127.0.0.1:9000",
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,date,x-fc-log-type",
}


@pytest.mark.parametrize("path", [INVOKE, "/services", "/services/no/such/thing"])
async def test_a_preflight_is_allowed_what_it_asks_for(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.call("OPTIONS", path, b"", ASKS, sign=False)
    assert (answer.status, answer.body) == (204, b"")
    allowed = {name: value for name, value in answer.headers.items() if name not in ("X-Fc-Request-Id", "Date")}
    assert allowed == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization,date,x-fc-log-type",
        "Access-Control-Max-Age": "3600",
        "Vary": "Origin",
    }
    assert len(answer.headers["X-Fc-Request-Id"]) == 36
    assert endpoint.engine.asked == []


async def test_a_preflight_that_asks_for_no_headers_is_allowed_none(endpoint: Endpoint) -> None:
    asks = {name: value for name, value in ASKS.items() if name != "access-control-request-headers"}
    assert "Access-Control-Allow-Headers" not in (await endpoint.call("OPTIONS", INVOKE, b"", asks, sign=False)).headers


@pytest.mark.parametrize("left_out", ["origin", "access-control-request-method"])
async def test_other_options_requests_are_signed_as_all_are(endpoint: Endpoint, left_out: str) -> None:
    asks = {name: value for name, value in ASKS.items() if name != left_out}
    answer = await endpoint.call("OPTIONS", INVOKE, b"", asks, sign=False)
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "MissingRequiredHeader")


async def test_a_page_may_read_what_it_gets(endpoint: Endpoint, function_body: dict[str, Any]) -> None:
    created = await endpoint.call("POST", "/services", {"serviceName": "demo"}, {"origin": PAGE})
    assert (created.status, created.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    await endpoint.call("POST", "/services/demo/functions", function_body)
    invoked = await endpoint.call("POST", INVOKE, b"event", {"origin": PAGE})
    assert (invoked.status, invoked.body) == (200, b"event")
    assert (invoked.headers["Access-Control-Allow-Origin"], invoked.headers["Vary"]) == (PAGE, "Origin")
    assert "x-fc-request-id" in invoked.headers["Access-Control-Expose-Headers"]
    refused = await endpoint.call("POST", INVOKE, b"event", {"origin": PAGE}, sign=False)
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (400, PAGE)


async def test_who_says_no_origin_is_told_of_none(endpoint: Endpoint) -> None:
    answer = await endpoint.call("POST", "/services", {"serviceName": "demo"})
    assert answer.status == 200
    assert answer.headers.keys().isdisjoint({"Access-Control-Allow-Origin", "Vary"})
