"""Says who calls: checks the signature of a request against the caller's secret.

Called by `fc.app` before anything else of a request is looked at, its body included.
Never says what the caller may do, and never compares a secret in time that depends on it.
"""

import hmac
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_plus

import msgspec

from sesame.fc.auth import signature
from sesame.fc.auth.request_head import RequestHead
from sesame.fc.auth.signature import Signed
from sesame.model import limits
from sesame.model.account import AccessKey
from sesame.model.errors import AccessDenied, InvalidAccessKeyID, InvalidArgument, MissingRequiredHeader
from sesame.model.errors import SignatureNotMatch as SignatureDoesNotMatch
from sesame.model.role import Principal

TEMPORARY_KEY_PREFIX = "STS."
SCHEME = b"FC "
_LINK_KEY_ID, _LINK_EXPIRES, _LINK_TOKEN = b"x-fc-access-key-id", b"x-fc-expires", b"x-fc-security-token"
_EXPIRES_DIGITS = 12


class Session(Protocol):
    """What a temporary credential stands for; `identity.tokens.Session` is one."""

    @property
    def secret(self) -> str: ...

    @property
    def account_id(self) -> str: ...

    @property
    def principal(self) -> Principal: ...


class Caller(msgspec.Struct, frozen=True):
    """Who signed. `session` is None for a lasting key."""

    account_id: str
    access_key_id: str
    session: Session | None = None


class Keys(Protocol):
    def get(self, access_key_id: str) -> AccessKey | None: ...


class Tokens(Protocol):
    def verify(self, access_key_id: str, token: str) -> Session | None:
        """The session; None for a key that was never given out. Raises `AccessDenied` for a token that is forged,
        of another key, or expired."""


class Verifier:
    """Checks signatures of the FC header scheme (reference/api.md §1.1).

    Refusals come in this order: a header is missing; the Authorization header is not of the scheme; the key is not
    known; the token does not hold; the date cannot be read; the signature differs; the clocks differ; the account
    is another's.
    """

    def __init__(self, keys: Keys, tokens: Tokens | None, wall_clock: Callable[[], float]) -> None:
        self._keys = keys
        self._tokens = tokens
        self._wall_clock = wall_clock

    def verify(self, request: RequestHead) -> Caller:
        """Who signed this request; raises a `CallerError` of status 400 or 403."""
        return self._verify_header(request, _resources(request.raw_path))

    def verify_trigger(self, request: RequestHead, query: bytes) -> Caller:
        """Who signed this request to an HTTP function, in its headers or in its URL; its query is signed too."""
        resources = signature.trigger_resources(request.raw_path, query)
        link = _link(query)
        return self._verify_link(request, link, resources) if link else self._verify_header(request, resources)

    def _verify_header(self, request: RequestHead, resources: tuple[bytes, ...]) -> Caller:
        if not request.authorization:
            raise MissingRequiredHeader("Authorization")
        date = request.date if request.date is not None else request.fc_date
        if not date:
            raise MissingRequiredHeader("Date")
        access_key_id, claimed = _split(request.authorization)
        secret, account_id, session = self._secret_of(access_key_id, request.security_token)
        signed_at = _read_date(date)
        if signed_at is None:
            raise InvalidArgument.of(
                "Date", "a date of RFC 1123 in GMT, such as 'Sun, 06 Nov 1994 08:49:37 GMT'", _shown(date)
            )
        if not _matches(_signed(request, date), secret, claimed, resources):
            raise SignatureDoesNotMatch
        now = self._wall_clock()
        if abs(now - signed_at) > limits.CLOCK_SKEW_S:
            raise AccessDenied(
                f"the request was signed for '{_shown(date)}', which differs by more than "
                f"{limits.CLOCK_SKEW_S // 60} minutes from this server's clock; check the clock of your machine"
            )
        return _caller(request, account_id, access_key_id, session)

    def _verify_link(self, request: RequestHead, link: dict[bytes, str], resources: tuple[bytes, ...]) -> Caller:
        """A link stands for as long as it says. Headers that its signer did not sign may come with it."""
        access_key_id, expires = link.get(_LINK_KEY_ID, ""), link.get(_LINK_EXPIRES, "")
        if not (expires.isascii() and expires.isdigit() and len(expires) <= _EXPIRES_DIGITS):
            raise InvalidArgument.of("x-fc-expires", "a time in Unix seconds", expires[:64])
        token = link.get(_LINK_TOKEN, "").encode("latin-1", "replace") or request.security_token
        secret, account_id, session = self._secret_of(access_key_id, token)
        claimed, date = link[signature.SIGNATURE_ITEM].encode(), expires.encode()
        bare = Signed(request.method, b"", b"", date, b"")
        if not any(_matches(signed, secret, claimed, resources) for signed in (_signed(request, date), bare)):
            raise SignatureDoesNotMatch
        if int(expires) < self._wall_clock():
            raise AccessDenied(f"this link has expired: it was valid until {expires} (Unix seconds); sign a new one")
        return _caller(request, account_id, access_key_id, session)

    def _secret_of(self, access_key_id: str, security_token: bytes) -> tuple[bytes, str, Session | None]:
        if access_key_id.startswith(TEMPORARY_KEY_PREFIX):
            if self._tokens is None:
                raise InvalidAccessKeyID(access_key_id)
            if not security_token:
                raise MissingRequiredHeader("x-fc-security-token")
            session = self._tokens.verify(access_key_id, security_token.decode("latin-1"))
            if session is None:
                raise InvalidAccessKeyID(access_key_id)
            return session.secret.encode(), session.account_id, session
        key = self._keys.get(access_key_id)
        if key is None:
            raise InvalidAccessKeyID(access_key_id)
        return key.secret.encode(), key.account_id, None


