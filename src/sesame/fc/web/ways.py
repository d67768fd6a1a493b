"""Resolves the ways to HTTP functions: below `/2016-08-15/proxy/`, on custom domains, and on local URLs.

Called by `fc.app`, which then has `web.http_functions` serve the request. Does not check that the function exists.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import msgspec

from sesame.control import rewrites
from sesame.control.http_triggers import HttpTriggers
from sesame.fc import targets
from sesame.fc.auth.request_head import head_of
from sesame.fc.cors import is_preflight
from sesame.fc.refusals import AccessDenied, ApiError, InvalidArgument, PathNotSupported
from sesame.fc.web import domain_paths
from sesame.fc.web.certificates import served_over
from sesame.fc.web.local_hosts import local_labels
from sesame.fc.web.response_heads import HEADERS_BYTES_MAX
from sesame.http.request import Request
from sesame.model import limits
from sesame.model.cors_rules import NONE, CorsRules
from sesame.model.domain import CustomDomain
from sesame.model.invocation import Target
from sesame.model.records import Record

URL_BYTES_MAX = 4096

ANONYMOUS = "anonymous"
# Key in the memory of a head.
_PROXY_WAY = "proxy_way"
# Characters that would end a request target or its line.
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")


class DomainAuth(msgspec.Struct, frozen=True):
    """What a custom domain requires of callers. `path` is the decoded path as requested, before rewriting."""

    domain: str
    auth_type: str
    auth_info: str | dict[str, Any]
    path: str


class Way(msgspec.Struct, frozen=True):
    """The function that a request is for, and the URL that it sees. `path` is decoded, the others are not.

    If claims of a token are passed to the function (`fc.web.claims`): `given` are the headers with claims, `withheld`
    the names of headers that are not accepted from callers (`control.jwt_auth.header_key`), and `asked_query` replaces
    the query that was requested. `cors` are the rules of a domain, and then of the function's trigger where that has
    none.
    """

    target: Target
    path: str
    raw_path: bytes
    query: bytes
    base_path: str
    attachment: bool
    on_domain: bool = False
    asks: DomainAuth | None = None
    given: tuple[tuple[bytes, bytes], ...] = ()
    withheld: frozenset[str] = frozenset()
    asked_query: bytes | None = None
    cors: CorsRules = NONE


def proxy_way(request: Request) -> Way:
    """`/2016-08-15/proxy/{service[.qualifier]}/{function}/{path…}`; raises `PathNotSupported` for shorter paths."""
    memory = head_of(request).memory
    way: Way | None = memory.get(_PROXY_WAY)
    if way is None:
        way = memory[_PROXY_WAY] = _read_proxy_way(request)
    return way


def _read_proxy_way(request: Request) -> Way:
    _check_size(request)
    parts = request.raw_path.split(b"/", 5)
    if len(parts) < 5 or not parts[3] or not parts[4]:
        raise PathNotSupported(request.method, request.path)
    service, qualifier = targets.qualified(targets.segment(parts[3]))
    return Way(
        target=Target(service, qualifier, targets.segment(parts[4])),
        raw_path=b"/" + (parts[5] if len(parts) > 5 else b""),
        path="/" + (unquote_to_bytes(parts[5]).decode("utf-8", "surrogateescape") if len(parts) > 5 else ""),
        query=request.query,
        base_path=b"/".join(parts[:5]).decode("latin-1"),
        attachment=True,
    )


def domain_of(find: Callable[[str], Record | None], request: Request) -> CustomDomain | None:
    """The custom domain in the request's Host header; None if there is none."""
    # A trailing dot denotes the same, fully qualified name (RFC 1034 §3.1).
    host = host_of(request).removesuffix(".")
    record = find(host) if host else None
    return None if record is None else record.document


def host_of(request: Request) -> str:
    """The Host header without its port; "" if there is none."""
    for name, value in request.headers:
        if name == b"host":
            host, colon, port = value.decode("latin-1").rpartition(":")
            return host if colon and (port.isdigit() or not port) else value.decode("latin-1")
    return ""


