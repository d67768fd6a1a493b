"""Creates and verifies links that download a function's code with a plain GET.

Called by the routes of functions (`url`) and by the route of the links (`package`). Stateless: a link contains all it
needs, signed.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import parse_qs, urlencode

from sesame.fc.refusals import AccessDenied, InvalidArgument
from sesame.model.function import Package
from sesame.model.host_and_port import bracketed, text_of

PATH_PREFIX = "/sesame/code/"
VALID_S = 30 * 60


def secret_from(access_key_secret: str) -> bytes:
    """Derives the key for links from the account's secret, so that links survive a restart but not a change of key."""
    return hmac.digest(access_key_secret.encode(), b"sesame code links", sha256)


class CodeLinks:
    """Links to packages, each valid for `VALID_S` seconds."""

    def __init__(self, secret: bytes, wall_clock: Callable[[], float]) -> None:
        self._secret = secret
        self._wall_clock = wall_clock

    def url(self, base: str, package: Package) -> str:
        """`base` is the `http://host:port` under which the caller reached this server."""
        expires = str(int(self._wall_clock()) + VALID_S)
        query = {
            "checksum": package.checksum,
            "size": str(package.size_bytes),
            "expires": expires,
            "signature": self._signature(package, expires),
        }
        return f"{base}{PATH_PREFIX}{package.sha256}.zip?{urlencode(query)}"

    def package(self, name: str, query: str) -> Package:
        """The package that a link refers to. Raises `AccessDenied` if the link is forged, modified or expired."""
        items = {key: values[0] for key, values in parse_qs(query).items()}
        size, expires = items.get("size", ""), items.get("expires", "")
        if not (size.isascii() and size.isdigit() and expires.isascii() and expires.isdigit()):
            raise InvalidArgument(
                "this is no link to code: fetch one with GetFunctionCode and use its url as it is, query included"
            )
        package = Package(name.removesuffix(".zip"), items.get("checksum", ""), int(size[:20]))
        signature = items.get("signature", "")
        if not hmac.compare_digest(self._signature(package, expires).encode(), signature.encode()):
            raise AccessDenied("this link to code was changed, or made by another server: fetch a new one")
        if int(expires) < self._wall_clock():
            raise AccessDenied(f"this link to code has expired: links are valid for {VALID_S // 60} minutes")
        return package

    def _signature(self, package: Package, expires: str) -> str:
        text = "\n".join((package.sha256, package.checksum, str(package.size_bytes), expires))
        return hmac.new(self._secret, text.encode(), sha256).hexdigest()


def base_url(scheme: str, server: tuple[str, int | None] | None, host_header: str) -> str:
    """The URL under which the caller can reach this server again.

    Taken from the Host header if it includes a port, which some clients omit (reference/api.md §0, rule 8); otherwise
    from the socket address that received the request.
    """
    host, colon, port = host_header.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and _is_host(host):
        return f"{scheme}://{host_header}"
    address, number = server if server is not None else ("127.0.0.1", None)
    return f"{scheme}://{bracketed(address) if number is None else text_of(address, number)}"


def _is_host(host: str) -> bool:
    name = host.removeprefix("[").removesuffix("]").replace(":", "") if host.startswith("[") else host
    return name.isascii() and all(char.isalnum() or char in "-._" for char in name)
