"""Authenticates requests to STS in both wire forms: key, token, signature and time.

Called by `sts.app`. Handles only the wire forms; `identity.authentication` looks up whose key it is.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from urllib.parse import quote

from sesame.identity import acs_signature
from sesame.identity.authentication import Authentication, Caller
from sesame.identity.nonces import UsedNonces
from sesame.identity.signatures import sign_v1
from sesame.identity.tokens import CredentialsRefused, Refusal
from sesame.model.limits import CLOCK_SKEW_S
from sesame.sts.errors import StsError, missing, with_details
from sesame.sts.request import Request

_METHOD, _SIGNATURE_VERSION = "HMAC-SHA1", "1.0"
_CODES = {
    Refusal.UNKNOWN_KEY: "InvalidAccessKeyId.NotFound",
    Refusal.MISSING_TOKEN: "MissingSecurityToken",
    Refusal.FORGED_TOKEN: "InvalidSecurityToken.Malformed",
    Refusal.TOKEN_OF_ANOTHER_KEY: "InvalidSecurityToken.MismatchWithAccessKey",
    Refusal.EXPIRED_TOKEN: "InvalidSecurityToken.Expired",
}


class Authenticator:
    """`clock` gives Unix seconds."""

    def __init__(
        self, authentication: Authentication, clock: Callable[[], float], nonces: UsedNonces | None = None
    ) -> None:
        """`nonces` may be shared with other endpoints."""
        self._authentication = authentication
        self._clock = clock
        self._nonces = nonces or UsedNonces(clock)

    def authenticate(self, request: Request) -> Caller:
        """The sender of the request, which the signature covers completely. Raises StsError for an invalid proof."""
        if request.acs is not None:
            return self._by_acs(request, request.acs)
        return self._by_rpc(request)

    def _by_rpc(self, request: Request) -> Caller:
        key_id, claimed = request.required("AccessKeyId"), request.required("Signature")
        nonce = request.required("SignatureNonce")
        for name, expected in (("SignatureMethod", _METHOD), ("SignatureVersion", _SIGNATURE_VERSION)):
            if request.required(name) != expected:
                raise StsError("InvalidParameter", f"The parameter {name} is not valid: expected {expected}.")
        signed_at = _time(request.required("Timestamp").encode("utf-8", "replace"))
        caller = self._identified(key_id, request.parameters.get("SecurityToken", ""))
        text = rpc_string_to_sign(request.http.method, request.parameters)
        made = sign_v1(f"{caller.secret}&", text.encode())
        if not hmac.compare_digest(made.encode(), claimed.encode("utf-8", "surrogatepass")):
            raise with_details("SignatureDoesNotMatch", f"server string to sign is:{text}")
        self._check_first_use(caller, signed_at, nonce.encode("utf-8", "surrogatepass"))
        return caller

    def _by_acs(self, request: Request, authorization: acs_signature.Authorization) -> Caller:
        headers = dict(request.http.headers)
        for name in (acs_signature.DATE, acs_signature.NONCE, acs_signature.BODY_SHA256):
            if name not in headers:
                raise missing(name.decode())
        # The signature must cover the headers that name the action and, with a body, the header that defines its type.
        meant = (b"content-type",) if request.body else ()
        for name in (acs_signature.DATE, acs_signature.NONCE, b"x-acs-action", b"x-acs-version", *meant):
            if name in headers and not authorization.signs(name):
                raise StsError("SignatureDoesNotMatch", f"{name.decode()} is not among the SignedHeaders: sign it.")
        signed_at = _time(headers[acs_signature.DATE])
        caller = self._identified(authorization.access_key_id, headers.get(acs_signature.TOKEN, b"").decode("latin-1"))
        digest = headers[acs_signature.BODY_SHA256]
        http = request.http
        signed = acs_signature.Request(http.method.encode(), http.raw_path, http.query, http.headers, digest)
        secret = caller.secret.encode()
        texts = acs_signature.strings_to_sign(signed, authorization.signed_headers)
        made = (hmac.digest(secret, text, hashlib.sha256).hex().encode() for text in texts)
        if not any(hmac.compare_digest(each, authorization.signature) for each in made):
            raise StsError("SignatureDoesNotMatch")
        if digest.lower() != hashlib.sha256(request.body).hexdigest().encode():
            raise StsError("SignatureDoesNotMatch", "x-acs-content-sha256 is not the SHA-256 of the body.")
        self._check_first_use(caller, signed_at, headers[acs_signature.NONCE])
        return caller

    def _identified(self, key_id: str, token: str) -> Caller:
        try:
            return self._authentication.identify(key_id, token)
        except CredentialsRefused as refused:
            raise StsError(_CODES[refused.refusal]) from refused

    def _check_first_use(self, caller: Caller, signed_at: float, nonce: bytes) -> None:
        if abs(signed_at - self._clock()) > CLOCK_SKEW_S:
            raise StsError("InvalidTimeStamp.Expired")
        if not self._nonces.use(caller.access_key_id, nonce):
            raise StsError("SignatureNonceUsed")


def rpc_string_to_sign(method: str, parameters: Mapping[str, str]) -> str:
    """The string that RPC 1.0 signs: every parameter except the signature, including empty ones, sorted."""
    items = sorted((_quoted(k), _quoted(v)) for k, v in parameters.items() if k != "Signature")
    query = "&".join(f"{name}={value}" for name, value in items)
    return f"{method}&%2F&{_quoted(query)}"


def _quoted(text: str) -> str:
    return quote(text, safe="~")


def _time(text: bytes) -> float:
    at = acs_signature.time_of(text)
    if at is None:
        raise StsError("InvalidTimeStamp.Format")
    return at