def local_target(triggers: HttpTriggers, request: Request) -> Target | None:
    """The function of a request to its local URL (`fc.web.local_hosts`); None for other hosts.

    Any host of three labels counts, so that the error can name the function that has no HTTP trigger there.
    """
    labels = local_labels(host_of(request))
    if labels is None:
        return None
    found = triggers.at(labels)
    return Target(labels[1], limits.LATEST, labels[0]) if found is None and len(labels) == 2 else found


def local_way(target: Target, request: Request) -> Way:
    """The way to a function on its local URL: at the root of its own host, as on a custom domain."""
    _check_size(request)
    path = unquote_to_bytes(request.raw_path).decode("utf-8", "surrogateescape")
    return Way(
        target=target, path=path, raw_path=request.raw_path, query=request.query, base_path="/", attachment=False
    )


async def domain_way(domain: CustomDomain, cors: CorsRules, request: Request) -> Way:
    """Raises `AccessDenied` if the domain does not serve the protocol, `NotFound` for a path without a route,
    `InvalidArgument` for an oversized URL or headers, and an error with status 405 for a method that is not allowed.
    """
    _check_size(request)
    if not served_over(request.scheme, domain):
        raise AccessDenied(
            f"domain name '{domain.domain_name}' is not served over {request.scheme.upper()}: its protocol is "
            f"'{domain.protocol}'"
        )
    path = unquote_to_bytes(request.raw_path).decode("utf-8", "surrogateescape")
    route = domain_paths.route_of(domain.route_config.routes, path)
    if route is None:
        text = f"domain name '{domain.domain_name}' has no route for the path '{request.path}'"
        raise ApiError(404, "RouteNotFound", text)
    if route.methods and request.method not in route.methods and not (cors.allow_origins and is_preflight(request)):
        raise not_allowed(request.method, route.methods)
    rewritten = await rewrites.rewrite(route.rewrite_config, path)
    # A question mark encoded by the client is part of the path.
    shown, mark, query = (path, "", "") if rewritten == path else rewritten.partition("?")
    sent: bytes = request.query
    return Way(
        target=Target(route.service_name, route.qualifier or limits.LATEST, route.function_name),
        path=shown,
        raw_path=request.raw_path if shown == path else quote(shown.encode("utf-8", "surrogateescape")).encode(),
        query=b"&".join(part for part in (_query(query), sent) if part) if mark else sent,
        base_path="/",
        attachment=False,
        on_domain=True,
        cors=cors,
        asks=_asks(domain, path),
    )


def _asks(domain: CustomDomain, path: str) -> DomainAuth | None:
    config = domain.auth_config or {}
    auth_type = str(config.get("authType") or "") or ANONYMOUS
    if auth_type == ANONYMOUS:
        return None
    return DomainAuth(domain.domain_name, auth_type, config.get("authInfo") or "", path)


def _query(rewritten: str) -> bytes:
    """Escapes the query, which may contain parts of the decoded path, so that it cannot end the request line."""
    return _NOT_IN_TARGET.sub(lambda found: b"%%%02X" % found[0][0], rewritten.encode("utf-8", "surrogateescape"))


def not_allowed(method: str, methods: tuple[str, ...]) -> ApiError:
    text = f"the HTTP method '{method}' is not allowed here (allowed: {', '.join(methods)})"
    return ApiError(405, "MethodNotAllowed", text)


def _check_size(request: Request) -> None:
    url = len(request.raw_path) + len(request.query)
    if url > URL_BYTES_MAX:
        raise InvalidArgument(f"the path and query have {url} bytes, more than the {URL_BYTES_MAX} that are allowed")
    size = sum(len(name) + len(value) for name, value in request.headers)
    if size > HEADERS_BYTES_MAX:
        raise InvalidArgument(f"the headers have {size} bytes, more than the {HEADERS_BYTES_MAX} that are allowed")
