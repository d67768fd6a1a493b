"""HTTP functions (reference/runtime.md §9): the WSGI environ, the response, and what is refused."""

from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAMS = {
    "path": "/a b/你",
    "method": "POST",
    "request_uri": "/2016-08-15/proxy/svc/fn/a%20b/c?x=1&y=%20",
    "client_ip": "10.1.2.3",
    "query": "x=1&y=%20",
    "headers": [
        ["Content-Type", "text/x"],
        ["Content-Length", "99"],
        ["X-Twice", "1"],
        ["x-twice", "2"],
        ["cookie", "a=1"],
        ["Cookie", "b=2"],
    ],
}


async def test_the_environ(stage: Any) -> None:
    actor = await stage.start("http")
    reply = await actor.invoke(b"four", http_params=PARAMS)
    assert reply.http == {
        "status": 201,
        "headers": [["Content-Type", "text/plain"], ["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]],
    }
    seen = dict(line.split("=", 1) for line in reply.payload.decode().splitlines())
    assert seen.pop("FC_FUNC_CODE_PATH") == stage.code("http") + "/"
    assert seen == {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/a b/你" if stage.py2 else "/a b/你".encode().decode("latin-1"),
        "QUERY_STRING": "x=1&y=%20",
        "SCRIPT_NAME": "",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "FCRUNTIME",
        "SERVER_PORT": "9000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "FCRUNTIME/1.0",
        "REMOTE_ADDR": "10.1.2.3",
        "HTTP": "on",
        "HTTP_X_TWICE": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_FC_FUNCTION_HANDLER": "index.handler",
        "fc.request_uri": "/2016-08-15/proxy/svc/fn/a%20b/c?x=1&y=%20",
        "wsgi.url_scheme": "http",
        "body": "4",
        "context": "req-1",
    }


async def test_the_scheme_is_that_of_the_request(stage: Any) -> None:
    actor = await stage.start("http")
    for scheme in ("https", "http"):
        reply = await actor.invoke(b"", http_params={**PARAMS, "scheme": scheme})
        assert f"wsgi.url_scheme={scheme}" in reply.payload.decode().splitlines()


@pytest.mark.parametrize(
    ("handler", "body"),
    [
        ("index.text", "你好 raw".encode()),
        ("index.plain_bytes", b"as it is"),
        ("index.writes", b"written returned"),
        ("index.app", b"POST"),
    ],
)
async def test_bodies(stage: Any, handler: str, body: bytes) -> None:
    actor = await stage.start("http", handler)
    reply = await actor.invoke(http_params=PARAMS)
    assert (reply.ok, reply.payload) == (True, body)


@pytest.mark.parametrize("handler", ["index.wrong", "index.wrong_whole"])
async def test_invalid_bodies_fail_the_call(stage: Any, handler: str) -> None:
    body = await (await stage.start("http", handler)).error(http_params=PARAMS)
    assert body["errorMessage"] == "invalid response type"


async def test_start_response_was_not_called(stage: Any) -> None:
    reply = await (await stage.start("http", "index.silent")).invoke(http_params=PARAMS)
    assert (reply.ok, reply.payload, reply.http) == (True, b"", {"status": 200, "headers": []})


async def test_an_exception_discards_the_headers(stage: Any) -> None:
    actor = await stage.start("http", "index.raises")
    reply = await actor.invoke(http_params=PARAMS)
    assert (reply.ok, reply.http) == (False, None)
