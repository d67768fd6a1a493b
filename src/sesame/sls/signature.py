"""The strings that the Log Service's signatures V1 and V4 cover (reference/companions.md §4.1, §4.2).

Called by `sls.auth`. Pure functions of a `Request`; `identity.signatures` computes the signatures.
"""

import hashlib
from urllib.parse import quote

from sesame.identity.signatures import Scope
from sesame.sls.request import Request

_UNSIGNED_PREFIX = "x-log-meta-"


def string_to_sign_v1(request: Request) -> bytes:
    """`x-log-date` replaces the date if it is sent, and is not signed as a header."""
    date = request.header("x-log-date") or request.header("date")
    head = [request.method, request.header("content-md5"), request.header("content-type"), date]
    lines = (f"{name}:{value}\n" for name, value in _log_headers(request) if name != "x-log-date")
    query = "&".join(f"{name}={value}" for name, value in sorted(request.query.items()))
    return ("\n".join(head) + "\n" + "".join(lines) + request.path + ("?" + query if query else "")).encode()


def strings_to_sign_v4(request: Request, scope: Scope) -> list[bytes]:
    """The strings that the client may have signed: SDKs differ in Host's port and in encoding the path."""
    paths = dict.fromkeys((request.path, request.raw_path))
    hosts = dict.fromkeys((request.host, request.host + request.port))
    return [_string_to_sign_v4(request, scope, path, host) for path in paths for host in hosts]


def _string_to_sign_v4(request: Request, scope: Scope, path: str, host: str) -> bytes:
    headers = dict(_log_headers(request)) | {"host": host}
    if content_type := request.header("content-type"):
        headers["content-type"] = content_type
    query = sorted((name, quote(value, safe="~")) for name, value in request.query.items())
    canonical = "\n".join(
        (
            request.method,
            path,
            "&".join(f"{name}={value}" if value else name for name, value in query),
            "".join(f"{name}:{value}\n" for name, value in sorted(headers.items())),
            ";".join(sorted(headers)),
            request.header("x-log-content-sha256"),
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"SLS4-HMAC-SHA256\n{request.header('x-log-date')}\n{scope}\n{digest}".encode()


def _log_headers(request: Request) -> list[tuple[str, str]]:
    """The headers that both versions sign, sorted by name."""
    return sorted(
        (name, value)
        for name, value in request.headers.items()
        if (name.startswith("x-log-") and not name.startswith(_UNSIGNED_PREFIX)) or name.startswith("x-acs-")
    )
