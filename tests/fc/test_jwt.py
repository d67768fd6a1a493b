"""HTTP functions whose trigger or domain wants a JSON Web Token: who comes in, what the function sees, and attacks."""

import json
import zlib
from typing import Any

import pytest
from fc2.auth import Auth
from tests.fc.conftest import DATE, NOW, Answer, Endpoint
from tests.support.exchanges import FakeWebSocket
from tests.support.sdk import KEY_ID, SECRET
from tests.support.sdk_2023 import Client, made
from tests.support.tokens import ec, hmac_token, jwks, part, public, rsa, token

from sesame.engine.interface import Destined
from sesame.http.request import Request

TRIGGERS = "/services/demo/functions/f/triggers"
WEB = "/2016-08-15/proxy/demo/f"
METHODS = ["GET", "POST", "PUT"]
KEYS = jwks(public(rsa(), "RS256", kid="r"), public(ec(), "ES256", kid="e"))
CLAIMS = {"uid": "u-1", "name": "Ada", "admin": True, "exp": NOW + 60}
PASSED = "header:uid:X-User,query:uid:uid,cookie:name:name,form:admin:admin"
CONFIG = {"jwks": KEYS, "tokenLookup": "header:Authorization:Bearer ,query:token,cookie:token,form:token"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def web(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    assert (await endpoint.call("POST", "/services", {"serviceName": "demo"})).status == 200
    assert (await endpoint.call("POST", "/services/demo/functions", function_body)).status == 200
    await trigger(endpoint)
    return endpoint


async def trigger(endpoint: Endpoint, **changes: Any) -> None:
    config = {"authType": "jwt", "methods": METHODS, "authConfig": CONFIG | changes}
    body = {"triggerName": "web", "triggerType": "http", "triggerConfig": config}
    answer = await endpoint.call("POST", TRIGGERS, body)
    if answer.status == 409:
        answer = await endpoint.call("PUT", f"{TRIGGERS}/web", {"triggerConfig": config})
    assert answer.status == 200, answer.body


async def visit(
    endpoint: Endpoint, path: str = "", method: str = "GET", body: bytes | list[bytes] = b"", **headers: str
) -> Answer:
    sent = {"host": "127.0.0.1:9000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    whole = path if path.startswith("http:") else WEB + path
    return await endpoint.call(method, whole.removeprefix("http:"), body, sent, sign=False, whole_path=True)


def signed(claims: Any = CLAIMS, **header: Any) -> str:
    return token(rsa(), claims, "RS256", **{"kid": "r", **header})


def bearer(text: str) -> dict[str, Any]:
    return {"authorization": f"Bearer {text}"}


def seen(endpoint: Endpoint) -> dict[str, Any]:
    params = endpoint.engine.asked[-1].http_params
    assert params is not None
    return params


def headers_seen(endpoint: Endpoint, name: str) -> list[str]:
    return [value for sent, value in seen(endpoint)["headers"] if sent.lower().replace("_", "-") == name]


async def refused(endpoint: Endpoint, *args: Any, **headers: Any) -> str:
    before = len(endpoint.engine.asked)
    answer = await visit(endpoint, *args, **headers)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied"), answer.body
    assert len(endpoint.engine.asked) == before
    return str(answer.json()["ErrorMessage"])


async def test_a_token_is_found_where_the_trigger_says(web: Endpoint) -> None:
    text = signed()
    assert (await visit(web, **bearer(text))).status == 200
    assert (await visit(web, authorization=f"bearer  {text}")).status == 200
    assert (await visit(web, f"/a?x=1&token={text}")).status == 200
    assert (await visit(web, cookie=f'a=b; token="{text}"; c=d')).status == 200
    assert (await visit(web, "", "POST", f"a=b&token={text}".encode(), content_type=FORM)).status == 200
    assert web.engine.asked[-1].event == f"a=b&token={text}".encode()
    large = b"x" * 100_000 + f"&token={text}".encode()
    assert (await visit(web, "", "POST", large, content_type=f"{FORM}; charset=utf-8")).status == 200
    other = token(ec(), CLAIMS, "ES256", kid="e")
    assert (await visit(web, **bearer(other))).status == 200


async def test_without_a_token_nobody_comes_in(web: Endpoint) -> None:
    text = signed()
    missing = "the JSON Web Token is missing: expected it in header 'authorization', query 'token', cookie 'token'"
    assert (await refused(web)).startswith(missing)
    assert (await refused(web, authorization=text)).startswith(missing)
    assert (await refused(web, authorization="Bearer ")).startswith(missing)
    assert (await refused(web, authorization=f"Basic {text}")).startswith(missing)
    assert (await refused(web, "?token=")).startswith(missing)
    assert (await refused(web, f"?Token={text}")).startswith(missing)
    assert (await refused(web, "", "POST", f"token={text}".encode(), content_type="text/plain")).startswith(missing)
    # A method that the trigger does not name is told first, as to everybody.
    assert (await visit(web, "", "DELETE")).status == 405


async def test_the_first_token_found_counts(web: Endpoint) -> None:
    good, bad = signed(), signed() + "A"
    assert (await visit(web, f"?token={bad}", **bearer(good))).status == 200
    assert "refused" in await refused(web, f"?token={good}", **bearer(bad))


async def test_two_tokens_in_one_place_are_refused(web: Endpoint) -> None:
    """The function may look at the other one."""
    good = signed()
    assert "query 'token' holds 2 of them" in await refused(web, f"?token={good}&%74oken=x")
    assert "cookie 'token' holds 2" in await refused(web, cookie=f"token={good}; token=x")
    request = Request(
        "GET",
        (WEB.encode(), b""),
        tuple((b"authorization", f"Bearer {text}".encode()) for text in (good, "x")),
        "1.1",
        ("http", ("127.0.0.1", 1), ("127.0.0.1", 9000)),
    )
    websocket = FakeWebSocket(request)
    await web.gateway.serve_websocket(websocket)
    answer = await websocket.next()
    assert (answer.status, b"header 'authorization' holds 2" in answer.body) == (403, True)


async def test_forged_tokens(web: Endpoint) -> None:
    payload = part(CLAIMS)
    pem = rsa().as_pem(private=False)
    for text in (
        f"{part({'alg': 'none', 'kid': 'r'})}.{payload}.",
        f"{part({'alg': 'None', 'kid': 'r'})}.{payload}.{part(b'x')}",
        hmac_token(pem, CLAIMS, kid="r"),
        hmac_token(pem, CLAIMS, kid="r", alg="RS256"),
        token(ec(), CLAIMS, "ES256", kid="r"),
        signed(kid="other"),
        signed(kid="../../dev/null"),
        signed() + "A",
        "a.b.c",
        "x" * 7000,
    ):
        assert "the JSON Web Token is refused: " in await refused(web, **bearer(text))


async def test_times_are_those_of_the_server(web: Endpoint) -> None:
    text = signed({"exp": NOW + 60, "nbf": NOW, "iat": NOW})
    assert (await visit(web, **bearer(text))).status == 200
    web.now[0] = NOW + 60
    assert "it has expired" in await refused(web, **bearer(text))
    web.now[0] = NOW - 1
    assert "in the future" in await refused(web, **bearer(text))


async def test_a_form_beyond_what_an_event_may_have(web: Endpoint) -> None:
    answer = await visit(web, "", "POST", b"x", content_type=FORM, content_length=str(64 * 1024 * 1024))
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "EntityTooLarge")
    huge = signed({"a": "x" * 9000})
    assert "more than the 8192" in await refused(web, "", "POST", f"token={huge}".encode(), content_type=FORM)


async def test_claims_reach_the_function(web: Endpoint) -> None:
    await trigger(web, claimPassBy=PASSED)
    answer = await visit(web, "/a?x=1", "POST", b"b=2", content_type=FORM, cookie="c=d", **bearer(signed()))
    assert answer.status == 200
    assert headers_seen(web, "x-user") == ["u-1"]
    assert headers_seen(web, "cookie") == ["c=d; name=Ada"]
    assert headers_seen(web, "content-length") == ["14"]
    assert (seen(web)["query"], seen(web)["request_uri"]) == ("x=1&uid=u-1", f"{WEB}/a?x=1&uid=u-1")
    assert web.engine.asked[-1].event == b"b=2&admin=true"


async def test_no_caller_sets_what_claims_set(web: Endpoint) -> None:
    await trigger(web, claimPassBy=PASSED, whiteList="/free")
    forged: dict[str, Any] = {
        "x_user": "root", "cookie": "name=root; c=d; name = root", "content_type": FORM, "connection": "x-user, cookie",
    }  # fmt: skip
    query = "?uid=root&x=1&%75id=root&uid"
    body = b"admin=1&b=2&ad%6Din=1"
    for claims, sent in ((CLAIMS, ["u-1"]), ({}, [])):
        await visit(web, query, "POST", body, **forged, **bearer(signed(claims)))
        assert headers_seen(web, "x-user") == sent
        assert headers_seen(web, "cookie") == [f"c=d{'; name=Ada' if sent else ''}"]
        for text in (seen(web)["query"], seen(web)["request_uri"].partition("?")[2]):
            assert text == f"x=1{'&uid=u-1' if sent else ''}"
        assert web.engine.asked[-1].event == (b"b=2&admin=true" if sent else b"b=2")
    # Nor where no token is needed, or none has come: a path without one is no way around.
    await visit(web, f"/free{query}", "POST", body, **forged, **bearer(signed()))
    assert (headers_seen(web, "x-user"), headers_seen(web, "cookie")) == ([], ["c=d"])
    assert (seen(web)["query"], web.engine.asked[-1].event) == ("x=1", b"b=2")


async def test_headers_that_wsgi_takes_for_the_same(web: Endpoint) -> None:
    await trigger(web, claimPassBy="header:uid:x_user")
    request = {"X-User": "root", "X_User": "root"}
    sent = {"host": "127.0.0.1:9000", **request, **bearer(signed())}
    assert (await web.call("GET", WEB, b"", sent, sign=False, whole_path=True)).status == 200
    assert headers_seen(web, "x-user") == ["u-1"]


async def test_a_body_that_may_be_a_form_to_the_function(web: Endpoint) -> None:
    await trigger(web, claimPassBy="form:uid:uid")
    found = await refused(web, "", "POST", b"--a", content_type="multipart/form-data; boundary=a", **bearer(signed()))
    assert "expected the Content-Type 'application/x-www-form-urlencoded' once, found 'multipart/form-data'" in found
    await refused(web, "", "POST", b"uid=root", content_type=f"text/plain, {FORM}", **bearer(signed()))
    assert (await visit(web, "", "POST", b"{}", content_type="application/json", **bearer(signed()))).status == 200


async def test_a_form_that_a_function_may_read_in_another_way(web: Endpoint) -> None:
    """Some functions decompress it, decode it by its charset, or take a body without a type for a form."""
    await trigger(web, claimPassBy="form:uid:uid", whiteList="/free")
    body = zlib.compress(b"uid=root")
    found = await refused(web, "/free", "POST", body, content_type=FORM, content_encoding="deflate")
    assert "expected a form without Content-Encoding, found 'deflate'" in found
    for charset in ("utf-16", '"IBM037"'):
        found = await refused(web, "/free", "POST", b"a=b", content_type=f"{FORM}; Charset={charset}")
        assert "expected the charset 'utf-8', found" in found
    assert "once, found ''" in await refused(web, "/free", "POST", b"uid=root", content_length="8")
    assert "once, found ''" in await refused(web, "/free", "POST", b"uid=root", content_type="", content_length="8")
    for kind in (FORM, f'{FORM}; charset="UTF-8"'):
        assert (await visit(web, "/free", "POST", b"a=b", content_type=kind, content_encoding="identity")).status == 200
    assert (await visit(web, "/free")).status == 200


async def test_parameters_that_a_function_may_part_in_another_way(web: Endpoint) -> None:
    """Python 2.7 and 3.6 part queries and forms also by ";", `http.cookies` cookies also by white space."""
    await trigger(web, claimPassBy=PASSED, whiteList="/free")
    sent: dict[str, Any] = {"cookie": "a=b name=root; c=d;e=f,\tname = root; g=h i", "content_type": FORM}
    await visit(web, "/free?x=1;uid=root;%75id=root;y&z=a;b", "POST", b"b=2;admin=1&admin;c=3", **sent)
    assert headers_seen(web, "cookie") == ["c=d; g=h i"]
    assert seen(web)["query"] == "x=1;y&z=a;b"
    assert web.engine.asked[-1].event == b"b=2&c=3"


async def test_a_body_is_read_only_where_something_stands_in_it(web: Endpoint) -> None:
    """Uploads of callers whose token is elsewhere stream on."""
    web.engine.destination = Destined("", streams=True)
    for kind in (FORM, "multipart/form-data; boundary=a"):
        answer = await visit(web, "", "POST", [b"a=", b"b"], content_type=kind, **bearer(signed()))
        stream = web.engine.asked[-1].stream
        assert stream is not None
        assert stream.whole_body() is None
        assert answer.status == 502
    await refused(web, "", "POST", f"token={signed()}".encode(), content_type="multipart/form-data; boundary=a")


async def test_claims_of_every_kind(web: Endpoint) -> None:
    names = ("text", "cr", "many", "number", "none", "object", "wide")
    claims = {
        "text": "a b&c=d;e", "cr": "a\r\nX-Admin: 1", "many": ["a", 1], "number": 1.5, "none": None,
        "object": {"a": "ä"}, "wide": "Zoë 张三 \N{GRINNING FACE}",
    }  # fmt: skip
    await trigger(
        web, claimPassBy=[f"query:{name}:{name}" for name in names] + [f"cookie:{name}:{name}" for name in names]
    )
    assert (await visit(web, **bearer(signed(claims)))).status == 200
    assert seen(web)["query"] == (
        "text=a%20b%26c%3Dd%3Be&cr=a%0D%0AX-Admin%3A%201&many=%5B%22a%22%2C1%5D&number=1.5&object=%7B%22a%22%3A%22%C3%A4%22%7D"
        "&wide=Zo%C3%AB%20%E5%BC%A0%E4%B8%89%20%F0%9F%98%80"
    )
    cookie = headers_seen(web, "cookie")[0]
    assert "text=a%20b&c=d%3Be; cr=a%0D%0AX-Admin:%201; " in cookie
    assert cookie.isascii()
    await trigger(web, claimPassBy=["header:wide:X-Wide", "header:object:X-Object"])
    assert (await visit(web, **bearer(signed(claims)))).status == 200
    assert headers_seen(web, "x-wide")[0].encode("latin-1").decode() == claims["wide"]
    assert headers_seen(web, "x-object")[0].encode("latin-1").decode() == '{"a":"ä"}'
    await trigger(web, claimPassBy="header:cr:X-Cr")
    assert "control characters" in await refused(web, **bearer(signed(claims)))
    await trigger(web, claimPassBy=[f"header:text:X-{i}" for i in range(3)])
    assert "8192 bytes that headers" in await refused(web, **bearer(signed({"text": "x" * 3000})))
    await trigger(web, claimPassBy="query:text:text")
    assert "the query has" in await refused(web, "?" + "y" * 2000, **bearer(signed({"text": "x" * 2100})))


async def test_lists_of_paths(web: Endpoint) -> None:
    await trigger(web, blackList=["/admin/*", "/me"])
    for path, status in (
        ("", 200), ("/public", 200), ("/me/x", 200), ("/me", 403), ("/Me/", 403), ("/admin/a", 403),
        ("/ADMIN/a", 403), ("/%61dmin/a", 403),
        ("//admin/a", 403), ("/x/../admin/a", 403), ("/x/%2e%2e/admin/a", 403), ("/admin;x/a", 403),
        ("/admin%2fa", 403),
    ):  # fmt: skip
        assert (await visit(web, path)).status == status, path
    await trigger(web, whiteList=["/login", "/public/*"])
    for path, status in (
        ("/login", 200), ("/public/a", 200), ("", 403), ("/login/", 403), ("/public", 403), ("/public/../me", 403),
        ("/public/%2e%2e/me", 403), ("/public/..%2fme", 403), ("/public/..;/me", 403), ("/public//me", 403),
    ):  # fmt: skip
        assert (await visit(web, path)).status == status, path
    assert (await visit(web, "/me", **bearer(signed()))).status == 200


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"jwks": None}, "TriggerConfig.AuthConfig.Jwks is required but not provided"),
        ({"jwks": {"keys": [{"kty": "RSA", "alg": "none"}]}}, "TriggerConfig.AuthConfig.Jwks.Keys.Alg is set to"),
        ({"tokenLookup": "body:x"}, "AuthConfig.TokenLookup is set to an invalid value (allowed: header |"),
        ({"claimPassBy": "env:a:b"}, "TriggerConfig.AuthConfig.ClaimPassBy is set to an invalid value"),
        ({"whiteList": ["/a"], "blackList": ["/b"]}, "TriggerConfig.AuthConfig.BlackList cannot be set together with"),
    ],
)  # fmt: skip
async def test_what_cannot_be_verified_is_not_kept(web: Endpoint, changes: dict[str, Any], text: str) -> None:
    config = {"authType": "jwt", "methods": METHODS, "authConfig": json.dumps(CONFIG | changes)}
    created = {"triggerName": "other", "triggerType": "http", "triggerConfig": config, "qualifier": "LATEST"}
    for answer in (
        await web.call("PUT", f"{TRIGGERS}/web", {"triggerConfig": config}),
        await web.call("POST", TRIGGERS, created),
    ):
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "InvalidArgument"), answer.body
        assert text in answer.json()["ErrorMessage"]
    # What is there stays in force.
    assert (await visit(web, **bearer(signed()))).status == 200


