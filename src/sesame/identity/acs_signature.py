"""Computes signatures of ACS3-HMAC-SHA256, used by clients of API versions after 2016-08-15.

Called by `fc.auth.verifier` and `sts.auth`. Pure functions over bytes (reference/api.md §1.2, companions.md §2.1).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import parse_qsl, quote

import msgspec

from sesame.model import utc

SCHEME = b"ACS3-HMAC-SHA256"
# Other members of the family are refused, with an error that shows the supported form.
FAMILY = b"ACS3-"
DATE, BODY_SHA256, TOKEN = b"x-acs-date", b"x-acs-content-sha256", b"x-acs-security-token"
NONCE = b"x-acs-signature-nonce"
FORM = "'ACS3-HMAC-SHA256 Credential={accessKeyId},SignedHeaders={names},Signature={hex}'"
# Characters that would make a name ambiguous within a query string.
_ESCAPED_IN_NAMES = str.maketrans({"%": "%25", "&": "%26", "=": "%3D"})
_PARTS = re.compile(rb"Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9A-Fa-f]{64})\Z")


class Authorization(msgspec.Struct, frozen=True):
    """The parts of an Authorization header of this scheme; `signed_headers` as sent."""

    access_key_id: str
    signed_headers: bytes
    signature: bytes

    def signs(self, name: bytes) -> bool:
        return name in self.signed_headers.lower().split(b";")


def parse(authorization: bytes) -> Authorization | None:
    """None for a header of any other form."""
    found = _PARTS.match(authorization[len(SCHEME) :].lstrip(b" "))
    if not authorization.startswith(SCHEME + b" ") or found is None:
        return None
    return Authorization(found[1].decode("latin-1"), found[2], found[3].lower())


def time_of(text: bytes) -> float | None:
    """Unix seconds; None if the text does not have the form `2020-10-10T10:10:10Z`."""
    try:
        return datetime.strptime(text.decode("ascii"), utc.FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


class Request(msgspec.Struct, frozen=True):
    """The signed parts of a request: path and query as sent, header names in lower case."""

    method: bytes
    raw_path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body_sha256: bytes


def strings_to_sign(request: Request, signed_headers: bytes) -> Iterator[bytes]:
    """What clients are known to sign: names of the query as they are, and encoded, as the vendor documents it."""
    plain = canonical_query(request.query)
    yield string_to_sign(request, signed_headers, plain)
    encoded = canonical_query(request.query, encode_name=_encoded)
    if encoded != plain:
        yield string_to_sign(request, signed_headers, encoded)


def string_to_sign(request: Request, signed_headers: bytes, query: bytes | None = None) -> bytes:
    """`signed_headers` lists the headers that were signed, in the client's spelling; `query` is canonical."""
    canonical = b"%b\n%b\n%b\n%b\n%b\n%b" % (
        request.method,
        request.raw_path,
        canonical_query(request.query) if query is None else query,
        canonical_headers(request.headers, signed_headers.lower().split(b";")),
        signed_headers,
        request.body_sha256,
    )
    return b"%b\n%b" % (SCHEME, sha256(canonical).hexdigest().encode())


def _plain(name: str) -> str:
    """Python's client signs names as they are; characters that no API name contains are encoded all the same."""
    return name.translate(_ESCAPED_IN_NAMES)


def _encoded(text: str) -> str:
    return quote(text, safe="~", errors="surrogateescape")


def canonical_query(query: bytes, encode_name: Callable[[str], str] = _plain) -> bytes:
    """Sorts items by name and encodes values as in RFC 3986: on the wire a space may be a plus."""
    items = sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))
    text = "&".join(f"{encode_name(name)}={_encoded(value)}" for name, value in items)
    return text.encode("utf-8", "surrogateescape")


def canonical_headers(headers: Sequence[tuple[bytes, bytes]], names: Sequence[bytes]) -> bytes:
    """`name:value` and LF for each header; values of a repeated header are sorted and joined."""
    values: dict[bytes, list[bytes]] = {name: [] for name in names}
    for name, value in headers:
        if name in values:
            values[name].append(value.strip())
    return b"".join(b"%b:%b\n" % (name, b",".join(sorted(values[name]))) for name in names)
