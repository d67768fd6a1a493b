"""Parses a request for a local HTTP function, as in `sesame invoke --http 'GET /path?query'`; formats the response.

Used by `sesame invoke`. The function gets the same as from an HTTP trigger.
"""

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import click

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
HOST = "localhost"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def params(request: str, headers: Sequence[str], body: bytes) -> dict[str, object]:
    """The parameters of the call (docs/wire-protocol.md). Raises a usage error for an invalid request."""
    method, _, uri = request.strip().partition(" ")
    method, uri = (method, uri.strip()) if uri else ("GET", method)
    if method.upper() not in METHODS or not uri.startswith("/") or re.search(r"[\s#]", uri):
        raise click.UsageError(
            f"--http '{request[:80]}': expected a method and a path, as 'GET /path?query'; "
            f"methods are {', '.join(METHODS)}"
        )
    raw, _, query = uri.partition("?")
    path = unquote_to_bytes(raw)
    try:
        shown: dict[str, object] = {"path": path.decode()}
    except UnicodeDecodeError:
        # Bytes that are not UTF-8 reach the function unchanged.
        shown = {"path": path.decode("utf-8", "replace"), "raw_path": path.decode("latin-1")}
    given = [_header(each) for each in headers]
    names = {name for name, _value in given}
    if "host" not in names:
        given.insert(0, ["host", HOST])
    if body and "content-length" not in names:
        given.append(["content-length", str(len(body))])
    return {
        "method": method.upper(),
        **shown,
        "query": query,
        "request_uri": uri,
        "client_ip": "127.0.0.1",
        "scheme": "http",
        "headers": [*given, ["x-fc-base-path", "/"]],
    }


def head_of(answered: dict[str, Any] | None) -> Iterator[str]:
    """The lines of the response that precede its body."""
    found = answered or {"status": 200, "headers": []}
    try:
        phrase = HTTPStatus(found["status"]).phrase
    except ValueError:
        phrase = ""
    yield f"HTTP {found['status']} {phrase}".rstrip()
    for name, value in found["headers"]:
        yield f"{name}: {value}"


def _header(text: str) -> list[str]:
    name, colon, value = text.partition(":")
    if not colon or not _NAME.match(name) or _NO_VALUE.search(value):
        raise click.UsageError(f"--header '{text[:80]}': expected 'Name: value'")
    return [name.lower(), value.strip()]
