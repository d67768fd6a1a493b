"""Computes the signatures of API 2016-08-15: the FC header scheme, HTTP triggers and presigned links.

Called by `fc.auth.verifier`, which says who calls; also usable to sign, which the tests do.
Pure functions over bytes: never looks up a key, a clock or a request object. Facts: reference/api.md §1.1.
"""

from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import msgspec

if TYPE_CHECKING:
    from hashlib import _Hash

FC_HEADER_PREFIX = b"x-fc-"
SIGNATURE_ITEM = b"x-fc-signature"
_BLOCK_BYTES = 64


class Signed(msgspec.Struct, frozen=True):
    """The parts of a request that are signed, beside its resource.

    Header values verbatim, empty where the header is absent. `date` is the Date header, or x-fc-expires of a link.
    `fc_headers` is what `canonical` gives.
    """

    method: bytes
    content_md5: bytes
    content_type: bytes
    date: bytes
    fc_headers: bytes


def canonical_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """`name:value` and LF for each x-fc- header, ascending by name; names already in lower case, values verbatim."""
    return canonical([header for header in headers if header[0].startswith(FC_HEADER_PREFIX)])


def canonical(fc_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The same of headers that are all x-fc- headers."""
    if len(fc_headers) > 1:
        fc_headers = sorted(fc_headers, key=itemgetter(0))
    return b"".join([b"%b:%b\n" % header for header in fc_headers])


def string_to_sign(signed: Signed, resource: bytes) -> bytes:
    """What the signature is made over."""
    return b"%b\n%b\n%b\n%b\n%b%b" % (
        signed.method,
        signed.content_md5,
        signed.content_type,
        signed.date,
        signed.fc_headers,
        resource,
    )


@lru_cache(maxsize=1024)
def sign(secret: bytes, text: bytes) -> bytes:
    """The signature as it stands in a header or a link. Who calls in a loop signs the same for a whole second."""
    inner, outer = _keyed(secret)
    inner, outer = inner.copy(), outer.copy()
    inner.update(text)
    outer.update(inner.digest())
    return b64encode(outer.digest())


@lru_cache(maxsize=1024)
def _keyed(secret: bytes) -> tuple["_Hash", "_Hash"]:
    """The two halves of HMAC-SHA256 (RFC 2104) after their first block, which is the same for all that a key signs.

    `hmac.digest` makes them anew each time, and lets other threads run meanwhile: five times the time of a signature.
    """
    block = (sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))


def decoded_path(raw_path: bytes) -> bytes:
    """The path with its percent signs resolved; what most clients sign."""
    return unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path


def trigger_resources(raw_path: bytes, query: bytes) -> tuple[bytes, ...]:
    """What may have been signed for an HTTP trigger, likeliest first.

    Decoded before raw path; decoded query items sorted, then in the order of the URL (one official client does
    not sort them). The signature's own item never takes part. A request without a query keeps the LF.
    """
    found: list[bytes] = []
    for path in (decoded_path(raw_path), raw_path):
        for items in _readings(query):
            for order in (sorted(items), items):
                resource = path + b"\n" + b"\n".join(order)
                if resource not in found:
                    found.append(resource)
    return tuple(found)


def _readings(query: bytes) -> tuple[list[bytes], ...]:
    """Decoded items: as written, then with every empty value as `k`, then as `k=`; clients differ in this."""
    pairs = [
        (_decoded_item(name), equals, _decoded_item(value))
        for name, equals, value in (part.partition(b"=") for part in query.split(b"&") if part)
    ]
    pairs = [pair for pair in pairs if pair[0] != SIGNATURE_ITEM]
    return (
        [name + equals + value for name, equals, value in pairs],
        [name + b"=" + value if value else name for name, _equals, value in pairs],
        [name + b"=" + value for name, _equals, value in pairs],
    )


def _decoded_item(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
