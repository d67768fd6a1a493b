"""Builds the head of a function's response to a web request: which headers are sent, and which are reserved.

Used by `web.http_functions` for whole responses and by `web.streaming` for streamed ones.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from sesame.fc.headers import CONTENT_LENGTH, Headers
from sesame.fc.refusals import ApiError
from sesame.model.relaying import named_by_connection
from sesame.model.stream import Headers as AnyHeaders

HEADERS_BYTES_MAX = 8192
ATTACHMENT = (b"Content-Disposition", b"attachment")
# Functions cannot set headers about the connection or reserved for the platform (reference/runtime.md §9).
_NOT_PASSED_BACK = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CORS = "access-control-"
_NOT_MODIFIED = 304
# Such an answer has no Content-Length, not even to HEAD (RFC 9110, 8.6).
_NO_CONTENT = 204


# Most responses of a function have the same head. Each entry takes at most 64 KiB (`sandbox.web.connection`).
_REMEMBERED_HEADS = 64


class ResponseRules(msgspec.Struct, frozen=True):
    """`attachment`: browsers save the response instead of showing it. `streamed`: it may declare its body's length.

    `own_cors`: the function itself says which pages may read the response; else the platform does.
    """

    method: str
    attachment: bool
    streamed: bool = False
    own_cors: bool = True


def response_head(said: Mapping[str, Any] | None, rules: ResponseRules) -> tuple[int, Headers]:
    """The function's status and headers, without those that only the platform sets.

    `said` holds the function's status and headers, or None. An answer without a body may declare the length that a
    GET's body would have (RFC 9110 §8.6). Raises an error with status 502 if the response cannot be sent.
    """
    params: Mapping[str, Any] = said or {"status": 200, "headers": []}
    status, headers = params.get("status"), params.get("headers")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise _bad(f"the status {repr(status)[:64]} is not one of 200 to 599")
    if not isinstance(headers, list):
        raise _bad("its headers are no list")
    found: Headers = [ATTACHMENT] if rules.attachment else []
    length: Headers = []
    tells_length = status == _NOT_MODIFIED or ((rules.streamed or rules.method == "HEAD") and status != _NO_CONTENT)
    hop = _NOT_PASSED_BACK | _hop_by_hop(headers)
    for header in headers:
        if not _is_pair(header):
            raise _bad("a header is no pair of name and value")
        name, value = header
        low = name.lower()
        if low == "content-length" and tells_length:
            if value.isascii() and value.isdigit():
                length = [(CONTENT_LENGTH, value.encode())]
            continue
        if low in hop or low.startswith("x-fc-") or (rules.attachment and low == "content-disposition"):
            continue
        if not rules.own_cors and low.startswith(_CORS):
            continue
        if not _NAME.match(name) or _NO_VALUE.search(value):
            raise _bad(f"the header {name[:64]!r} has characters that are not allowed in headers")
        found.append((name.encode("ascii"), _wire(value)))
    size = sum(len(name) + len(value) for name, value in found)
    if size > HEADERS_BYTES_MAX:
        raise _bad(f"its headers have {size} bytes, more than the {HEADERS_BYTES_MAX} that are allowed")
    return status, [*found, *length]


@lru_cache(_REMEMBERED_HEADS)
def relayed_head(status: int, headers: AnyHeaders, rules: ResponseRules) -> tuple[int, Sequence[tuple[bytes, bytes]]]:
    """Like `response_head`, for a head sent by a function's web server; `headers` is a tuple."""
    pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
    status, sent = response_head({"status": status, "headers": pairs}, rules)
    return status, tuple(sent)


def _is_pair(header: Any) -> bool:
    return isinstance(header, list) and len(header) == 2 and all(isinstance(text, str) for text in header)


def _hop_by_hop(headers: list[Any]) -> frozenset[str]:
    """The headers named by the function's `Connection` header. Malformed headers are reported elsewhere."""
    connection = [
        (b"connection", header[1].encode("utf-8", "replace"))
        for header in headers
        if _is_pair(header) and header[0].lower() == "connection"
    ]
    return frozenset(name.decode("utf-8", "replace") for name in named_by_connection(connection))


def _wire(value: str) -> bytes:
    """WSGI passes bytes as Latin-1 text; text outside Latin-1 is sent in UTF-8."""
    value = value.strip(" \t")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace")


def _bad(what: str) -> ApiError:
    return ApiError(502, "BadResponse", f"the function's response cannot be sent: {what}")
