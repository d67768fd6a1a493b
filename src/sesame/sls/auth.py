"""Authenticates requests to the Log Service: key, token, signature and time, and that the body is the signed one.

Called by `sls.app`. Handles only the wire form; `identity.authentication` looks up whose key it is.
"""

import hashlib
import hmac
import re
from collections.abc import Callable

from sesame.http.dates import unix_time
from sesame.identity.authentication import Authentication, Caller
from sesame.identity.signatures import V4_TERMINATOR, Scope, sign_v1, sign_v4, v4_time
from sesame.identity.tokens import CredentialsRefused, Refusal
from sesame.model.limits import CLOCK_SKEW_S
from sesame.sls.errors import SlsError
from sesame.sls.request import Request
from sesame.sls.signature import string_to_sign_v1, strings_to_sign_v4

V4_PRODUCT = "sls"
_V1 = re.compile(r"LOG ([^:\s]+):(\S+)\Z")
_V4 = re.compile(
    rf"SLS4-HMAC-SHA256 Credential=([^/\s]+)/([0-9]{{8}})/([^/\s]+)/{V4_PRODUCT}/{V4_TERMINATOR}, ?"
    r"Signature=([0-9a-f]+)\Z"
)
_API_VERSIONS = frozenset({"0.4.0", "0.5.0", "0.6.0"})
_TEXTS = {
    Refusal.MISSING_TOKEN: "The security token you provided is invalid.",
    Refusal.FORGED_TOKEN: "The security token you provided is invalid.",
    Refusal.TOKEN_OF_ANOTHER_KEY: "The security token you provided is invalid.",
    Refusal.EXPIRED_TOKEN: "The security token you provided has expired.",
}


class Authenticator:
    """`clock` gives Unix seconds."""

    def __init__(self, authentication: Authentication, clock: Callable[[], float]) -> None:
        self._authentication = authentication
        self._clock = clock

    def authenticate(self, request: Request) -> Caller:
        """The sender of the request; `check_body` checks the body. Raises SlsError for an invalid proof."""
        _check_version(request)
        authorization = request.header("authorization")
        if v1 := _V1.match(authorization):
            return self._by_v1(request, *v1.groups())
        if v4 := _V4.match(authorization):
            key_id, date, region, signature = v4.groups()
            return self._by_v4(request, key_id, Scope(date, region, V4_PRODUCT), signature)
        if not authorization:
            raise SlsError("MissAccessKeyId", "the request has no Authorization header: sign it")
        raise SlsError(
            "MissAccessKeyId",
            "the Authorization header is invalid: expected 'LOG <AccessKeyId>:<signature>' or 'SLS4-HMAC-SHA256 "
            "Credential=<AccessKeyId>/<date>/<region>/sls/aliyun_v4_request,Signature=<signature>'",
        )

    def _by_v1(self, request: Request, key_id: str, signature: str) -> Caller:
        method = request.header("x-log-signaturemethod")
        if not method:
            raise SlsError("MissingSignatureMethod")
        if method != "hmac-sha1":
            raise SlsError("InvalidSignatureMethod")
        at = _http_time(request.header("x-log-date") or request.header("date"))
        caller = self._identified(key_id, request)
        _require_match([sign_v1(caller.secret, string_to_sign_v1(request))], signature)
        self._check_skew(at)
        return caller

    def _by_v4(self, request: Request, key_id: str, scope: Scope, signature: str) -> Caller:
        at = _v4_time(request.header("x-log-date"), scope)
        caller = self._identified(key_id, request)
        _require_match([sign_v4(caller.secret, text, scope) for text in strings_to_sign_v4(request, scope)], signature)
        self._check_skew(at)
        return caller

    def _identified(self, key_id: str, request: Request) -> Caller:
        try:
            return self._authentication.identify(key_id, request.header("x-acs-security-token"))
        except CredentialsRefused as refused:
            text = _TEXTS.get(refused.refusal, f"AccessKeyId not found: {key_id[:128]}")
            raise SlsError("Unauthorized", text) from refused

    def _check_skew(self, at: float) -> None:
        if abs(at - self._clock()) > CLOCK_SKEW_S:
            raise SlsError("RequestTimeTooSkewed")


def check_body(request: Request, body: bytes) -> None:
    """Raises SlsError unless the body is the one that was signed. The signature covers only its digest."""
    digest = request.header("content-md5")
    if body and not digest and _V1.match(request.header("authorization")):
        raise SlsError("SignatureNotMatch", "Content-MD5 does not exist in http header when body is not empty")
    if digest and digest.upper() != hashlib.md5(body, usedforsecurity=False).hexdigest().upper():
        raise SlsError("SignatureNotMatch", f"Content-MD5 '{digest[:64]}' is not the upper-case MD5 of the body")
    digest = request.header("x-log-content-sha256")
    if body and not digest and _V4.match(request.header("authorization")):
        raise SlsError("SignatureNotMatch", "x-log-content-sha256 does not exist in http header when body is not empty")
    if digest and digest != hashlib.sha256(body).hexdigest():
        raise SlsError("SignatureNotMatch", f"x-log-content-sha256 '{digest[:128]}' is not the SHA-256 of the body")


def _check_version(request: Request) -> None:
    version = request.header("x-log-apiversion")
    if not version:
        raise SlsError("MissingAPIVersion")
    if version not in _API_VERSIONS:
        raise SlsError("InvalidAPIVersion")


def _require_match(right: list[str], given: str) -> None:
    if not any(hmac.compare_digest(each.encode(), given.encode()) for each in right):
        raise SlsError("SignatureNotMatch", f"signature {given[:128]} not match")


def _http_time(text: str) -> float:
    if not text:
        raise SlsError("MissingDate")
    try:
        return unix_time(text)
    except (ValueError, OverflowError) as error:
        raise SlsError("InvalidDateFormat", f"date {text[:64]} must follow RFC822") from error


def _v4_time(text: str, scope: Scope) -> float:
    if not text:
        raise SlsError("MissingDate", "x-log-date does not exist in http header")
    try:
        at = v4_time(text)
    except ValueError as error:
        raise SlsError("InvalidDateFormat", f"x-log-date {text[:64]} must look like 20260102T030405Z") from error
    if not text.startswith(scope.date):
        raise SlsError("SignatureNotMatch", f"x-log-date {text} is not of the day of the credential, {scope.date}")
    return at
