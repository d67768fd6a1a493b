"""Lets web pages use HTTP functions as a `corsConfig` says: answers preflights, and names the page's origin in answers.

Called by `fc.web.http_functions`. What a function itself says of other pages is not sent then, since the two would
contradict each other.
"""

from sesame.fc.cors import is_preflight
from sesame.fc.headers import Headers
from sesame.http.interface import Exchange
from sesame.http.request import Request
from sesame.model.cors_rules import ANY, CorsRules, allows

_ORIGIN = b"origin"
_METHOD, _HEADERS = b"access-control-request-method", b"access-control-request-headers"


def is_answered(rules: CorsRules, exchange: Exchange, own: Headers) -> bool:
    """Whether the request was a preflight, which is answered here and reaches no function. `own` are the headers of
    every answer.

    The answer to any other request gets what its page's browser needs.
    """
    request = exchange.request
    origin = request.header(_ORIGIN)
    if origin is None:
        # Caches must not give this answer to a page, whose browser would miss the page's origin in it.
        exchange.add_headers(_vary(rules))
        return False
    if asks := is_preflight(request):
        exchange.send_whole(204, [*own, *_allowed(rules, origin, request), *_vary(rules)], b"", b"")
    else:
        exchange.add_headers((*_named(rules, origin), *_exposed(rules, origin), *_vary(rules)))
    return asks


def _allowed(rules: CorsRules, origin: bytes, request: Request) -> Headers:
    """Nothing where the page may not do what it asks for: its browser refuses it then."""
    method, named = request.header(_METHOD) or b"", _named(rules, origin)
    if not named or not (ANY in rules.allow_methods or method.decode("latin-1") in rules.allow_methods):
        return []
    headers = request.header(_HEADERS) if ANY in rules.allow_headers else ", ".join(rules.allow_headers).encode()
    found = [*named, (b"Access-Control-Allow-Methods", method)]
    if headers:
        found.append((b"Access-Control-Allow-Headers", headers))
    if rules.max_age:
        found.append((b"Access-Control-Max-Age", b"%d" % rules.max_age))
    return found


def _named(rules: CorsRules, origin: bytes) -> Headers:
    if not allows(rules, origin.decode("latin-1")):
        return []
    # With credentials browsers take no `*`.
    named = b"*" if ANY in rules.allow_origins and not rules.allow_credentials else origin
    credentials = [(b"Access-Control-Allow-Credentials", b"true")] if rules.allow_credentials else []
    return [(b"Access-Control-Allow-Origin", named), *credentials]


def _exposed(rules: CorsRules, origin: bytes) -> Headers:
    if not rules.expose_headers or not allows(rules, origin.decode("latin-1")):
        return []
    return [(b"Access-Control-Expose-Headers", ", ".join(rules.expose_headers).encode())]


def _vary(rules: CorsRules) -> Headers:
    """The answer depends on the origin unless every page is allowed the same."""
    same = ANY in rules.allow_origins and not rules.allow_credentials
    return [] if same else [(b"Vary", b"Origin")]