async def test_a_new_key_is_used_at_once(web: Endpoint) -> None:
    await trigger(web, jwks=jwks(public(ec(), "ES256")))
    await refused(web, **bearer(signed()))
    assert (await visit(web, **bearer(token(ec(), {}, "ES256")))).status == 200


async def test_what_earlier_versions_kept_is_refused(web: Endpoint, sdk_of_f: Client) -> None:
    def keep(tx: Any) -> None:
        record = tx.get("trigger", "demo/f", "web")
        record.document.trigger_config["authConfig"] = "{}"
        tx.put("trigger", "demo/f", "web", record.document)

    await web.catalog.edit(keep)
    assert "the authConfig of the HTTP trigger cannot be used, set it again" in await refused(web, **bearer(signed()))


async def test_requests_of_custom_runtimes(web: Endpoint) -> None:
    await trigger(web, claimPassBy=PASSED)
    web.engine.destination = Destined("", streams=True)
    headers: dict[str, Any] = {"x_user": "root", "content_type": FORM, "transfer_encoding": "chunked"}
    await visit(web, "/a?uid=root", "POST", b"admin=0&b=2", **headers, **bearer(signed()))
    stream = web.engine.asked[-1].stream
    assert stream is not None
    assert (stream.target, stream.length) == (b"/a?uid=u-1", 14)
    assert (stream.whole_body(), await stream.receive()) == (b"b=2&admin=true", b"")
    sent = dict(stream.headers)
    assert (sent[b"x-user"], sent[b"cookie"], sent[b"content-length"]) == (b"u-1", b"name=Ada", b"14")
    assert b"transfer-encoding" not in sent


