"""Lets web pages of any origin call the API: answers preflights, and names a page's origin in what it gets.

Called by `fc.app` for requests that say an origin, as browsers' do (reference/api.md §3.3).
Never vouches for a caller: whoever calls the API signs, and no cookie counts. Never speaks for HTTP functions.
"""

from starlette.types import Message, Scope, Send

from sesame.fc.headers import Headers

MAX_AGE_S = 3600

_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


def is_preflight(scope: Scope) -> bool:
    """A browser's question whether it may call: it is not signed, and asks for nothing else."""
    return scope["method"] == "OPTIONS" and any(name == _METHOD for name, _value in scope["headers"])


async def answer_preflight(scope: Scope, own: Headers, send: Send) -> None:
    """Allows what is asked for. `own` are the headers of every answer; `send` is one that names the origin."""
    asked = dict(scope["headers"])
    allowed: Headers = [(b"Access-Control-Allow-Methods", asked[_METHOD])]
    if _HEADERS in asked:
        allowed.append((b"Access-Control-Allow-Headers", asked[_HEADERS]))
    allowed.append((b"Access-Control-Max-Age", b"%d" % MAX_AGE_S))
    await send({"type": "http.response.start", "status": 204, "headers": [*own, *allowed]})
    await send({"type": "http.response.body", "body": b""})


def naming(origin: bytes, send: Send) -> Send:
    """A `send` whose answers a page of this origin may read."""
    named = ((b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin"))

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *named]
        await send(message)

    return send_named
