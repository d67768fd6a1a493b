"""Extracts from a request's headers what its signature, its permission and the invoke path need, in one pass.

Used by `fc.app`, `fc.web.http_functions` and `fc.exec.endpoint`. Validates nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from sesame.fc.auth import signature
from sesame.http.request import Request


class RequestHead(msgspec.Struct, frozen=True):
    """The headers that signature and invoke path need, verbatim.

    Absent headers are empty, except where absence matters: `authorization` and `date` are then None.
    """

    method: bytes
    raw_path: bytes
    fc_headers: list[tuple[bytes, bytes]]
    # The part of them that is signed.
    canonical_headers: bytes
    authorization: bytes | None = None
    date: bytes | None = None
    fc_date: bytes | None = None
    content_md5: bytes = b""
    content_type: bytes = b""
    account_id: bytes = b""
    security_token: bytes = b""
    invocation_type: bytes = b""
    log_type: bytes = b""
    origin: bytes = b""
    trace_id: bytes = b""
    user_agent: bytes = b""
    traceparent: bytes = b""
    # All headers as sent, with names in lower case.
    headers: Sequence[tuple[bytes, bytes]] = ()
    # Cache of what was derived from this head alone, for requests that repeat it.
    memory: dict[str, Any] = msgspec.field(default_factory=dict)


def read_request(method: str, raw_path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> RequestHead:
    """Sorts out the headers, whose names must be in lower case."""
    sent = dict(headers).get
    fc_headers = [header for header in headers if header[0].startswith(signature.FC_HEADER_PREFIX)]
    return RequestHead(
        method=method.encode("ascii"),
        raw_path=raw_path,
        fc_headers=fc_headers,
        canonical_headers=signature.canonical(fc_headers),
        authorization=sent(b"authorization"),
        date=sent(b"date"),
        fc_date=sent(b"x-fc-date"),
        content_md5=sent(b"content-md5", b""),
        content_type=sent(b"content-type", b""),
        account_id=sent(b"x-fc-account-id", b""),
        security_token=sent(b"x-fc-security-token", b""),
        invocation_type=sent(b"x-fc-invocation-type", b""),
        log_type=sent(b"x-fc-log-type", b""),
        origin=sent(b"origin", b""),
        trace_id=sent(b"x-fc-trace-id", b""),
        user_agent=sent(b"user-agent", b""),
        traceparent=sent(b"traceparent", b""),
        headers=headers,
    )


def head_of(request: Request) -> RequestHead:
    """The head of a request; parsed once for all requests of a connection that repeat it."""
    head: RequestHead | None = request.derived
    if head is None:
        head = request.derived = read_request(request.method, request.raw_path, request.headers)
    return head
