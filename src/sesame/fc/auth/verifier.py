"""Authenticates callers: verifies the signature in a request's headers or URL with the secret of its key.

Called by `fc.app`, `fc.web.http_functions` and `fc.exec.endpoint` before anything else of the request is read, such as
its body. Contains only the wire formats, of the FC scheme, of ACS3-HMAC-SHA256 and of ROA; `identity.authentication`
finds the owner of the key. A body whose digest was signed is compared with it when it is read (`fc.body`).
"""

import hmac
from collections.abc import Callable
from datetime import date
from urllib.parse import unquote_plus

import msgspec

from sesame.fc.auth import signature
from sesame.fc.auth.request_head import RequestHead
from sesame.fc.auth.signature import Signed
from sesame.fc.refusals import (
    AccessDenied,
    ApiError,
    InvalidAccessKeyID,
    InvalidArgument,
    MissingRequiredHeader,
    NonceUsed,
    SignatureNotMatch,
)
from sesame.http.dates import unix_time
from sesame.identity import acs_signature, roa_signature
from sesame.identity.authentication import Authentication, Caller
from sesame.identity.nonces import UsedNonces, digest_of
from sesame.identity.tokens import CredentialsRefused, Refusal
from sesame.model import limits

SCHEME = b"FC "
DATE_BYTES_MAX = 64
_LINK_KEY_ID, _LINK_EXPIRES, _LINK_TOKEN = b"x-fc-access-key-id", b"x-fc-expires", b"x-fc-security-token"
_EXPIRES_DIGITS = 12
# Keys in the memory of a head: a `_Proof`, and the digest of a signed nonce.
_PROVEN, _NONCE = "proven", "nonce"
# Key in the memory of a head: the SHA-256 that the body must have, in hexadecimal; absent if no digest was signed.
BODY_SHA256 = "body_sha256"
_DAY_S = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTHS = {name: number for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
# The codes of OSS, which treats the same credentials in the same way (reference/companions.md §1.7).
_TOKEN_CODES = {
    Refusal.FORGED_TOKEN: ("InvalidSecurityToken", "The security token you provided is invalid."),
    Refusal.TOKEN_OF_ANOTHER_KEY: (
        "AccessKeyIdAndSecurityTokenNotMatch",
        "The security token you provided does not match the access key id you provided.",
    ),
    Refusal.EXPIRED_TOKEN: ("SecurityTokenExpired", "The security token you provided has expired."),
}


class _Proof(msgspec.Struct, frozen=True):
    """A head with a valid signature of this caller. `signed_at` is in Unix seconds."""

    caller: Caller
    token: str
    signed_at: float


class Verifier:
    """Verifies signatures (reference/api.md §1.1, §1.2). `wall_clock` returns Unix seconds.

    Checks are made in this order: required headers; the scheme of the Authorization header; the key; the token; the
    date's format; the signature; the clock skew; the account; the nonce.
    """

    def __init__(
        self, authentication: Authentication, wall_clock: Callable[[], float], nonces: UsedNonces | None = None
    ) -> None:
        """Pass `nonces` if another part of this process checks nonces, too."""
        self._authentication = authentication
        self._wall_clock = wall_clock
        self._keys = signature.SigningKeys()
        self._nonces = nonces or UsedNonces(wall_clock)
        # The date of the last verified request: within a second, clients send the same text.
        self._last_date: tuple[bytes, float] = (b"", 0.0)

    def verify(self, request: RequestHead, query: bytes = b"", *, proven: bool = False) -> Caller:
        """Returns who signed this request. Raises a `CallerError` with status 400 or 403.

        The query need not be signed, as most clients sign only the path; if it was signed, it is verified.

        For a head that its connection repeats, the signature is verified once, but key, token and time every time. A
        request that another agent has `proven` may have a nonce that was used then.
        """
        proof: _Proof | None = request.memory.get(_PROVEN)
        if proof is not None:
            before = proof.caller
            caller = self._identify(before.access_key_id, proof.token)
            if abs(self._wall_clock() - proof.signed_at) <= limits.CLOCK_SKEW_S:
                if caller is before:
                    return caller
                if caller.secret == before.secret:
                    return _of_its_account(request, caller)
        if _is_acs(request):
            return self._verify_acs(request, query, proven=proven)
        if request.authorization is not None and request.authorization.startswith(roa_signature.SCHEME):
            return self._verify_roa(request, query, proven=proven)
        caller, claimed = self._presented(request)
        try:
            signed_at = self._proven_at(request, caller, claimed, _resources(request.raw_path))
        except SignatureNotMatch:
            # `do_http_request` of the Python SDK also signs the query.
            with_query = signature.trigger_resources(request.raw_path, query)
            signed_at = self._proven_at(request, caller, claimed, with_query)
        self._check_clock(_date_of(request), signed_at)
        caller = _of_its_account(request, caller)
        token = request.security_token.decode("latin-1")
        request.memory[_PROVEN] = _Proof(caller, token, signed_at)
        return caller

    def _verify_acs(self, request: RequestHead, query: bytes, *, proven: bool = False) -> Caller:
        """Verifies the headers that the request itself lists as signed: clients differ in which."""
        authorization = acs_signature.parse(request.authorization or b"")
        if authorization is None:
            raise InvalidArgument.of("Authorization", acs_signature.FORM, _shown(request.authorization or b""))
        sent = dict(request.headers)
        for name in (acs_signature.DATE, acs_signature.BODY_SHA256):
            if name not in sent:
                raise MissingRequiredHeader(name.decode())
        signed_on, digest = sent[acs_signature.DATE], sent[acs_signature.BODY_SHA256].lower()
        if not authorization.signs(acs_signature.DATE):
            named = _shown(authorization.signed_headers)
            raise InvalidArgument.of("SignedHeaders", f"names with {acs_signature.DATE.decode()} among them", named)
        token = sent.get(acs_signature.TOKEN, request.security_token).decode("latin-1")
        caller = self._identify(authorization.access_key_id, token)
        signed_at = acs_signature.time_of(signed_on)
        if signed_at is None:
            raise InvalidArgument.of(
                acs_signature.DATE.decode(), "a time in UTC, such as '2020-10-10T10:10:10Z'", _shown(signed_on)
            )
        signed = acs_signature.Request(
            request.method, request.raw_path, query, request.headers, sent[acs_signature.BODY_SHA256]
        )
        key = self._keys.of(caller.access_key_id, caller.secret)
        texts = acs_signature.strings_to_sign(signed, authorization.signed_headers)
        if not any(hmac.compare_digest(signature.hex_with(key, text), authorization.signature) for text in texts):
            raise SignatureNotMatch
        self._check_clock(signed_on, signed_at)
        caller = _of_its_account(request, caller)
        request.memory[BODY_SHA256] = digest
        # An unsigned nonce could be replaced, so it proves nothing. Requests with a signed nonce are never cached.
        if acs_signature.NONCE not in sent or not authorization.signs(acs_signature.NONCE):
            request.memory[_PROVEN] = _Proof(caller, token, signed_at)
        else:
            self._use_nonce(request, caller, sent[acs_signature.NONCE], proven=proven)
        return caller

    def _verify_roa(self, request: RequestHead, query: bytes, *, proven: bool) -> Caller:
        """Verifies the older signature of the cloud's gateway, by which clients sign a nonce, too."""
        authorization = roa_signature.parse(request.authorization or b"")
        if authorization is None:
            raise InvalidArgument.of("Authorization", roa_signature.FORM, _shown(request.authorization or b""))
        if not request.date:
            raise MissingRequiredHeader("Date")
        sent = dict(request.headers)
        method = sent.get(roa_signature.METHOD, roa_signature.METHOD_NAME)
        if method != roa_signature.METHOD_NAME:
            raise InvalidArgument.of(roa_signature.METHOD.decode(), roa_signature.METHOD_NAME.decode(), _shown(method))
        access_key_id, claimed = authorization
        caller = self._identify(access_key_id, sent.get(acs_signature.TOKEN, request.security_token).decode("latin-1"))
        signed_at = _time_of(request.date)
        signed = roa_signature.Request(request.method, request.raw_path, query, request.headers)
        if not roa_signature.matches(signed, caller.secret, claimed):
            raise SignatureNotMatch
        self._check_clock(request.date, signed_at)
        caller = _of_its_account(request, caller)
        if acs_signature.NONCE in sent:
            self._use_nonce(request, caller, sent[acs_signature.NONCE], proven=proven)
        return caller

    def _use_nonce(self, request: RequestHead, caller: Caller, nonce: bytes, *, proven: bool) -> None:
        """Raises `NonceUsed` if a signed nonce was used before, unless another agent has `proven` the request."""
        request.memory[_NONCE] = digest_of(caller.access_key_id, nonce)
        if not proven and not self._nonces.use(caller.access_key_id, nonce):
            raise NonceUsed

    def verify_trigger(self, request: RequestHead, query: bytes, *, proven: bool = False) -> Caller:
        """Returns who signed this request to an HTTP function, in its headers or its URL; the query is signed, too.

        `proven` is as in `verify`.
        """
        resources = signature.trigger_resources(request.raw_path, query)
        items = _own_items(query)
        if signature.SIGNATURE_ITEM in items:
            return self._verify_link(request, items, resources)
        if _is_acs(request):
            return self._verify_acs(request, query, proven=proven)
        caller, claimed = self._presented(request, _token(request, items))
        self._check_clock(_date_of(request), self._proven_at(request, caller, claimed, resources))
        return _of_its_account(request, caller)

    def nonce_of(self, request: RequestHead) -> bytes | None:
        """The digest of the nonce with which a verified request was signed; None without one."""
        digest: bytes | None = request.memory.get(_NONCE)
        return digest

    def _presented(self, request: RequestHead, token: str | None = None) -> tuple[Caller, bytes]:
        """The key named in the Authorization header, and the claimed signature, which is not verified yet."""
        if not request.authorization:
            raise MissingRequiredHeader("Authorization")
        if not _date_of(request):
            raise MissingRequiredHeader("Date")
        access_key_id, claimed = _split(request.authorization)
        token = request.security_token.decode("latin-1") if token is None else token
        return self._identify(access_key_id, token), claimed

    def _proven_at(self, request: RequestHead, caller: Caller, claimed: bytes, resources: tuple[bytes, ...]) -> float:
        """The time of signing in Unix seconds. Raises unless the signature is the caller's."""
        signed_on = _date_of(request)
        signed_at = self._last_date[1] if signed_on == self._last_date[0] else _time_of(signed_on)
        if not self._matches(_signed(request, signed_on), caller, claimed, resources):
            raise SignatureNotMatch
        self._last_date = (signed_on, signed_at)
        return signed_at

    def _check_clock(self, signed_on: bytes, signed_at: float) -> None:
        if abs(self._wall_clock() - signed_at) > limits.CLOCK_SKEW_S:
            raise AccessDenied(
                f"the request was signed for '{_shown(signed_on)}', which differs by more than "
                f"{limits.CLOCK_SKEW_S // 60} minutes from this server's clock; check the clock of your machine"
            )

    def _verify_link(self, request: RequestHead, link: dict[bytes, str], resources: tuple[bytes, ...]) -> Caller:
        """Verifies a signed URL, which is valid until the time it names. Its headers need not be signed."""
        access_key_id, expires = link.get(_LINK_KEY_ID, ""), link.get(_LINK_EXPIRES, "")
        if not (expires.isascii() and expires.isdigit() and len(expires) <= _EXPIRES_DIGITS):
            raise InvalidArgument.of("x-fc-expires", "a time in Unix seconds", expires[:64])
        caller = self._identify(access_key_id, _token(request, link))
        claimed, expiry = link[signature.SIGNATURE_ITEM].encode("latin-1", "replace"), expires.encode()
        bare = Signed(request.method, b"", b"", expiry, b"")
        if not any(self._matches(signed, caller, claimed, resources) for signed in (_signed(request, expiry), bare)):
            raise SignatureNotMatch
        if int(expires) < self._wall_clock():
            raise AccessDenied(f"this link has expired: it was valid until {expires} (Unix seconds); sign a new one")
        return _of_its_account(request, caller)

    def _identify(self, access_key_id: str, token: str) -> Caller:
        try:
            return self._authentication.identify(access_key_id, token)
        except CredentialsRefused as refused:
            raise _refusal(refused) from refused

    def _matches(self, signed: Signed, caller: Caller, claimed: bytes, resources: tuple[bytes, ...]) -> bool:
        """Whether the signature fits one of the resources that clients are known to sign."""
        key = self._keys.of(caller.access_key_id, caller.secret)
        for resource in resources:
            text = signature.string_to_sign(signed, resource)
            if hmac.compare_digest(signature.sign_with(key, text), claimed):
                return True
            if not text.isascii() and hmac.compare_digest(signature.sign_with(key, _as_text(text, resource)), claimed):
                return True
        return False


def _refusal(refused: CredentialsRefused) -> ApiError:
    if refused.refusal is Refusal.UNKNOWN_KEY:
        return InvalidAccessKeyID(refused.access_key_id)
    if refused.refusal is Refusal.MISSING_TOKEN:
        return MissingRequiredHeader("x-fc-security-token")
    code, message = _TOKEN_CODES[refused.refusal]
    return AccessDenied(message, code=code)


def _token(request: RequestHead, items: dict[bytes, str]) -> str:
    """The security token in the URL or the headers. Raises if the two differ, because only one could be checked."""
    in_url, in_header = items.get(_LINK_TOKEN, ""), request.security_token.decode("latin-1")
    if in_url and in_header and in_url != in_header:
        code, message = _TOKEN_CODES[Refusal.TOKEN_OF_ANOTHER_KEY]
        raise AccessDenied(message, code=code)
    return in_url or in_header


def _date_of(request: RequestHead) -> bytes:
    return (request.date if request.date is not None else request.fc_date) or b""


def _is_acs(request: RequestHead) -> bool:
    return request.authorization is not None and request.authorization.startswith(acs_signature.FAMILY)


def _split(authorization: bytes) -> tuple[str, bytes]:
    """`FC id:signature` → id and signature."""
    access_key_id, colon, claimed = authorization[len(SCHEME) :].partition(b":")
    if not authorization.startswith(SCHEME) or not colon or not access_key_id:
        raise InvalidArgument.of(
            "Authorization",
            f"'FC {{accessKeyId}}:{{signature}}', {acs_signature.FORM} or {roa_signature.FORM}",
            _shown(authorization.partition(b" ")[0]),
        )
    return access_key_id.decode("latin-1"), claimed


def _signed(request: RequestHead, signed_on: bytes) -> Signed:
    return Signed(
        request.method,
        request.content_md5,
        request.content_type,
        signed_on,
        request.canonical_headers,
    )


def _of_its_account(request: RequestHead, caller: Caller) -> Caller:
    if request.account_id and request.account_id != caller.account_id.encode():
        raise AccessDenied("The service or function doesn't belong to you.")
    return caller


def _own_items(query: bytes) -> dict[bytes, str]:
    """The signature's own query items, decoded; the first of repeated ones."""
    items: dict[bytes, str] = {}
    if signature.FC_HEADER_PREFIX in query:
        for part in query.split(b"&"):
            name, _equals, value = part.partition(b"=")
            if name.startswith(signature.FC_HEADER_PREFIX):
                items.setdefault(name, unquote_plus(value.decode("latin-1"), encoding="latin-1"))
    return items


def _resources(raw_path: bytes) -> tuple[bytes, ...]:
    decoded = signature.decoded_path(raw_path)
    return (decoded,) if decoded is raw_path or decoded == raw_path else (decoded, raw_path)


def _as_text(text: bytes, resource: bytes) -> bytes:
    """The text as signed by clients that sign UTF-8 but send header values in Latin-1."""
    return text[: len(text) - len(resource)].decode("latin-1").encode() + resource


def _time_of(signed_on: bytes) -> float:
    """Unix seconds. Raises `InvalidArgument` for a text that is no date."""
    signed_at = _read_date(signed_on)
    if signed_at is None:
        raise InvalidArgument.of(
            "Date", "a date of RFC 1123 in GMT, such as 'Sun, 06 Nov 1994 08:49:37 GMT'", _shown(signed_on)
        )
    return signed_at


def _read_date(text: bytes) -> float | None:
    """Unix seconds; None if the text is not a date. The usual format is parsed without the library."""
    if len(text) > DATE_BYTES_MAX:
        return None
    try:
        month = _MONTHS.get(text[8:11])
        if len(text) == 29 and month is not None and text[3:5] == b", " and text[25:] == b" GMT":
            clock = text[17:25].split(b":")
            hour, minute, second = (int(part) for part in clock)
            day = date(int(text[12:16]), month, int(text[5:7])).toordinal() - _EPOCH_DAY
            if hour < 24 and minute < 60 and second <= 60:
                return day * _DAY_S + hour * 3600 + minute * 60 + second
        return unix_time(text.decode("ascii"))
    except (ValueError, TypeError, OverflowError):
        return None


def _shown(value: bytes) -> str:
    """A header value as an error may repeat it: truncated and decoded."""
    return value[:64].decode("latin-1")
