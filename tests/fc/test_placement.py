"""One of several agents: which requests it serves, and which go to another before anything of them is answered."""

import json
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.fc.conftest import NOW, Endpoint, request_of, scope
from tests.support import acs
from tests.support.exchanges import FakeExchange
from tests.support.sdk import KEY_ID, SECRET

from sesame.http.interface import Exchange
from sesame.identity.nonces import UsedNonces, digest_of
from sesame.model.invocation import Target

F = Target("demo", "LATEST", "f")
PROXY = "/2016-08-15/proxy/demo/f/"
CALL = "/2016-08-15/services/demo/functions/f/invocations"
ALL = ["GET", "POST"]
HANDSHAKE = {
    "connection": "upgrade", "upgrade": "websocket", "sec_websocket_version": "13",
    "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


class Follower:
    """A `fc.placement.Placement` that serves calls of `f`; `full`, none of them. A writer before `follows`."""

    def __init__(self) -> None:
        self.follows = self.full = self.seen = False
        self.to: list[str] = []
        self.moved: list[Target] = []
        # Of each call, what chance decides for.
        self.version = ""
        self.nonces = UsedNonces(lambda: NOW)
        self.of_others: set[bytes] = set()
        self.asked = 0

    def proven(self, _exchange: Exchange) -> bool:
        return self.seen

    def first_use(self, nonce: bytes) -> Awaitable[bool] | None:
        if not self.follows:
            return None
        self.asked += 1
        return self._said(nonce not in self.of_others)

    def serves_calls_of(self, target: Target) -> bool:
        return not self.follows or target == F

    def drawn(self, target: Target, _exchange: Exchange) -> Target:
        return target if self.version == "" else Target(target.service, self.version, target.function)

    def moves(self, target: Target, _exchange: Exchange) -> Awaitable[bool] | None:
        self.moved.append(target)
        return self._went(f"calls of {target.function}") if self.follows and self.full else None

    def opens_here(self, _exchange: Exchange) -> Awaitable[bool]:
        return self._went("a websocket here") if self.follows else self._said(False)

    def came(self, target: Target, *, moved: bool) -> None:
        """Nothing was kept."""

    def to_writer(self, _exchange: Exchange) -> Awaitable[bool] | None:
        return self._went("the writer") if self.follows else None

    def _went(self, where: str) -> Awaitable[bool]:
        self.to.append(where)
        return self._said(True)

    async def _said(self, said: bool) -> bool:
        return said


@pytest.fixture
def placement() -> Follower:
    return Follower()


@pytest.fixture
async def web(endpoint: Endpoint, placement: Follower, function_body: dict[str, Any]) -> Endpoint:
    """The functions `f` and `g`, both with an HTTP trigger, and a domain of `f`, at an agent that follows from here."""
    assert (await endpoint.call("POST", "/services", {"serviceName": "demo"})).status == 200
    for name in ("f", "g"):
        made = await endpoint.call("POST", "/services/demo/functions", {**function_body, "functionName": name})
        assert made.status == 200
        await trigger(endpoint, name, authType="anonymous")
    route = {"path": "/f/*", "serviceName": "demo", "functionName": "f"}
    domain = {"domainName": "e.com", "protocol": "HTTP", "routeConfig": {"routes": [route]}}
    assert (await endpoint.call("POST", "/custom-domains", domain)).status == 200
    placement.follows = True
    return endpoint


async def trigger(endpoint: Endpoint, function: str, **config: Any) -> None:
    body = {"triggerName": "web", "triggerType": "http", "triggerConfig": {"methods": ALL, **config}}
    path = f"/services/demo/functions/{function}/triggers"
    answer = await endpoint.call("POST", path, body)
    if answer.status == 409:
        answer = await endpoint.call("PUT", f"{path}/web", body)
    assert answer.status == 200, answer.body


async def ask(endpoint: Endpoint, path: str, method: str = "GET", **headers: str) -> FakeExchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    exchange = FakeExchange(request_of(scope(method, path, {"host": "127.0.0.1:9000", **named})))
    await endpoint.gateway.serve(exchange)
    return exchange


@pytest.mark.parametrize(
    ("path", "host"), [(PROXY, "127.0.0.1:9000"), ("/f/x", "e.com"), ("/", "f.demo.localhost:9000")]
)
async def test_calls_of_http_functions_are_served(web: Endpoint, placement: Follower, path: str, host: str) -> None:
    assert (await ask(web, path, host=host)).complete
    assert web.engine.asked[-1].target == F
    assert placement.to == []


async def test_a_call_moves_once_its_caller_is_admitted(web: Endpoint, placement: Follower) -> None:
    placement.full = True
    assert not (await ask(web, PROXY)).begun
    assert placement.to == ["calls of f"]
    assert (await ask(web, PROXY, "PUT")).status == 405
    placement.follows = False
    await trigger(web, "f", authType="function")
    placement.follows = True
    assert (await ask(web, PROXY)).status == 400
    signed = acs.signed("GET", PROXY, {}, b"", keys=(KEY_ID, SECRET), at=NOW)
    assert not (await ask(web, PROXY, **signed)).begun
    assert placement.to == ["calls of f", "calls of f"]
    assert web.engine.asked == []


@pytest.mark.parametrize("path", [PROXY, CALL])
async def test_a_call_is_of_the_version_that_its_agents_have_decided_for(
    web: Endpoint, placement: Follower, path: str
) -> None:
    placement.version, placement.seen = "3", True
    placement.full = True
    assert not (await ask(web, path, "POST", **web.signed("POST", CALL, whole_path=True))).begun
    assert placement.moved[-1] == Target("demo", "3", "f")
    placement.full = False
    assert (await ask(web, path, "POST", **web.signed("POST", CALL, whole_path=True))).complete
    assert web.engine.asked[-1].target == F
    if path == CALL:
        assert web.engine.asked[-1].version == "3"
    else:
        assert web.engine.looked_up[-1] == Target("demo", "3", "f"), "whose version the engine names"


async def test_a_websocket_goes_where_a_call_would(web: Endpoint, placement: Follower) -> None:
    assert not (await ask(web, PROXY, **HANDSHAKE)).begun
    assert placement.to == ["a websocket here"]
    placement.full = True
    assert not (await ask(web, PROXY, **HANDSHAKE)).begun
    assert placement.to == ["a websocket here", "calls of f"]
    # One that came back as none, and one that cannot be any, are plain requests.
    placement.full, placement.seen = False, True
    assert (await ask(web, PROXY, **HANDSHAKE)).status == 200
    placement.seen = False
    assert (await ask(web, PROXY, **{**HANDSHAKE, "sec_websocket_version": "12"})).status == 200
    assert placement.to == ["a websocket here", "calls of f"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/2016-08-15/proxy/demo/g/", {}),
        ("/2016-08-15/proxy/demo/nothing/", {}),
        ("/2016-08-15/proxy/demo", {}),
        (PROXY, {"x_fc_invocation_type": "Async"}),
        ("/2016-08-15/proxy/demo/g/", HANDSHAKE),
        ("/elsewhere", {"host": "e.com"}),
        ("/", {"host": "g.demo.localhost"}),
        ("/sesame/code/abc.zip", {}),
        ("/nothing", {}),
    ],
)
async def test_what_it_does_not_serve_goes_to_the_writer(
    web: Endpoint, placement: Follower, path: str, headers: dict[str, str]
) -> None:
    assert not (await ask(web, path, **headers)).begun
    assert placement.to == ["the writer"]
    assert web.engine.asked == []
    placement.follows = False
    assert (await ask(web, path, **headers)).begun


