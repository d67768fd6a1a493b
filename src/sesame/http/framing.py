"""Determines how the body of an answer is delimited (RFC 9112 §6), and which headers an endpoint may send.

Used by `http.exchange`, `http.connection` and `http.websocket`.
"""

import enum
from functools import lru_cache

import msgspec

from sesame.http.interface import Answer, Headers
from sesame.http.request import Request
from sesame.http.status import BODILESS, LINES

NO_CONTENT = 204
# Heads of answers; an endpoint's are at most a few KiB.
REMEMBERED = 64
BROKEN = Answer(500, ((b"Content-Type", b"text/plain; charset=utf-8"),), b"Internal Server Error")

_LENGTH, _CODING = b"content-length", b"transfer-encoding"


class Framing(enum.Enum):
    """NONE: no body, whatever is sent. UNTIL_CLOSE: for clients of HTTP/1.0, which do not support chunks."""

    NONE = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3


# Module-level name for the hot path: looking up an enum member costs as much as a call in CPython 3.11.
NO_BODY = Framing.NONE


class Framed(msgspec.Struct, frozen=True):
    """The framing of an answer, its announced length for LENGTH, and its header lines, without Connection."""

    framing: Framing
    length: int
    lines: bytes


def frame(request: Request, status: int, headers: Headers) -> Framed:
    """Pass repeatedly sent headers as a tuple: the result for them is cached.

    Raises `RuntimeError` for contradictory or malformed headers."""
    if isinstance(headers, tuple):
        return _known(request.method, request.http_version, status, headers)
    return _frame(request.method, request.http_version, status, headers)


def _frame(method: str, http_version: str, status: int, headers: Headers) -> Framed:
    length: int | None = None
    chunked = False
    others = []
    for header in headers:
        name, value = header[0].lower(), header[1]
        if name == _CODING:
            if value.lower() != b"chunked":
                raise RuntimeError("the Transfer-Encoding of an answer must be chunked")
            chunked = True
            continue
        if name == _LENGTH:
            if length is not None or not (value.isascii() and value.isdigit()):
                raise RuntimeError("an answer must have one Content-Length, which is a number")
            length = int(value)
            if status == NO_CONTENT:
                # A length would be meaningless (RFC 9110 §8.6).
                continue
        others.append(header)
    if chunked and length is not None:
        raise RuntimeError("an answer must not have both a Content-Length and a Transfer-Encoding")
    lines = header_lines(others)
    if status in BODILESS or method == "HEAD":
        return Framed(Framing.NONE, 0, lines)
    if length is not None:
        return Framed(Framing.LENGTH, length, lines)
    if http_version == "1.1":
        return Framed(Framing.CHUNKED, 0, lines + b"Transfer-Encoding: chunked\r\n")
    return Framed(Framing.UNTIL_CLOSE, 0, lines)


_known = lru_cache(REMEMBERED)(_frame)


def header_lines(headers: Headers) -> bytes:
    """Formats the header lines. Raises `RuntimeError` for characters that would end a line or the head."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
        raise RuntimeError("a header has characters that are not allowed in headers")
    return lines


def closing_answer(answer: Answer) -> bytes:
    """Encodes an answer after which the connection closes."""
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(answer.body)
    return b"%b%b%b\r\n%b" % (LINES[answer.status], header_lines(answer.headers), length, answer.body)