def _split(authorization: bytes) -> tuple[str, bytes]:
    """`FC id:signature` → id and signature."""
    access_key_id, colon, claimed = authorization[len(SCHEME) :].partition(b":")
    if not authorization.startswith(SCHEME) or not colon or not access_key_id:
        raise InvalidArgument.of(
            "Authorization", "'FC {accessKeyId}:{signature}'", _shown(authorization.partition(b" ")[0])
        )
    return access_key_id.decode("latin-1"), claimed


def _signed(request: RequestHead, date: bytes) -> Signed:
    return Signed(
        request.method,
        request.content_md5,
        request.content_type,
        date,
        request.canonical_headers,
    )


def _matches(signed: Signed, secret: bytes, claimed: bytes, resources: tuple[bytes, ...]) -> bool:
    """Whether the claim is the signature over one of the resources that clients are known to sign."""
    for resource in resources:
        text = signature.string_to_sign(signed, resource)
        if hmac.compare_digest(signature.sign(secret, text), claimed):
            return True
        if not text.isascii() and hmac.compare_digest(signature.sign(secret, _as_text(text, resource)), claimed):
            return True
    return False


def _caller(request: RequestHead, account_id: str, access_key_id: str, session: Session | None) -> Caller:
    if request.account_id and request.account_id != account_id.encode():
        raise AccessDenied("The service or function doesn't belong to you.")
    return Caller(account_id, access_key_id, session)


def _link(query: bytes) -> dict[bytes, str] | None:
    """The items of a signed URL that are the signature's own, or None for a URL that is not signed."""
    if signature.SIGNATURE_ITEM not in query:
        return None
    items: dict[bytes, str] = {}
    for part in query.split(b"&"):
        name, _equals, value = part.partition(b"=")
        if name.startswith(signature.FC_HEADER_PREFIX):
            items.setdefault(name, unquote_plus(value.decode("latin-1")))
    return items if signature.SIGNATURE_ITEM in items else None


def _resources(raw_path: bytes) -> tuple[bytes, ...]:
    decoded = signature.decoded_path(raw_path)
    return (decoded,) if decoded is raw_path or decoded == raw_path else (decoded, raw_path)


def _as_text(text: bytes, resource: bytes) -> bytes:
    """The text as signed by clients that sign in UTF-8 and send header values in Latin-1."""
    return text[: len(text) - len(resource)].decode("latin-1").encode() + resource


@lru_cache(maxsize=64)
def _read_date(date: bytes) -> float | None:
    """Unix seconds, or None for what is no date. Clients send the same text for a whole second: hence the cache."""
    try:
        moment = parsedate_to_datetime(date.decode("ascii"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _shown(value: bytes) -> str:
    """A header as an error may repeat it: short, and text."""
    return value[:64].decode("latin-1")
