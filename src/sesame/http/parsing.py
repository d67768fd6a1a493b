"""Turns the bytes of one connection into requests with httptools; no other file depends on its callbacks.

Created by `http.connection`, which it notifies of requests. Never reads a body of doubtful framing (RFC 9112 §6.3).
"""

import enum
import re
from typing import Protocol

import httptools

from sesame.http.head_checks import can_be_websocket, examine
from sesame.http.interface import Reason, Refusal
from sesame.http.limits import Limits
from sesame.http.request import Addresses, BadTarget, Request, split_target


class Phase(enum.Enum):
    """The part of a message that the next byte belongs to."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2


# Module-level names for the hot path, because looking up enum members is slow and happens for each header.
BETWEEN, HEAD, BODY = Phase.BETWEEN, Phase.HEAD, Phase.BODY
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class Refused(Exception):
    """The data is not a request that can be served here; nothing more can be fed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Finished(Exception):
    """The client declared its last request to be the last, so what follows is not a request (RFC 9112 §9.6)."""


class Listener(Protocol):
    """Receives what the parser finds; its methods must not raise."""

    def head_begins(self) -> None: ...

    def request_begins(self, request: Request, *, keep_alive: bool, expects_continue: bool) -> None: ...

    def body_arrives(self, piece: bytes) -> None: ...

    def request_ends(self) -> None: ...

    def takes_websocket(self) -> bool:
        """Whether the request that begins may become a websocket."""


class _Stop(Exception):
    """Leaves a callback of httptools; `RequestParser._problem` is the reason, or None if the client has finished."""


class RequestParser:
    def __init__(self, listener: Listener, limits: Limits, addresses: Addresses) -> None:
        self._listener = listener
        self._limits = limits
        self._addresses = addresses
        self._parser = httptools.HttpRequestParser(self)
        self.phase = BETWEEN
        # The rest of the body being read; None if it is chunked.
        self.body_left: int | None = 0
        self.request: Request | None = None
        # The length of the last request's body; None if it was chunked.
        self.body_bytes: int | None = 0
        # Whether the last request read is the connection's last one.
        self.finished = False
        # Whether it was a plain request on a connection that stays open.
        self.repeatable = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._trailer_bytes = 0
        # Whether the request line of the head being read is incomplete.
        self._in_line = True
        self._problem: Refusal | None = None
        # httptools stops at every upgrade; `_resuming` is set while a new parser is prepared for the request's body.
        self._upgrades = self._is_websocket = self._resuming = False

    def feed(self, data: bytes) -> bytes | None:
        """Passes the contents of the data to the listener. Raises `Refused` and `Finished`.

        Returns None, or, if `request` becomes a websocket, the data after its head.
        """
        if self.phase is not BODY:
            self._head_bytes += len(data)
            if self._in_line or self.phase is BETWEEN:
                data = self._with_escaped_target(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._is_websocket:
                return rest
            self._resume(rest)
            return None
        except httptools.HttpParserError as error:
            if self.finished and self.phase is BETWEEN:
                raise Finished from None
            raise Refused(
                self._problem or Refusal(Reason.MALFORMED, f"the request is not HTTP/1.1: {error}")
            ) from error
        if self.phase is HEAD and self._head_bytes > self._limits.head_bytes:
            raise Refused(
                Refusal(Reason.HEAD_TOO_LARGE, f"the head of the request exceeds {self._limits.head_bytes} bytes")
            )
        return None

    def end(self) -> None:
        """Releases the parser: nothing more is fed."""
        # The parser and this object refer to each other.
        del self._parser

    def _with_escaped_target(self, data: bytes) -> bytes:
        """Escapes non-ASCII characters in a request line at the start of the data, which curl and others send unescaped
        and the parser rejects. A request line after another request in the same data is left unchanged.
        """
        begins = self.phase is BETWEEN
        end = data.find(b"\n", len(data) - len(data.lstrip(b"\r\n")) if begins else 0)
        self._in_line = end < 0
        if data.isascii():
            return data
        end = len(data) if end < 0 else end
        return _NOT_ASCII.sub(lambda found: b"%%%02X" % ord(found[0]), data[:end]) + data[end:]

    def _resume(self, rest: bytes) -> None:
        """Ignores an upgrade (RFC 9110 §7.8): a new parser is given the body's framing, and continues with the body."""
        request = self.request
        assert request is not None
        self._upgrades = False
        self._parser = httptools.HttpRequestParser(self)
        framing = [
            b"%b: %b\r\n" % line for line in request.headers if line[0] in (b"content-length", b"transfer-encoding")
        ]
        self._resuming = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
        self._resuming = False
        if rest:
            self.feed(rest)

    # Called by httptools.

    def on_message_begin(self) -> None:
        if self._resuming:
            return
        if self.finished:
            raise _Stop
        self.phase = HEAD
        self._url = b""
        self._headers = []
        self._listener.head_begins()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is HEAD:
            # The parser keeps white space after a value, which is not part of it (RFC 9110 §5.5).
            self._headers.append((name.lower(), value.rstrip(b" \t")))
        elif not self._resuming:
            # Ignore trailers: nothing here uses them, and merging them into the headers would allow forgery.
            self._trailer_bytes += len(name) + len(value)
            if self._trailer_bytes > self._limits.trailer_bytes:
                self._stop(Reason.MALFORMED, f"the trailer exceeds {self._limits.trailer_bytes} bytes")

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        parser = self._parser
        version = parser.get_http_version()
        method = parser.get_method().decode("ascii")
        try:
            target, authority = ((self._url, b""), b"") if method == "CONNECT" else split_target(self._url)
        except BadTarget as error:
            self._stop(Reason.MALFORMED, f"the request target is not valid: {error}")
        if len(self._headers) > self._limits.header_lines:
            self._stop(Reason.HEAD_TOO_LARGE, f"the request has more than {self._limits.header_lines} headers")
        facts = examine(method, target, authority, version, self._headers)
        if isinstance(facts, Refusal):
            self._problem = facts
            raise _Stop
        self._head_bytes = self._trailer_bytes = 0
        self.phase = BODY
        self.body_left = self.body_bytes = facts.body_bytes
        self.request = request = Request(method, target, tuple(facts.headers), version, self._addresses)
        self.finished = version != "1.1" or not parser.should_keep_alive()
        self._upgrades = parser.should_upgrade()
        self.repeatable = not (self._upgrades or self.finished or facts.expects_continue)
        self._is_websocket = (
            self._upgrades and can_be_websocket(request, len(self._url)) and self._listener.takes_websocket()
        )
        if not self._is_websocket:
            self._listener.request_begins(
                request, keep_alive=not self.finished, expects_continue=facts.expects_continue
            )

    def on_body(self, body: bytes) -> None:
        if self.body_left is not None:
            self.body_left -= len(body)
        self._listener.body_arrives(body)

    def on_message_complete(self) -> None:
        if self._upgrades:
            # The parser ends an upgrade's message before its body.
            return
        self.phase = BETWEEN
        self._listener.request_ends()

    def _stop(self, reason: Reason, message: str) -> None:
        self._problem = Refusal(reason, message)
        raise _Stop
