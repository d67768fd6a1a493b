"""Builds the events that HTTP triggers pass to functions without a service, and interprets the results as responses.

Both in the format of FC 3.0, for the cloud's own runtimes (reference/runtime.md §9); functions of services and custom
runtimes get the request itself. Called by `fc.web.http_functions`.
"""

import asyncio
import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sesame.model import utc

# Larger bodies and results are converted in a thread.
CONVERTED_AT_ONCE_BYTES = 64 * 1024
_TEXT_TYPES = frozenset(
    {
        "application/json", "application/ld+json", "application/xhtml+xml", "application/xml", "application/atom+xml",
        "application/javascript",
    }
)  # fmt: skip
_CONTENT_TYPE = "content-type"
_DEFAULT_TYPE = ["Content-Type", "application/json"]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an event besides the request's URL, headers and body. `at` is in Unix seconds."""

    account_id: str
    trigger_id: str
    request_id: str
    host: str
    at: float


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The request as the function shall see it. `path` is decoded, `raw_path` and `query` are as sent."""

    method: str
    path: str
    raw_path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    protocol: str
    client_ip: str


class Response(msgspec.Struct, frozen=True):
    """The meaning of a function's result. Headers are pairs of name and value."""

    status: int
    headers: list[list[str]]
    body: bytes


async def event(seen: Seen, body: bytes, origin: Origin) -> bytes:
    """The event as JSON. The body is base64-encoded unless its type is textual and it is valid UTF-8."""
    if len(body) > CONVERTED_AT_ONCE_BYTES:
        return await asyncio.to_thread(_event, seen, body, origin)
    return _event(seen, body, origin)


async def response(payload: bytes) -> Response:
    """A JSON object with a `statusCode` is a response; any other result is the body of one."""
    if len(payload) > CONVERTED_AT_ONCE_BYTES:
        return await asyncio.to_thread(_response, payload)
    return _response(payload)


def _event(seen: Seen, body: bytes, origin: Origin) -> bytes:
    headers = _joined((name.title(), value) for name, value in seen.headers)
    text = _text(body) if _is_text(headers.get("Content-Type", "")) else None
    document = {
        "version": "v1",
        "rawPath": seen.raw_path,
        "headers": headers,
        "queryParameters": _joined(parse_qsl(seen.query, keep_blank_values=True)),
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
        "requestContext": {
            "accountId": origin.account_id,
            "domainName": origin.host,
            "domainPrefix": origin.host.partition(".")[0],
            "triggerId": origin.trigger_id,
            "requestId": origin.request_id,
            "time": utc.text_of(origin.at),
            "timeEpoch": str(int(origin.at * 1000)),
            "http": {
                "method": seen.method,
                # JSON cannot contain bytes that are not text.
                "path": seen.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
                "protocol": seen.protocol,
                "sourceIp": seen.client_ip,
                "userAgent": headers.get("User-Agent", ""),
            },
        },
    }
    return msgspec.json.encode(document)


def _joined(pairs: Any) -> dict[str, str]:
    """Joins several values of one name with commas."""
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT_TYPES


def _text(body: bytes) -> str | None:
    """POLICY: a body that is not UTF-8 is sent in base64 regardless of its type, so that no byte is lost."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _response(payload: bytes) -> Response:
    document = _document(payload)
    if document is None:
        return Response(200, [_DEFAULT_TYPE], payload)
    headers = list(_headers(document.get("headers")))
    if not any(name.lower() == _CONTENT_TYPE for name, _value in headers):
        headers.append(_DEFAULT_TYPE)
    return Response(document["statusCode"], headers, _body(document))


def _document(payload: bytes) -> dict[str, Any] | None:
    if payload.lstrip()[:1] != b"{":
        return None
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    status = document.get("statusCode")
    return document if isinstance(status, int) and not isinstance(status, bool) else None


def _headers(sent: Any) -> list[list[str]]:
    """A list of values becomes several headers of one name."""
    pairs = sent.items() if isinstance(sent, dict) else ()
    return [[name, _word(each)] for name, value in pairs for each in (value if isinstance(value, list) else [value])]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _body(document: dict[str, Any]) -> bytes:
    """Decodes base64 if it is declared; returns the text itself if that fails."""
    body = document.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        return msgspec.json.encode(body)
    if document.get("isBase64Encoded") is True:
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            return body.encode()
    return body.encode("utf-8", "surrogatepass")