def with_nonce(method: str, path: str) -> dict[str, str]:
    names = (*acs.SIGNED, "x-acs-signature-nonce")
    headers = {"x-acs-signature-nonce": "one"}
    return acs.signed(method, path, headers, b"", keys=(KEY_ID, SECRET), at=NOW, names=names)


@pytest.fixture(params=[CALL, PROXY])
async def path(request: pytest.FixtureRequest, web: Endpoint, placement: Follower) -> str:
    """One that needs a signature."""
    placement.follows = False
    await trigger(web, "f", authType="function")
    placement.follows = True
    found: str = request.param
    return found


async def refused(endpoint: Endpoint, path: str, headers: dict[str, str]) -> str:
    exchange = await ask(endpoint, path, "POST", **headers)
    code: str = json.loads(exchange.body)["ErrorCode"]
    return code


async def test_a_nonce_is_good_for_one_request_to_all_agents(web: Endpoint, placement: Follower, path: str) -> None:
    signed = with_nonce("POST", path)
    assert (await ask(web, path, "POST", **signed)).status == 200
    assert placement.asked == 1
    assert await refused(web, path, signed) == "SignatureNonceUsed"
    assert placement.asked == 1
    placement.nonces = UsedNonces(lambda: NOW)
    placement.seen = True
    # Moved here by an agent that has asked.
    assert (await ask(web, path, "POST", **signed)).status == 200
    assert placement.asked == 1


async def test_a_nonce_that_another_agent_has_seen_is_refused(web: Endpoint, placement: Follower, path: str) -> None:
    placement.of_others.add(digest_of(KEY_ID, b"one"))
    assert await refused(web, path, with_nonce("POST", path)) == "SignatureNonceUsed"
    assert web.engine.asked == []


async def test_a_nonce_is_asked_for_once_its_signature_is_right(web: Endpoint, placement: Follower, path: str) -> None:
    forged = {**with_nonce("POST", path), "x-acs-signature-nonce": "two"}
    assert await refused(web, path, forged) == "SignatureNotMatch"
    unsigned = {**web.signed("POST", CALL, whole_path=True), "x-acs-signature-nonce": "one"}
    assert (await ask(web, CALL, "POST", **unsigned)).status == 200
    assert placement.asked == 0


async def test_nonces_of_calls_that_the_writer_serves_are_not_asked_for(web: Endpoint, placement: Follower) -> None:
    other = CALL.replace("/f/", "/g/")
    assert not (await ask(web, other, "POST", **with_nonce("POST", other))).begun
    assert (placement.to, placement.asked) == (["the writer"], 0)


async def test_a_nonce_in_a_request_that_anybody_may_send_is_none(web: Endpoint, placement: Follower) -> None:
    for _ in range(2):
        assert (await ask(web, PROXY, **with_nonce("GET", PROXY))).status == 200
    assert placement.asked == 0
