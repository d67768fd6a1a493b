"""What whoever passes a message of HTTP on leaves out of its head, and says of whom it came from (RFC 9110 §7.6).

Used by `fc.web` for requests and responses of functions, and by `sandbox.web` for requests that were kept.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

FORWARDED_FOR, FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"


def named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """The names, in lower case, of headers that are about one connection because `Connection` names them."""
    return frozenset(
        name.strip().lower()
        for header, value in headers
        if header.lower() == b"connection"
        for name in value.split(b",")
    )


def with_sender(headers: Iterable[Header], client: str, scheme: str) -> list[Header]:
    """The headers of a request, with names in lower case, with the address and the scheme by which it came.

    The address comes after those that are there already: who reads the last one reads what this server saw. A scheme
    that is there already stays, as a proxy in front may speak TLS, unless the request came by TLS itself.
    """
    kept: list[Header] = []
    addresses: list[bytes] = []
    proto = b""
    for name, value in headers:
        if name == FORWARDED_FOR:
            addresses.append(value)
        elif name == FORWARDED_PROTO:
            proto = value
        else:
            kept.append((name, value))
    if client:
        addresses.append(client.encode())
    if addresses:
        kept.append((FORWARDED_FOR, b", ".join(addresses)))
    kept.append((FORWARDED_PROTO, b"https" if scheme == "https" else proto or scheme.encode()))
    return kept
