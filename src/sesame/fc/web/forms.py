"""Parameters in queries and forms (`application/x-www-form-urlencoded`), and requests whose form was changed.

Used by `fc.web.claims` and `fc.web.admission`. Unchanged parts stay as the client wrote them.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, cast
from urllib.parse import quote, unquote_plus

from sesame.fc.refusals import AccessDenied
from sesame.http.interface import BodyTooLarge, Exchange
from sesame.http.request import Request

_FORM = b"application/x-www-form-urlencoded"
_LENGTH, _ENCODING = b"content-length", b"transfer-encoding"
_CHARSETS = frozenset({b"", b"utf-8", b"utf8", b"us-ascii"})


def is_form(request: Request) -> bool:
    return _kinds(request) == [_FORM]


def require_no_other_form(request: Request) -> None:
    """Raises `AccessDenied` for a body that a function may interpret as a form although it is not parsed here.

    Some functions accept a form without a type; some decompress forms, or decode them in the charset they name.
    """
    kinds = _kinds(request)
    if kinds != [_FORM] and (any(b"form" in kind for kind in kinds) or (not any(kinds) and _has_body(request))):
        found = b", ".join(kinds).decode("latin-1")
        raise AccessDenied(
            f"claims of tokens are passed in forms here: expected the Content-Type '{_FORM.decode()}' once, found "
            f"'{found}'"
        )
    if kinds == [_FORM]:
        _require_plain(request)


def _require_plain(request: Request) -> None:
    for name, coding in request.headers:
        if name == b"content-encoding" and coding.lower() not in (b"", b"identity"):
            raise AccessDenied(
                "claims of tokens are passed in forms here: expected a form without Content-Encoding, found "
                f"'{coding.decode('latin-1')}'"
            )
    options = (request.header(b"content-type") or b"").lower().split(b";")[1:]
    for name, _mark, value in (option.partition(b"=") for option in options):
        charset = value.strip().strip(b'"')
        if name.strip() == b"charset" and charset not in _CHARSETS:
            raise AccessDenied(
                f"claims of tokens are passed in forms here: expected the charset 'utf-8', found "
                f"'{charset.decode('latin-1')}'"
            )


def _has_body(request: Request) -> bool:
    return request.header(_ENCODING) is not None or (request.header(_LENGTH) or b"0").strip(b"0") != b""


def values(encoded: bytes, name: str) -> list[str]:
    """The values of the parameter of this name, in order."""
    pairs = (part.partition(b"=") for part in encoded.split(b"&"))
    return [_decoded(value) for sent, _mark, value in pairs if _decoded(sent) == name]


def replaced(encoded: bytes, names: Collection[str], pairs: list[tuple[str, str]]) -> bytes:
    """Removes the parameters of these names, and appends these pairs.

    Some functions also split parameters at ";", as the libraries of Python 2.7 and 3.6 do.
    """
    kept = [part for part in map(partial(_without, names), encoded.split(b"&")) if part]
    kept += [f"{quote(name, safe='')}={quote(value, safe='', errors='replace')}".encode() for name, value in pairs]
    return b"&".join(kept)


def _without(names: Collection[str], part: bytes) -> bytes:
    """The part as it was sent, without anything a function may interpret as a parameter of these names."""
    if _decoded(part.partition(b"=")[0]) in names:
        return b""
    if b";" not in part:
        return part
    return b";".join(piece for piece in part.split(b";") if _decoded(piece.partition(b"=")[0]) not in names)


class Form:
    """A request's body, read on first use. `body` is None before that, and if it is not a form."""

    def __init__(self, read: Callable[[], Awaitable[bytes]] | None) -> None:
        self._read = read
        self.body: bytes | None = None

    async def get(self) -> bytes | None:
        if self.body is None and self._read is not None:
            self.body = await self._read()
        return self.body


def with_body(exchange: Exchange, body: bytes) -> Exchange:
    """The same exchange with another body, instead of the one that was read."""
    return cast(Exchange, _Rewritten(exchange, body))


def _kinds(request: Request) -> list[bytes]:
    return [value.partition(b";")[0].strip().lower() for name, value in request.headers if name == b"content-type"]


def _decoded(part: bytes) -> str:
    return (
        unquote_plus(part.decode("latin-1"), errors="surrogateescape") if b"%" in part or b"+" in part else _text(part)
    )


def _text(part: bytes) -> str:
    return part.decode("utf-8", "surrogateescape")


class _Rewritten:
    """Wraps an `Exchange`, and replaces everything that concerns the request's body."""

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body = body
        self._given = False
        self.request = _with_length(exchange.request, len(body))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    @property
    def body_read(self) -> bool:
        return True

    def body_if_here(self) -> bytes:
        self._given = True
        return self._body

    async def receive(self) -> bytes:
        piece = b"" if self._given else self._body
        self._given = True
        return piece

    async def read_body(self, limit_bytes: int) -> bytes:
        if len(self._body) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        self._given = True
        return self._body


def _with_length(request: Request, length: int) -> Request:
    """A new head for an already verified request. No digest is recorded, because none was signed for this body."""
    headers = [header for header in request.headers if header[0] not in (_LENGTH, _ENCODING)]
    headers.append((_LENGTH, b"%d" % length))
    addresses = (request.scheme, request.client, request.server)
    return Request(request.method, (request.raw_path, request.query), tuple(headers), request.http_version, addresses)
