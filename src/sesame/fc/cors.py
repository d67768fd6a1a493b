"""Lets web pages of any origin call the API: answers preflight requests, and allows the page's origin in answers.

Called by `fc.app` for requests with an Origin header (reference/api.md §3.3). Allowing an origin grants no permission:
every call of the API is signed, and cookies do not count. HTTP functions handle CORS themselves.
"""

from sesame.fc.headers import Headers
from sesame.http.interface import Exchange
from sesame.http.request import Request

MAX_AGE_S = 3600

_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


def is_preflight(request: Request) -> bool:
    """Whether this is a browser's question whether it may send a request; it is not signed."""
    return request.method == "OPTIONS" and request.header(_METHOD) is not None


def answer_preflight(exchange: Exchange, own: Headers) -> None:
    """Allows every requested method and header. `own` are the headers of every answer."""
    request_headers = dict(exchange.request.headers)
    allowed: Headers = [(b"Access-Control-Allow-Methods", request_headers[_METHOD])]
    if _HEADERS in request_headers:
        allowed.append((b"Access-Control-Allow-Headers", request_headers[_HEADERS]))
    allowed.append((b"Access-Control-Max-Age", b"%d" % MAX_AGE_S))
    exchange.send_whole(204, [*own, *allowed], b"", b"")


def name_origin(exchange: Exchange, origin: bytes) -> None:
    """Adds headers to the answer that let a page of this origin read it."""
    exchange.add_headers(((b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")))
