"""Temporary credentials that carry their own truth: issued and verified with one master key, kept nowhere.

Issued by `identity.issuer` and the STS door; verified by every door for each request that brings a token.
Never decides what a caller may do: it says who he is (reference/companions.md §2.5).
"""

import base64
import binascii
import enum
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sesame.model import records
from sesame.model.errors import AccessDenied
from sesame.model.invocation import Credentials
from sesame.model.role import MasterKey, Principal, PrincipalKind
from sesame.store.catalog import Catalog, Transaction

VALIDITY_S_DEFAULT = 6 * 3600
TEMPORARY_KEY_PREFIX = "STS."
MASTER_KEY_BYTES = 32
SESSIONS_REMEMBERED = 4096
_KEY_ID_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_ID_RANDOM_CHARS = 24
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FORMAT = b"\x01"
_ADDITIONAL_DATA = b"sesame security token"


class Refusal(enum.Enum):
    MISSING = "missing"
    FORGED = "forged"
    OF_ANOTHER_KEY = "of another key"
    EXPIRED = "expired"


_CODES = {
    Refusal.MISSING: ("InvalidAccessKeyId", "A temporary access key needs its security token."),
    Refusal.FORGED: ("InvalidSecurityToken", "The security token you provided is invalid."),
    Refusal.OF_ANOTHER_KEY: (
        "AccessKeyIdAndSecurityTokenNotMatch",
        "The security token you provided does not belong to this access key.",
    ),
    Refusal.EXPIRED: ("SecurityTokenExpired", "The security token you provided has expired."),
}


class TokenRefused(AccessDenied):
    """Temporary credentials that do not hold; `refusal` says why, the doors choose their own words by it."""

    def __init__(self, refusal: Refusal) -> None:
        code, message = _CODES[refusal]
        super().__init__(message, code=code)
        self.refusal = refusal


class Grant(msgspec.Struct, frozen=True):
    """Whose credentials to make: a role of an account, a session's name, perhaps a policy (JSON) that narrows it."""

    account_id: str
    role: str
    role_id: str
    session: str
    policy: str | None = None


class Session(msgspec.Struct, frozen=True):
    """Verified temporary credentials: who it is, and the secret that requests of this key are signed with."""

    principal: Principal
    secret: str
    expires_at: float

    @property
    def account_id(self) -> str:
        return self.principal.account_id


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    access_key_id: str
    grant: Grant
    issued_at: float
    expires_at: float


class Tokens:
    """Two keys are derived from the master key: one seals tokens, one makes the secret of an access key id.

    `clock` gives Unix seconds. Sessions verified once are remembered (only whether they have expired is asked again),
    so that a warm caller costs one look into a dictionary.
    """

    def __init__(self, master_key: bytes, clock: Callable[[], float]) -> None:
        if len(master_key) < MASTER_KEY_BYTES:
            raise ValueError(f"the master key has {len(master_key)} bytes, at least {MASTER_KEY_BYTES} are needed")
        self._cipher = AESGCM(_derive(master_key, b"sesame token seal"))
        self._secret_key = _derive(master_key, b"sesame token secret")
        self._clock = clock
        self._sessions: OrderedDict[tuple[str, str], Session] = OrderedDict()

    def issue(self, grant: Grant, valid_s: float = VALIDITY_S_DEFAULT) -> Credentials:
        """Fresh credentials of the grant, good for `valid_s` seconds from now."""
        random_part = "".join(secrets.choice(_KEY_ID_CHARACTERS) for _ in range(_KEY_ID_RANDOM_CHARS))
        access_key_id = f"{TEMPORARY_KEY_PREFIX}NU{random_part}"
        now = self._clock()
        claims = _Claims(access_key_id=access_key_id, grant=grant, issued_at=now, expires_at=now + valid_s)
        return Credentials(access_key_id, self.secret_of(access_key_id), self._seal(claims))

    def verify(self, access_key_id: str, token: str) -> Session:
        """Raises TokenRefused: missing, forged, of another access key, expired."""
        known = self._sessions.get((access_key_id, token))
        session = known or self._open(access_key_id, token)
        if session.expires_at <= self._clock():
            raise TokenRefused(Refusal.EXPIRED)
        self._sessions[access_key_id, token] = session
        self._sessions.move_to_end((access_key_id, token))
        if len(self._sessions) > SESSIONS_REMEMBERED:
            self._sessions.popitem(last=False)
        return session

    def secret_of(self, access_key_id: str) -> str:
        digest = hmac.digest(self._secret_key, access_key_id.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _seal(self, claims: _Claims) -> str:
        """Standard base64 in which `+`, `/` and `=` all occur, so that careless quoting shows at once."""
        plain = msgspec.json.encode(claims)
        # A space at the end of JSON means nothing; with it base64 has to end in `=`.
        if (len(_FORMAT) + _NONCE_BYTES + len(plain) + _TAG_BYTES) % 3 == 0:
            plain += b" "
        while True:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = self._cipher.encrypt(nonce, plain, _ADDITIONAL_DATA)
            token = base64.b64encode(_FORMAT + nonce + sealed).decode()
            if "+" in token and "/" in token:
                return token

    def _open(self, access_key_id: str, token: str) -> Session:
        if not token:
            raise TokenRefused(Refusal.MISSING)
        try:
            blob = base64.b64decode(token.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error) as exc:
            raise TokenRefused(Refusal.FORGED) from exc
        # The bits that base64 leaves unused at the end could otherwise be changed without being noticed.
        if blob[:1] != _FORMAT or base64.b64encode(blob).decode() != token:
            raise TokenRefused(Refusal.FORGED)
        nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, sealed, _ADDITIONAL_DATA)
        except (InvalidTag, ValueError) as exc:
            raise TokenRefused(Refusal.FORGED) from exc
        claims = msgspec.json.decode(plain, type=_Claims)
        if claims.access_key_id != access_key_id:
            raise TokenRefused(Refusal.OF_ANOTHER_KEY)
        grant = claims.grant
        principal = Principal(
            kind=PrincipalKind.ROLE,
            account_id=grant.account_id,
            role=grant.role,
            role_id=grant.role_id,
            session=grant.session,
            session_policy=grant.policy,
        )
        return Session(principal=principal, secret=self.secret_of(access_key_id), expires_at=claims.expires_at)


async def master_key(catalog: Catalog) -> bytes:
    """The installation's key, made at its first start and kept in the catalog, so that tokens outlive a restart."""

    def ensure(tx: Transaction) -> bytes:
        record = tx.get(records.MASTER_KEY, "", "self")
        if record is None:
            record = tx.put(records.MASTER_KEY, "", "self", MasterKey(key=secrets.token_hex(MASTER_KEY_BYTES)))
        return bytes.fromhex(record.document.key)

    return await catalog.edit(ensure)


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master)
