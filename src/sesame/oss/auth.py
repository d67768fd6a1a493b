"""Authenticates a request: key, token, signature and time, in the order of reference/companions.md §1.7.

Called by `oss.app` for every request. Handles only OSS's wire form; `identity.authentication` looks up whose key it is.
"""

import hmac
import math
from collections.abc import Callable

from sesame.http.dates import unix_time
from sesame.identity.authentication import ANONYMOUS_CALLER, Authentication, Caller
from sesame.identity.signatures import sign_v1, sign_v4, v4_time
from sesame.identity.tokens import CredentialsRefused, Refusal
from sesame.model.limits import CLOCK_SKEW_S
from sesame.model.natural import natural
from sesame.oss.credentials import V4_EXPIRES_S_MAX, Presented, Scheme, presented
from sesame.oss.errors import OssError, invalid_argument
from sesame.oss.request import Request
from sesame.oss.signature import (
    UNSIGNED_PAYLOAD,
    sign_v2,
    string_to_sign_v2,
    string_to_sign_v4,
    strings_to_sign_v1,
)

_CODES = {
    Refusal.UNKNOWN_KEY: "InvalidAccessKeyId",
    # A temporary key is unknown without its token.
    Refusal.MISSING_TOKEN: "InvalidAccessKeyId",
    Refusal.FORGED_TOKEN: "InvalidSecurityToken",
    Refusal.TOKEN_OF_ANOTHER_KEY: "AccessKeyIdAndSecurityTokenNotMatch",
    Refusal.EXPIRED_TOKEN: "SecurityTokenExpired",
}


class Authenticator:
    """`clock` gives Unix seconds. With `region`, V4 signatures bound to another region are refused."""

    def __init__(self, authentication: Authentication, clock: Callable[[], float], region: str | None = None) -> None:
        self._authentication = authentication
        self._clock = clock
        self._region = region

    def authenticate(self, request: Request) -> Caller:
        """The sender of the request. Raises OssError with the code for an invalid proof."""
        proof = presented(request)
        if proof is None:
            return ANONYMOUS_CALLER
        caller = self.identify(proof.access_key_id, proof.token)
        if proof.link:
            self._check_expiry(request, proof)
        self._check_scope(request, proof)
        self._check_signature(request, proof, caller.secret)
        if not proof.link:
            self._check_skew(request, proof)
        return caller

    def identify(self, access_key_id: str, token: str) -> Caller:
        """The owner of a key. Raises OssError with the code for an invalid key or token."""
        try:
            return self._authentication.identify(access_key_id, token)
        except CredentialsRefused as refused:
            raise OssError(_CODES[refused.refusal], details={"OSSAccessKeyId": access_key_id}) from refused

    def _check_expiry(self, request: Request, proof: Presented) -> None:
        """V1 and V2 links contain their end; V4 links contain when they were made and for how long they are valid."""
        now = self._clock()
        expires = natural(proof.expires)
        if expires is None:
            raise OssError("AccessDenied", "Invalid date (should be seconds since epoch).")
        if proof.scheme is Scheme.V4:
            if not 1 <= expires <= V4_EXPIRES_S_MAX:
                raise invalid_argument("x-oss-expires", proof.expires, "Expires must be between 1 and 604800 seconds.")
            made_at = _v4_time(request.query["x-oss-date"])
            if made_at > now + CLOCK_SKEW_S:
                raise OssError("AccessDenied", "Request is not valid yet.")
            expires += math.floor(made_at)
        if expires < now:
            raise OssError("AccessDenied", "Request has expired.", details={"Expires": proof.expires})

    def _check_scope(self, request: Request, proof: Presented) -> None:
        if proof.scope is None:
            return
        if self._region is not None and proof.scope.region != self._region:
            raise OssError("InvalidArgument", "Invalid signing region in Authorization header.", ec="0002-00000226")
        if not _v4_date(request, proof).startswith(proof.scope.date) or len(proof.scope.date) != 8:
            raise OssError("InvalidArgument", "Invalid signing date in Authorization header.")
        if request.header("x-oss-content-sha256", UNSIGNED_PAYLOAD) != UNSIGNED_PAYLOAD:
            raise invalid_argument("x-oss-content-sha256", request.header("x-oss-content-sha256"))

    def _check_signature(self, request: Request, proof: Presented, secret: str) -> None:
        candidates = _signatures(request, proof, secret)
        given = proof.signature.encode()
        if not any(hmac.compare_digest(signature.encode(), given) for _, signature in candidates):
            signed = candidates[0][0]
            raise OssError(
                "SignatureDoesNotMatch",
                details={
                    "OSSAccessKeyId": proof.access_key_id,
                    "SignatureProvided": proof.signature,
                    "StringToSign": signed.decode(),
                    "StringToSignBytes": signed.hex(" ").upper(),
                },
            )

    def _check_skew(self, request: Request, proof: Presented) -> None:
        if proof.scheme is Scheme.V4:
            at = _v4_time(_v4_date(request, proof))
        else:
            at = _http_time(request.header("x-oss-date") or request.header("date"))
        if abs(at - self._clock()) > CLOCK_SKEW_S:
            raise OssError("RequestTimeTooSkewed")


def _signatures(request: Request, proof: Presented, secret: str) -> list[tuple[bytes, str]]:
    """The strings to sign with their expected signatures; for V1, one for each reading of unknown sub-resources."""
    if proof.scheme is Scheme.V4 and proof.scope is not None:
        text = string_to_sign_v4(request, _v4_date(request, proof), proof.scope, proof.additional_headers)
        return [(text, sign_v4(secret, text, proof.scope))]
    if proof.scheme is Scheme.V2:
        date = proof.expires if proof.link else request.header("date")
        text = string_to_sign_v2(request, date, proof.additional_headers)
        return [(text, sign_v2(secret, text))]
    date = proof.expires if proof.link else request.header("x-oss-date") or request.header("date")
    return [(text, sign_v1(secret, text)) for text in strings_to_sign_v1(request, date)]


def _v4_date(request: Request, proof: Presented) -> str:
    return request.query["x-oss-date"] if proof.link else request.header("x-oss-date")


def _v4_time(text: str) -> float:
    try:
        return v4_time(text)
    except ValueError as exc:
        raise OssError("AccessDenied", "OSS authentication requires a valid Date.") from exc


def _http_time(text: str) -> float:
    try:
        return unix_time(text)
    except (ValueError, OverflowError) as exc:
        raise OssError("AccessDenied", "OSS authentication requires a valid Date.") from exc
