"""Builds the heads of the platform's requests to a function's web server (reference/runtime.md §14).

Used by `web.channel`. Header names are the cloud's; a web request also keeps its own headers.
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote_from_bytes

import msgspec

from sesame.model.relaying import with_sender

PATHS = {
    "invoke": (b"POST", b"/invoke"),
    "initialize": (b"POST", b"/initialize"),
    "pre_freeze": (b"GET", b"/pre-freeze"),
    "pre_stop": (b"GET", b"/pre-stop"),
}
HTTP_INVOKE = b"/http-invoke"
# What a path may contain unescaped (RFC 3986 §3.3).
_IN_PATHS = "/:@!$&'()*+,;=~"
_LINE_ENDS = bytes.maketrans(b"\r\n\0", b"   ")


class Heads:
    """Holds the headers common to all requests of an instance, and caches those common to most requests."""

    def __init__(self, setup: Mapping[str, Any], port: int) -> None:
        function, service = setup["function"], setup["service"]
        self._host = b"Host: 127.0.0.1:%d\r\n" % port
        self._fixed = _lines(
            ("x-fc-function-name", function["name"]),
            ("x-fc-function-handler", function["handler"]),
            ("x-fc-function-memory", function["memory"]),
            ("x-fc-function-timeout", function["timeout"]),
            ("x-fc-function-initializer", function["initializer"]),
            ("x-fc-initialization-timeout", function["initialization_timeout"]),
            ("x-fc-region", setup["region"]),
            ("x-fc-account-id", setup["account_id"]),
            ("x-fc-service-name", service["name"]),
            ("x-fc-service-logproject", service["log_project"]),
            ("x-fc-service-logstore", service["log_store"]),
            ("x-fc-instance-lifecycle-pre-freeze-handler", setup["pre_freeze"]),
            ("x-fc-instance-lifecycle-pre-stop-handler", setup["pre_stop"]),
        )
        self._meta: Mapping[str, Any] | None = None
        self._meta_lines = b""

    def of_call(self, kind: str, request_id: str, meta: Mapping[str, Any], length: int) -> bytes:
        """The head of one of the platform's own calls: an event, the initializer or a hook."""
        method, path = PATHS[kind]
        return b"%b %b HTTP/1.1\r\n%b%bx-fc-control-path: %b\r\n%bContent-Length: %d\r\n\r\n" % (
            method, path, self._host, self._platform(request_id, meta), path,
            b"Content-Type: application/octet-stream\r\n" if method == b"POST" else b"", length,
        )  # fmt: skip

    def of_check(self, url: str) -> bytes:
        """The head of a health check, the same that runtime/custom/monitor.py sends before the first call."""
        return b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (url.encode(), self._host)

    def of_request(
        self, request: "WebRequest", request_id: str, meta: Mapping[str, Any], *, upgrade: bytes = b""
    ) -> bytes:
        """The head of a web request, with the headers that the platform adds. `upgrade` are additional lines."""
        return b"%b%b\r\n" % (_asked(request, self._host, upgrade), self._platform(request_id, meta))

    def _platform(self, request_id: str, meta: Mapping[str, Any]) -> bytes:
        if meta is not self._meta and meta != self._meta:
            self._meta, self._meta_lines = meta, _of_meta(meta)
        return b"x-fc-request-id: %b\r\n%b%b" % (request_id.encode(), self._fixed, self._meta_lines)


# Most requests of a connection are alike. Each entry holds at most twice the bytes of a head.
_REMEMBERED_REQUESTS = 64
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_OURS = frozenset({b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"expect"})


class WebRequest(msgspec.Struct, frozen=True):
    """A web request. `length` is the size of its body in bytes; None if the body is chunked."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None


@lru_cache(_REMEMBERED_REQUESTS)
def _asked(request: WebRequest, host: bytes, upgrade: bytes) -> bytes:
    """The head's lines except the platform's. `host` is used if the request names no host."""
    has_host = any(name == b"host" for name, _value in request.headers)
    body = b"Content-Length: %d\r\n" % request.length if request.length is not None else _CHUNKED
    if request.length == 0 and request.method in (b"GET", b"HEAD"):
        body = b""
    return b"%b %b HTTP/1.1\r\n%b%b%bx-fc-control-path: %b\r\n" % (
        request.method, request.target, b"" if has_host else host,
        b"".join([b"%b: %b\r\n" % header for header in request.headers if header[0] not in _OURS]),
        upgrade or body, HTTP_INVOKE,
    )  # fmt: skip


def web_request_of(params: Mapping[str, Any], length: int) -> WebRequest:
    """Restores a web request that was stored for an asynchronous call (docs/wire-protocol.md)."""
    path = params["raw_path"].encode("latin-1") if "raw_path" in params else params["path"].encode()
    query = params["query"].encode("latin-1")
    target = quote_from_bytes(path, _IN_PATHS).encode() + (b"?" + query if query else b"")
    kept = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in params["headers"]]
    headers = with_sender(kept, params.get("client_ip") or "", params.get("scheme") or "http")
    return WebRequest(params["method"].encode("latin-1"), target, tuple(headers), length)


def _of_meta(meta: Mapping[str, Any]) -> bytes:
    credentials, tracing = meta["credentials"], meta["tracing"] or {}
    baggages = tracing.get("span_baggages")
    return _lines(
        ("x-fc-qualifier", meta["qualifier"]),
        ("x-fc-version-id", meta["version_id"]),
        ("x-fc-retry-count", meta["retry_count"]),
        ("x-fc-access-key-id", credentials["access_key_id"]),
        ("x-fc-access-key-secret", credentials["access_key_secret"]),
        ("x-fc-security-token", credentials["security_token"]),
        ("x-fc-tracing-opentracing-span-context", tracing.get("span_context") or ""),
        (
            "x-fc-tracing-opentracing-span-baggages",
            base64.b64encode(msgspec.json.encode(baggages)).decode() if baggages else "",
        ),
        ("x-fc-tracing-jaeger-endpoint", tracing.get("jaeger_endpoint") or ""),
    )


def _lines(*headers: tuple[str, object]) -> bytes:
    """Formats headers, omitting empty ones. Line ends in values are replaced: callers choose names and handlers."""
    return b"".join(
        b"%b: %b\r\n" % (name.encode(), str(value).encode().translate(_LINE_ENDS))
        for name, value in headers
        if value != ""
    )
