"""The head of one HTTP request, read once and shared by all requests of a connection that repeat it.

Made by `http.connection`; read by the endpoints.
"""

from typing import Any
from urllib.parse import unquote

import httptools

ASTERISK = b"*"


class BadTarget(ValueError):
    """The request target is none of the forms of RFC 9112 §3.2."""


class Request:
    """Never changed after it is made, save for `derived`.

    `raw_path` and `query` are as sent, `headers` have names in lower case, `client` and `server` are address and port.
    `derived` belongs to the endpoint: what it worked out from this head, for later requests with the same head.
    """

    __slots__ = (
        "_path",
        "client",
        "derived",
        "headers",
        "http_version",
        "method",
        "query",
        "raw_path",
        "scheme",
        "server",
    )

    def __init__(
        self,
        method: str,
        target: tuple[bytes, bytes],
        headers: tuple[tuple[bytes, bytes], ...],
        http_version: str,
        addresses: "Addresses",
    ) -> None:
        self.method = method
        self.raw_path, self.query = target
        self.headers = headers
        self.http_version = http_version
        self.scheme, self.client, self.server = addresses
        self.derived: Any = None
        self._path: str | None = None

    @property
    def path(self) -> str:
        """The path, decoded."""
        if self._path is None:
            path = self.raw_path.decode("latin-1")
            self._path = unquote(path) if "%" in path else path
        return self._path

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, which is in lower case."""
        for sent, value in self.headers:
            if sent == name:
                return value
        return None


# Scheme, client and server.
Addresses = tuple[str, tuple[str, int], tuple[str, int]]


def split_target(target: bytes) -> tuple[tuple[bytes, bytes], bytes]:
    """Path and query as sent, and the authority of the absolute form, b"" in the other forms.

    Raises `BadTarget`.
    """
    if target.startswith(b"/") and b"#" not in target:
        raw_path, _mark, query = target.partition(b"?")
        return (raw_path, query), b""
    if target == ASTERISK:
        return (ASTERISK, b""), b""
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserError as error:
        raise BadTarget(str(error)) from error
    authority: bytes = parsed.host or b""
    if authority and b":" in authority:
        authority = b"[%b]" % authority
    if authority and parsed.port is not None:
        authority += b":%d" % parsed.port
    if not authority and not target.startswith(b"/"):
        raise BadTarget("neither a path nor a URL")
    return (parsed.path or b"/", parsed.query or b""), authority
