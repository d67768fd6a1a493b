"""Reads from the headers of a request what its signature, its permission and the invoke path need, in one pass.

Used by `fc.app`, `fc.web.http_functions` and `fc.exec.endpoint`. Checks nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from sesame.fc.auth import signature
from sesame.http.request import Request


class RequestHead(msgspec.Struct, frozen=True):
    """One pass over the headers of a request: what its signature and the invoke path need, each verbatim.

    Names that were not sent are empty, except where absence counts: `authorization` and `date` are None then.
    """

    method: bytes
    raw_path: bytes
    fc_headers: list[tuple[bytes, bytes]]
    # Of those, what is signed.
    canonical_headers: bytes
    authorization: bytes | None = None
    date: bytes | None = None
    fc_date: bytes | None = None
    content_md5: bytes = b""
    content_type: bytes = b""
    content_length: bytes = b""
    account_id: bytes = b""
    security_token: bytes = b""
    invocation_type: bytes = b""
    log_type: bytes = b""
    origin: bytes = b""
    trace_id: bytes = b""
    user_agent: bytes = b""
    traceparent: bytes = b""
    # All of them, as sent; names in lower case.
    headers: Sequence[tuple[bytes, bytes]] = ()
    # What was worked out from this head alone, for the requests that repeat it.
    memory: dict[str, Any] = msgspec.field(default_factory=dict)


def read_request(method: str, raw_path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> RequestHead:
    """The request's headers, sorted out; names come in lower case."""
    sent = dict(headers).get
    fc_headers = [header for header in headers if header[0].startswith(signature.FC_HEADER_PREFIX)]
    return RequestHead(
        method.encode("ascii"),
        raw_path,
        fc_headers,
        signature.canonical(fc_headers),
        sent(b"authorization"),
        sent(b"date"),
        sent(b"x-fc-date"),
        sent(b"content-md5", b""),
        sent(b"content-type", b""),
        sent(b"content-length", b""),
        sent(b"x-fc-account-id", b""),
        sent(b"x-fc-security-token", b""),
        sent(b"x-fc-invocation-type", b""),
        sent(b"x-fc-log-type", b""),
        sent(b"origin", b""),
        sent(b"x-fc-trace-id", b""),
        sent(b"user-agent", b""),
        sent(b"traceparent", b""),
        headers,
    )


def head_of(request: Request) -> RequestHead:
    """The same of a request, read once for all requests of a connection that repeat the head."""
    head: RequestHead | None = request.derived
    if head is None:
        head = request.derived = read_request(request.method, request.raw_path, request.headers)
    return head
