"""Status lines of HTTP/1.1, and which answers have no body (RFC 9110 §6.4.1).

Used by `http.exchange` and `http.connection`.
"""

import http

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
LINES: dict[int, bytes] = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(100, 1000)
}
OK_LINE = LINES[200]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# These never have a body, and no Content-Length.
BODILESS = frozenset({204, 304})
