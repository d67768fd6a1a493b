"""Computes the signatures of ROA requests, HMAC-SHA1 1.0, which clients used before ACS3-HMAC-SHA256.

Called by `fc.auth.verifier`. Terraform's provider and `aliyun-python-sdk-core` sign this way. Pure functions over
bytes.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

SCHEME = b"acs "
FORM = "'acs {accessKeyId}:{signature}'"
METHOD, METHOD_NAME = b"x-acs-signature-method", b"HMAC-SHA1"
_SIGNED_PREFIX = b"x-acs-"
# The headers that are signed by their values alone, in this order.
_SIGNED = (b"accept", b"content-md5", b"content-type", b"date")


class Request(msgspec.Struct, frozen=True):
    """The signed parts of a request: path and query as sent, header names in lower case. The body is not signed."""

    method: bytes
    raw_path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]


def parse(authorization: bytes) -> tuple[str, bytes] | None:
    """The id of the access key, and the claimed signature; None for a header of any other form."""
    access_key_id, colon, claimed = authorization[len(SCHEME) :].partition(b":")
    if not authorization.startswith(SCHEME) or not colon or not access_key_id:
        return None
    return access_key_id.decode("latin-1"), claimed


def matches(request: Request, secret: str, claimed: bytes) -> bool:
    """Whether the signature fits one of the resources that clients are known to sign."""
    key = secret.encode()
    return any(
        hmac.compare_digest(b64encode(hmac.digest(key, string_to_sign(request, resource), "sha1")), claimed)
        for resource in _resources(request)
    )


def string_to_sign(request: Request, resource: bytes) -> bytes:
    """The text that is signed."""
    sent = dict(request.headers)
    plain = b"".join(sent.get(name, b"") + b"\n" for name in _SIGNED)
    named = sorted((name, value) for name, value in sent.items() if name.startswith(_SIGNED_PREFIX))
    acs = b"".join(b"%b:%b\n" % header for header in named)
    return b"%b\n%b%b%b" % (request.method, plain, acs, resource)


def _resources(request: Request) -> Iterator[bytes]:
    """The path, as sent or decoded, and the decoded query, sorted by name; an empty value has an equals sign or not."""
    items = sorted(parse_qsl(request.query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))
    texts = ("&".join(f"{name}={value}" if value else name + sign for name, value in items) for sign in ("", "="))
    queries = {f"?{text}".encode("utf-8", "surrogateescape") if text else b"" for text in texts}
    for path in {request.raw_path, unquote_to_bytes(request.raw_path)}:
        yield from (path + query for query in queries)
