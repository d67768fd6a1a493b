"""Checks of RFC 9110, RFC 9112 and RFC 6455 on a request's head that the parser does not make; pure functions.

Used by `http.connection`, once for each parsed head.
"""

import binascii

from sesame.http.interface import Reason, Refusal
from sesame.http.request import ASTERISK, Request

Header = tuple[bytes, bytes]

WEBSOCKET_KEY_CHARS, WEBSOCKET_KEY_BYTES = 24, 16
# The digits of 2**63 - 1, the largest body that the parser can count.
LENGTH_DIGITS_MAX = 19
# Limits of the library `websockets`.
WEBSOCKET_HEADERS_MAX = 100
WEBSOCKET_LINE_BYTES = 8000

_LOOKED_AT = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_VERSIONS = ("1.1", "1.0")
# Characters that occur in no reg-name, IP literal or port (RFC 3986 §3.2).
_NOT_IN_HOST = frozenset(b' \t"#/<>?@\\^`{|}')


class Facts:
    """`headers` are the request's headers, with the effective Host; `body_bytes` is None for a chunked body."""

    __slots__ = ("body_bytes", "expects_continue", "headers")

    def __init__(self, headers: list[Header], body_bytes: int | None, *, expects_continue: bool) -> None:
        self.headers = headers
        self.body_bytes = body_bytes
        self.expects_continue = expects_continue


def examine(
    method: str, target: tuple[bytes, bytes], authority: bytes, version: str, headers: list[Header]
) -> Facts | Refusal:
    """`headers` have names in lower case; `authority` is that of a target in absolute form."""
    if version not in _VERSIONS:
        return Refusal(Reason.VERSION, f"HTTP/{version} is not served here: use HTTP/1.1")
    if method == "CONNECT":
        return Refusal(Reason.NOT_IMPLEMENTED, "CONNECT is not served here: this server is no proxy")
    if target[0] == ASTERISK and method != "OPTIONS":
        return Refusal(Reason.MALFORMED, f"the request target '*' goes with OPTIONS only, not with {method}")
    hosts, expects_continue, body_bytes = 0, False, 0
    chunked = False
    for name, value in headers:
        if name not in _LOOKED_AT:
            continue
        if name == b"host":
            hosts += 1
            if not _NOT_IN_HOST.isdisjoint(value):
                return Refusal(Reason.MALFORMED, "the Host header is no host")
        elif name == b"content-length":
            if len(value) > LENGTH_DIGITS_MAX:
                return Refusal(Reason.MALFORMED, f"Content-Length has more than {LENGTH_DIGITS_MAX} digits")
            body_bytes = int(value)
        elif name == b"transfer-encoding":
            if version == "1.0":
                return Refusal(Reason.MALFORMED, "a request of HTTP/1.0 has no Transfer-Encoding")
            if value.lower() != b"chunked":
                return Refusal(Reason.NOT_IMPLEMENTED, "Transfer-Encoding is set to an unknown value: use 'chunked'")
            chunked = True
        elif name == b"expect" and value.lower() == b"100-continue":
            # A client of HTTP/1.0 does not know the answer 100 (RFC 9110 §10.1.1).
            expects_continue = version == "1.1"
    if hosts > 1:
        return Refusal(Reason.MALFORMED, "the request has more than one Host header")
    if hosts == 0 and version == "1.1":
        return Refusal(Reason.MALFORMED, "the request has no Host header")
    if authority:
        # The target's authority takes precedence, and Host is ignored (RFC 9112 §3.2.2).
        headers = [(b"host", authority), *(header for header in headers if header[0] != b"host")]
    return Facts(headers, None if chunked else body_bytes, expects_continue=expects_continue)


def can_be_websocket(request: Request, url_bytes: int) -> bool:
    """Whether this is a handshake as in RFC 6455 §4.2.1, within the limits of the library that continues from here."""
    sent = dict(request.headers)
    longest = max((len(name) + len(value) for name, value in request.headers), default=0)
    return (
        request.method == "GET"
        and request.http_version == "1.1"
        and sent.get(b"upgrade", b"").lower() == b"websocket"
        and sent.get(b"sec-websocket-version") == b"13"
        and _is_key(sent.get(b"sec-websocket-key", b""))
        and len(request.headers) <= WEBSOCKET_HEADERS_MAX
        and max(url_bytes, longest) <= WEBSOCKET_LINE_BYTES
    )


def is_handshake(request: Request) -> bool:
    """Whether a request that has been read could become a websocket on a connection to which it is replayed."""
    return request.header(b"upgrade") is not None and can_be_websocket(
        request, len(request.raw_path) + len(b"?") + len(request.query)
    )


def _is_key(key: bytes) -> bool:
    """Whether the key is 16 bytes in Base64: the library raises for anything else."""
    try:
        return (
            len(key) == WEBSOCKET_KEY_CHARS and len(binascii.a2b_base64(key, strict_mode=True)) == WEBSOCKET_KEY_BYTES
        )
    except binascii.Error:
        return False
