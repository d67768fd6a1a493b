"""Computes the signatures of API 2016-08-15: the FC header scheme, HTTP triggers and presigned links.

Called by `fc.auth.verifier`, and by tests to sign. Pure functions over bytes (reference/api.md §1.1).
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from operator import itemgetter
from urllib.parse import unquote_to_bytes

import msgspec

FC_HEADER_PREFIX = b"x-fc-"
SIGNATURE_ITEM = b"x-fc-signature"
# Each takes about 2 KB.
SIGNING_KEYS_MAX = 256


class Signed(msgspec.Struct, frozen=True):
    """The signed parts of a request, apart from its resource.

    Header values are verbatim, empty if absent. `date` is the Date header, or x-fc-expires of a link.
    `fc_headers` is the result of `canonical`.
    """

    method: bytes
    content_md5: bytes
    content_type: bytes
    date: bytes
    fc_headers: bytes


def canonical_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """`name:value` and LF for each x-fc- header, sorted by name; names must be in lower case, values are verbatim."""
    return canonical([header for header in headers if header[0].startswith(FC_HEADER_PREFIX)])


def canonical(fc_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Same as `canonical_headers`, for a list that contains only x-fc- headers."""
    if len(fc_headers) > 1:
        fc_headers = sorted(fc_headers, key=itemgetter(0))
    return b"".join([b"%b:%b\n" % header for header in fc_headers])


def string_to_sign(signed: Signed, resource: bytes) -> bytes:
    """The text that is signed."""
    return b"%b\n%b\n%b\n%b\n%b%b" % (
        signed.method,
        signed.content_md5,
        signed.content_type,
        signed.date,
        signed.fc_headers,
        resource,
    )


def sign(secret: bytes, text: bytes) -> bytes:
    """The signature in base64, as in a header or a link."""
    return b64encode(hmac.digest(secret, text, "sha256"))


def sign_with(key: hmac.HMAC, text: bytes) -> bytes:
    """Like `sign`, with one of the `SigningKeys`, which takes a third less time. Does not change `key`."""
    return b64encode(_digested(key, text).digest())


def hex_with(key: hmac.HMAC, text: bytes) -> bytes:
    """Like `sign_with`, but in hexadecimal."""
    return _digested(key, text).hexdigest().encode()


def _digested(key: hmac.HMAC, text: bytes) -> hmac.HMAC:
    digest = key.copy()
    digest.update(text)
    return digest


class SigningKeys:
    """Caches HMAC objects of recently used keys, by access key id; at `SIGNING_KEYS_MAX` the cache is cleared."""

    def __init__(self) -> None:
        self._ready: dict[str, tuple[str, hmac.HMAC]] = {}

    def of(self, access_key_id: str, secret: str) -> hmac.HMAC:
        """The HMAC of an authentic key. Never pass an id that a caller merely claims."""
        ready = self._ready.get(access_key_id)
        if ready is not None and ready[0] == secret:
            return ready[1]
        if len(self._ready) >= SIGNING_KEYS_MAX:
            self._ready.clear()
        keyed = hmac.new(secret.encode(), digestmod=sha256)
        self._ready[access_key_id] = (secret, keyed)
        return keyed


def decoded_path(raw_path: bytes) -> bytes:
    """The path with percent-encoding resolved, which is what most clients sign."""
    return unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path


def trigger_resources(raw_path: bytes, query: bytes) -> tuple[bytes, ...]:
    """The resources that clients are known to sign for an HTTP trigger, the most common first.

    The decoded path precedes the raw one; sorted query items precede those in the order of the URL, which one official
    client does not sort. The signature itself is left out. A request without a query keeps the LF.
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
    """Decoded items: as written, then with every empty value as `k`, then as `k=`, as clients differ in this."""
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
