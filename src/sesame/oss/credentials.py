"""Extracts a request's credentials: from a header or a presigned link, with signature V1, V2 or V4.

Called by `oss.auth`, which verifies them. A request with two proofs is refused
(reference/companions.md §1.3–1.5, §1.7).
"""

import enum
import re
from collections.abc import Mapping

import msgspec

from sesame.identity.signatures import V4_TERMINATOR, Scope
from sesame.identity.tokens import TEMPORARY_KEY_PREFIX
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.request import Request

V4_ALGORITHM = "OSS4-HMAC-SHA256"
V4_PRODUCTS = frozenset({"oss", "oss-cloudbox"})
V4_EXPIRES_S_MAX = 7 * 24 * 3600
_TOKEN_PARAMETERS = ("security-token", "x-oss-security-token")
_V1_LINK_PARAMETERS = ("Signature", "Expires", "OSSAccessKeyId")
_ADDITIONAL_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")


class Scheme(enum.Enum):
    V1 = 1
    V2 = 2
    V4 = 4


class Presented(msgspec.Struct, frozen=True):
    """`link` means that the credentials are in the query; then `expires` is the link's expiry as sent."""

    scheme: Scheme
    link: bool
    access_key_id: str
    signature: str
    token: str = ""
    expires: str = ""
    additional_headers: tuple[str, ...] = ()
    scope: Scope | None = None


def presented(request: Request) -> Presented | None:
    """The request's credentials; None for an anonymous request. Raises OssError if they are malformed."""
    authorization = request.header("authorization")
    link = _link(request)
    if authorization and link:
        raise invalid_argument(
            "Authorization", authorization, "Only one authentication mechanism is allowed: header or query string."
        )
    proof = _header(request, authorization) if authorization else link
    return None if proof is None else _with_stray_tokens(request, proof)


def _with_stray_tokens(request: Request, proof: Presented) -> Presented:
    """Adds a token sent in another place than its signature version defines, so that every token is checked."""
    sent = (request.header("x-oss-security-token"), *(request.query.get(name, "") for name in _TOKEN_PARAMETERS))
    stray = {token for token in sent if token} - {proof.token}
    if not stray or (not proof.token and proof.access_key_id.startswith(TEMPORARY_KEY_PREFIX)):
        return proof
    if proof.token or len(stray) > 1:
        raise OssError("AccessKeyIdAndSecurityTokenNotMatch", details={"OSSAccessKeyId": proof.access_key_id})
    return msgspec.structs.replace(proof, token=stray.pop())


def _header(request: Request, authorization: str) -> Presented:
    token = request.header("x-oss-security-token")
    kind, _, rest = authorization.partition(" ")
    if kind == "OSS":
        access_key_id, separator, signature = rest.strip().rpartition(":")
        if not separator or not access_key_id or not signature:
            raise _malformed(authorization)
        return Presented(Scheme.V1, link=False, access_key_id=access_key_id, signature=signature, token=token)
    if kind == "OSS2":
        fields = _fields(rest, ":")
        if not {"AccessKeyId", "Signature"} <= fields.keys():
            raise _malformed(authorization)
        return Presented(
            Scheme.V2,
            link=False,
            access_key_id=fields["AccessKeyId"],
            signature=fields["Signature"],
            token=token,
            additional_headers=_additional(fields.get("AdditionalHeaders", "")),
        )
    if kind == V4_ALGORITHM:
        fields = _fields(rest, "=")
        if not {"Credential", "Signature"} <= fields.keys():
            raise _malformed(authorization)
        access_key_id, scope = parse_credential(fields["Credential"])
        return Presented(
            Scheme.V4,
            link=False,
            access_key_id=access_key_id,
            signature=fields["Signature"],
            token=token,
            additional_headers=_additional(fields.get("AdditionalHeaders", "")),
            scope=scope,
        )
    raise _malformed(authorization)


def _link(request: Request) -> Presented | None:
    query = request.query
    version = query.get("x-oss-signature-version", "")
    if version == "OSS2":
        access_key_id, expires, signature = _need(query, "x-oss-access-key-id", "x-oss-expires", "x-oss-signature")
        return Presented(
            Scheme.V2,
            link=True,
            access_key_id=access_key_id,
            expires=expires,
            signature=signature,
            token=query.get("security-token", ""),
            additional_headers=_additional(query.get("x-oss-additional-headers", "")),
        )
    if version == V4_ALGORITHM:
        credential, expires, signature, _date = _need(
            query, "x-oss-credential", "x-oss-expires", "x-oss-signature", "x-oss-date"
        )
        access_key_id, scope = parse_credential(credential)
        return Presented(
            Scheme.V4,
            link=True,
            access_key_id=access_key_id,
            expires=expires,
            signature=signature,
            token=query.get("x-oss-security-token", ""),
            additional_headers=_additional(query.get("x-oss-additional-headers", "")),
            scope=scope,
        )
    if version:
        raise invalid_argument("x-oss-signature-version", version)
    if not any(name in query for name in _V1_LINK_PARAMETERS):
        return None
    signature, expires, access_key_id = _need(query, *_V1_LINK_PARAMETERS)
    if request.header("x-oss-security-token") and not query.get("security-token"):
        raise OssError("InvalidRequest", "Security-token must be provided by query string parameter")
    return Presented(
        Scheme.V1,
        link=True,
        access_key_id=access_key_id,
        expires=expires,
        signature=signature,
        token=query.get("security-token", ""),
    )


def _need(query: Mapping[str, str], *names: str) -> list[str]:
    if not all(query.get(name) for name in names):
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise OssError("AccessDenied", f"Query-string authentication requires the {listed} parameters")
    return [query[name] for name in names]


def _fields(text: str, separator: str) -> dict[str, str]:
    """Parses a comma-separated list of `name<separator>value`; the official SDKs differ in order and spaces."""
    pairs = (item.strip().partition(separator) for item in text.split(","))
    return {name: value for name, _, value in pairs}


def _additional(text: str) -> tuple[str, ...]:
    names = tuple(sorted({name.strip().lower() for name in text.split(";") if name.strip()}))
    if not all(_ADDITIONAL_HEADER.match(name) for name in names):
        raise invalid_argument("AdditionalHeaders", text)
    return names


def parse_credential(text: str) -> tuple[str, Scope]:
    parts = text.split("/")
    if len(parts) != 5 or not parts[0] or parts[3] not in V4_PRODUCTS or parts[4] != V4_TERMINATOR:
        raise invalid_argument("Credential", text, "Invalid credential in Authorization header.")
    if not parts[2]:
        raise invalid_argument("Credential", text, "The signing region in credential is invalid.")
    return parts[0], Scope(date=parts[1], region=parts[2], product=parts[3])


def _malformed(authorization: str) -> OssError:
    return invalid_argument("Authorization", authorization, "Authorization header is invalid.")
