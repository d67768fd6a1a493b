"""Headers to drop and to add when passing an HTTP message on (RFC 9110 §7.6).

Used by `fc.web` for requests and responses of functions, and by `sandbox.web` for stored requests.
"""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

FORWARDED_FOR, FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"


def named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """The lower-case names of hop-by-hop headers that `Connection` lists."""
    return frozenset(
        name.strip().lower()
        for header, value in headers
        if header.lower() == b"connection"
        for name in value.split(b",")
    )


def with_sender(headers: Iterable[Header], client: str, scheme: str) -> list[Header]:
    """Adds the sender's address and scheme to a request's headers, whose names are in lower case.

    The address is appended to those already present, so that the last one is what this server saw. A scheme already
    present stays, as a proxy in front may terminate TLS, unless the request itself came by TLS.
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
