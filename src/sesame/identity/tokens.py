"""Temporary credentials that need no storage: encrypted and verified with one master key (companions.md §2.5).

Issued by `identity.issuer` and `control.code_uploads`; verified by `identity.authentication` for each request with a
token.
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
from sesame.model.errors import SesameError
from sesame.model.invocation import Credentials
from sesame.model.role import MasterKey, Principal, PrincipalKind
from sesame.store.catalog import Catalog, Transaction

VALIDITY_S_DEFAULT = 6 * 3600
TEMPORARY_KEY_PREFIX = "STS."
MASTER_KEY_BYTES = 32
MASTER_NAME = "self"
# Verified sessions are cached up to this many bytes; each counts for its policy plus SESSION_BYTES.
SESSIONS_BYTES_MAX = 4 * 1024 * 1024
SESSION_BYTES = 1024
_KEY_ID_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY_ID_RANDOM_CHARS = 24
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FORMAT = b"\x01"
_ADDITIONAL_DATA = b"sesame security token"


class Refusal(enum.Enum):
    """Why credentials do not identify anybody."""

    UNKNOWN_KEY = "unknown key"
    MISSING_TOKEN = "missing token"
    FORGED_TOKEN = "forged token"
    TOKEN_OF_ANOTHER_KEY = "token of another key"
    EXPIRED_TOKEN = "expired token"


class CredentialsRefused(SesameError):
    """An access key or security token is invalid. Each endpoint answers with its API's code and text."""

    def __init__(self, refusal: Refusal, access_key_id: str) -> None:
        super().__init__(f"access key {access_key_id[:64]!r}: {refusal.value}")
        self.refusal = refusal
        self.access_key_id = access_key_id


class Grant(msgspec.Struct, frozen=True):
    """The subject of new credentials: an account's role, a session name, and optionally a policy (JSON) to restrict it.

    With the kind CODE_UPLOAD there is no role: the policy defines all permissions. `chain` names the functions that led
    to the holder of the credentials.
    """

    account_id: str
    role: str
    role_id: str
    session: str
    policy: str | None = None
    kind: PrincipalKind = PrincipalKind.ROLE
    chain: tuple[str, ...] = ()


class Session(msgspec.Struct, frozen=True):
    """Verified temporary credentials: the principal, and the secret with which its requests are signed."""

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
    """Derives two keys from the master key: one encrypts tokens, one generates the secret of an access key id.

    `clock` returns Unix seconds. Verified sessions are cached; only their expiry is checked again.
    """

    def __init__(self, master_key: bytes, clock: Callable[[], float]) -> None:
        if len(master_key) < MASTER_KEY_BYTES:
            raise ValueError(f"the master key has {len(master_key)} bytes, at least {MASTER_KEY_BYTES} are needed")
        self._cipher = AESGCM(_derive(master_key, b"sesame token seal"))
        self._secret_key = _derive(master_key, b"sesame token secret")
        self._clock = clock
        # By the digest of access key id and token, in order of first use.
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._sessions_bytes = 0

    def issue(self, grant: Grant, valid_s: float = VALIDITY_S_DEFAULT) -> Credentials:
        """New credentials for the grant, valid for `valid_s` seconds from now."""
        random_part = "".join(secrets.choice(_KEY_ID_CHARACTERS) for _ in range(_KEY_ID_RANDOM_CHARS))
        access_key_id = f"{TEMPORARY_KEY_PREFIX}NU{random_part}"
        now = self._clock()
        claims = _Claims(access_key_id=access_key_id, grant=grant, issued_at=now, expires_at=now + valid_s)
        return Credentials(access_key_id, self.secret_of(access_key_id), self._seal(claims))

    def verify(self, access_key_id: str, token: str) -> Session:
        """Raises CredentialsRefused if the token is missing, forged, expired, or belongs to another access key."""
        digest = hashlib.sha256(f"{access_key_id}\n{token}".encode("utf-8", "surrogatepass")).digest()
        session = self._sessions.get(digest)
        if session is None:
            session = self._open(access_key_id, token)
            self._remember(digest, session)
        if session.expires_at <= self._clock():
            raise CredentialsRefused(Refusal.EXPIRED_TOKEN, access_key_id)
        return session

    def _remember(self, digest: bytes, session: Session) -> None:
        """The digest belongs to a token just verified: nothing unverified is cached, and no secret serves as a key."""
        self._sessions[digest] = session
        self._sessions_bytes += _size(session)
        while self._sessions_bytes > SESSIONS_BYTES_MAX:
            _digest, oldest = self._sessions.popitem(last=False)
            self._sessions_bytes -= _size(oldest)

    def secret_of(self, access_key_id: str) -> str:
        digest = hmac.digest(self._secret_key, access_key_id.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _seal(self, claims: _Claims) -> str:
        """Encodes in standard base64 containing `+`, `/` and `=`, so that careless quoting is noticed at once."""
        plain = msgspec.json.encode(claims)
        # A trailing space in JSON is meaningless, but makes the base64 end in `=`.
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
            raise CredentialsRefused(Refusal.MISSING_TOKEN, access_key_id)
        try:
            blob = base64.b64decode(token.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error) as exc:
            raise CredentialsRefused(Refusal.FORGED_TOKEN, access_key_id) from exc
        # Otherwise the unused bits at the end of the base64 text could be changed unnoticed.
        if blob[:1] != _FORMAT or base64.b64encode(blob).decode() != token:
            raise CredentialsRefused(Refusal.FORGED_TOKEN, access_key_id)
        nonce, sealed = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, sealed, _ADDITIONAL_DATA)
        except (InvalidTag, ValueError) as exc:
            raise CredentialsRefused(Refusal.FORGED_TOKEN, access_key_id) from exc
        claims = msgspec.json.decode(plain, type=_Claims)
        if claims.access_key_id != access_key_id:
            raise CredentialsRefused(Refusal.TOKEN_OF_ANOTHER_KEY, access_key_id)
        grant = claims.grant
        principal = Principal(
            kind=grant.kind,
            account_id=grant.account_id,
            role=grant.role,
            role_id=grant.role_id,
            session=grant.session,
            session_policy=grant.policy,
            chain=grant.chain,
        )
        return Session(principal=principal, secret=self.secret_of(access_key_id), expires_at=claims.expires_at)


def _size(session: Session) -> int:
    principal = session.principal
    return SESSION_BYTES + len(principal.session_policy or "") + sum(map(len, principal.chain))


async def master_key(catalog: Catalog) -> bytes:
    """The installation's key, made at its first start and kept in the catalog, so that tokens outlive a restart."""

    def ensure(tx: Transaction) -> bytes:
        record = tx.get(records.MASTER_KEY, "", MASTER_NAME)
        if record is None:
            record = tx.put(records.MASTER_KEY, "", MASTER_NAME, MasterKey(key=secrets.token_hex(MASTER_KEY_BYTES)))
        return bytes.fromhex(record.document.key)

    return await catalog.edit(ensure)


def _derive(master: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master)
