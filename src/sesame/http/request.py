"""The head of one HTTP request, parsed once and shared by all requests of a connection that repeat it.

Created by `http.connection`; read by the endpoints.
"""

import re
from typing import Any
from urllib.parse import unquote

ASTERISK = b"*"
# RFC 3986 §3: user information before the `@` is ignored, as is a fragment, which concerns only the client.
_ABSOLUTE = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#@]+)(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?\Z", re.DOTALL
)
_AUTHORITY = re.compile(rb"((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+))(?::([0-9]{0,5}))?\Z")
_PORT_MAX = 65535


class BadTarget(ValueError):
    """The request target has none of the forms of RFC 9112 §3.2."""


class Request:
    """Immutable, except for `derived`.

    `raw_path` and `query` are as sent, `headers` have names in lower case, `client` and `server` are address and port.
    `derived` belongs to the endpoint: what it derived from this head, for later requests with the same head.
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
        """The decoded path."""
        if self._path is None:
            path = self.raw_path.decode("latin-1")
            self._path = unquote(path) if "%" in path else path
        return self._path

    def header(self, name: bytes) -> bytes | None:
        """The first header of this name, which must be in lower case."""
        for sent, value in self.headers:
            if sent == name:
                return value
        return None


# (scheme, client, server)
Addresses = tuple[str, tuple[str, int], tuple[str, int]]


def split_target(target: bytes) -> tuple[tuple[bytes, bytes], bytes]:
    """The raw path and query, and the authority if the target is in absolute form, else b"".

    Raises `BadTarget`.
    """
    if target.startswith(b"/"):
        raw_path, _mark, query = target.partition(b"#")[0].partition(b"?")
        return (raw_path, query), b""
    if target == ASTERISK:
        return (ASTERISK, b""), b""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise BadTarget("neither a path nor a URL")
    sent, path, query = absolute.groups()
    authority = _AUTHORITY.match(sent)
    if authority is None:
        raise BadTarget("its host is none")
    host, port = authority.groups()
    if port and int(port) > _PORT_MAX:
        raise BadTarget(f"its port is beyond {_PORT_MAX}")
    return (path or b"/", query or b""), host + (b":" + port if port else b"")