async def test_asynchronous_requests(web: Endpoint) -> None:
    await trigger(web, claimPassBy="header:uid:X-User")
    assert await refused(web, x_fc_invocation_type="Async")
    answer = await visit(web, "/later", "POST", b"x", x_fc_invocation_type="Async", **bearer(signed()))
    assert answer.status == 202
    kept = web.queue.news[-1].meta.http_params
    assert kept is not None
    headers: Any = kept["headers"]
    assert ["x-user", "u-1"] in headers


async def test_events_of_fc_3(sdk_of_f: Client, endpoint: Endpoint) -> None:
    config = json.dumps(
        {"authType": "jwt", "methods": METHODS, "authConfig": json.dumps(CONFIG | {"claimPassBy": PASSED})}
    )
    await sdk_of_f("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    endpoint.now[0] = NOW
    host: dict[str, Any] = {"host": "f.localhost:9000"}
    assert (await visit(endpoint, "http:/a", **host)).status == 403
    sent = {"x_user": "root", "content_type": FORM, **host, **bearer(signed())}
    assert (await visit(endpoint, "http:/a?uid=root", "POST", b"admin=0", **sent)).status == 200
    document = json.loads(endpoint.engine.asked[-1].event)
    assert (document["headers"]["X-User"], document["queryParameters"]) == ("u-1", {"uid": "u-1"})
    assert document["headers"]["Cookie"] == "name=Ada"
    assert (document["headers"]["Content-Length"], document["body"]) == ("10", part(b"admin=true") + "==")


DOMAIN: dict[str, Any] = {
    "domainName": "d.example.com", "protocol": "HTTP",
    "routeConfig": {"routes": [{"path": "/*", "functionName": "f"}]},
}  # fmt: skip
HOST: dict[str, Any] = {"host": "d.example.com"}


async def test_a_domain_asks_for_a_token(sdk_of_f: Client, endpoint: Endpoint) -> None:
    info = json.dumps(CONFIG | {"claimPassBy": PASSED, "whiteList": ["/free/*"]})
    wildcard = {"wildcardRules": [{"match": "/old/*", "replacement": "/free/$1"}]}
    routes = [{"path": "/*", "functionName": "f", "rewriteConfig": wildcard}]
    body = DOMAIN | {"authConfig": {"authType": "jwt", "authInfo": info}, "routeConfig": {"routes": routes}}
    made = await sdk_of_f("create_custom_domain", body=body)
    assert made["authConfig"] == {"authType": "jwt", "authInfo": info}
    endpoint.now[0] = NOW
    assert (await visit(endpoint, "http:/a", **HOST)).status == 403
    assert (await visit(endpoint, "http:/free/a", **HOST)).status == 200
    # The path that was asked for counts, not the one that it was rewritten to.
    assert (await visit(endpoint, "http:/old/a", **HOST)).status == 403
    assert (await visit(endpoint, "http:/old/a?uid=0", **HOST, **bearer(signed()))).status == 200
    document = json.loads(endpoint.engine.asked[-1].event)
    assert (document["rawPath"], document["queryParameters"]) == ("/free/a", {"uid": "u-1"})


async def test_a_domain_asks_for_a_signature(sdk_of_f: Client, endpoint: Endpoint) -> None:
    for name, auth_type in (("open.example.com", "anonymous"), ("d.example.com", "function")):
        body = DOMAIN | {"domainName": name, "authConfig": {"authType": auth_type}}
        await sdk_of_f("create_custom_domain", body=body)
    endpoint.now[0] = NOW
    assert (await visit(endpoint, "http:/a", host="open.example.com")).status == 200
    unsigned = await visit(endpoint, "http:/a", **HOST)
    assert (unsigned.status, unsigned.json()["ErrorCode"]) == (400, "MissingRequiredHeader")
    for path, status in (("/a", 200), ("/b", 403)):
        signature = Auth(KEY_ID, SECRET).sign_request("GET", path, {"date": DATE}, {"x": "1"})
        answer = await visit(endpoint, "http:/a?x=1", date=DATE, authorization=signature, **HOST)
        assert answer.status == status
    assert json.loads(endpoint.engine.asked[-1].event)["rawPath"] == "/a"


async def test_domain_and_trigger_both_ask(sdk_of_f: Client, endpoint: Endpoint) -> None:
    of_trigger = {
        "jwks": jwks(public(ec(), "ES256")),
        "tokenLookup": "header:X-Second",
        "claimPassBy": "header:n:X-User",
    }
    config = json.dumps({"authType": "jwt", "methods": METHODS, "authConfig": of_trigger})
    await sdk_of_f("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    info = json.dumps(CONFIG | {"claimPassBy": PASSED})
    await sdk_of_f("create_custom_domain", body=DOMAIN | {"authConfig": {"authType": "jwt", "authInfo": info}})
    endpoint.now[0] = NOW
    second = token(ec(), {"n": "of the trigger"}, "ES256")
    assert (await visit(endpoint, "http:/", **HOST, **bearer(signed()))).status == 403
    assert (await visit(endpoint, "http:/", x_second=second, **HOST)).status == 403
    assert (await visit(endpoint, "http:/", x_second=second, **HOST, **bearer(signed()))).status == 200
    document = json.loads(endpoint.engine.asked[-1].event)
    assert (document["headers"]["X-User"], document["headers"]["Cookie"]) == ("of the trigger", "name=Ada")


async def test_a_domain_keeps_no_config_that_cannot_be_used(sdk: Client) -> None:
    for info, text in (
        (None, "AuthConfig.AuthInfo is required"),
        ("{", "AuthConfig.AuthInfo is not JSON"),
        (json.dumps(CONFIG | {"tokenLookup": ""}), "AuthConfig.AuthInfo.TokenLookup is required"),
    ):
        body = DOMAIN | {"authConfig": {"authType": "jwt"} | ({} if info is None else {"authInfo": info})}
        status, code, message = await sdk.failure("create_custom_domain", body=body)
        assert (status, code) == (400, "InvalidArgument")
        assert text in message


async def test_what_a_domain_asks_for_and_is_not_known_closes_it(sdk_of_f: Client, endpoint: Endpoint) -> None:
    await sdk_of_f("create_custom_domain", body=DOMAIN | {"authConfig": {"authType": "basic", "authInfo": "{}"}})
    answer = await visit(endpoint, "http:/a", **HOST)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")
    assert (
        "the authType 'basic' of domain name 'd.example.com' is stored but not served" in answer.json()["ErrorMessage"]
    )


async def test_a_custom_runtime_without_a_service(sdk: Client, endpoint: Endpoint) -> None:
    await sdk("create_function", body=made("f", runtime="custom", customRuntimeConfig={"command": ["./run"]}))
    config = json.dumps(
        {"authType": "jwt", "methods": METHODS, "authConfig": CONFIG | {"claimPassBy": "header:uid:X-User"}}
    )
    await sdk("create_trigger", "f", body={"triggerName": "t", "triggerType": "http", "triggerConfig": config})
    endpoint.now[0] = NOW
    assert (await visit(endpoint, "http:/x", host="f.localhost:9000", **bearer(signed()))).status == 200
    assert headers_seen(endpoint, "x-user") == ["u-1"]
