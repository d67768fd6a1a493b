"""Identifies the owner of an access key. Each endpoint then verifies its own signature with the returned secret.

Called by every endpoint for every request that presents a key.
"""

from typing import Protocol

import msgspec

from sesame.identity.tokens import TEMPORARY_KEY_PREFIX, CredentialsRefused, Refusal, Tokens
from sesame.model.account import AccessKey
from sesame.model.role import ANONYMOUS, Principal, PrincipalKind


class Caller(msgspec.Struct, frozen=True):
    """A principal, with the access key that it presents and the secret of that key.

    The caller is authenticated only once the endpoint has verified the signature.
    """

    principal: Principal
    access_key_id: str
    secret: str

    @property
    def account_id(self) -> str:
        return self.principal.account_id


# Each takes less than 1 KB.
ACCOUNTS_KEPT_MAX = 256
ANONYMOUS_CALLER = Caller(ANONYMOUS, "", "")


class Keys(Protocol):
    """The part of `identity.keys.AccessKeys` that is used here."""

    def get(self, access_key_id: str) -> AccessKey | None: ...


class Authentication:
    """Permanent keys are looked up in the catalog's memory; temporary ones are decrypted with the master key."""

    def __init__(self, keys: Keys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens
        self._accounts: dict[str, tuple[AccessKey, Caller]] = {}

    def identify(self, access_key_id: str, token: str) -> Caller:
        """Returns the owner of the key. `token` is the security token presented, "" if there is none.

        Raises CredentialsRefused if the key is unknown, if a temporary key comes without its token, or if the token is
        forged, expired or belongs to another key. A permanent key has no token, so any token with it belongs to
        another.
        """
        key = self._keys.get(access_key_id)
        if key is not None and not token:
            cached = self._accounts.get(access_key_id)
            return cached[1] if cached is not None and cached[0] is key else self._account_of(key)
        if key is None and not access_key_id.startswith(TEMPORARY_KEY_PREFIX):
            raise CredentialsRefused(Refusal.UNKNOWN_KEY, access_key_id)
        session = self._tokens.verify(access_key_id, token)
        if key is not None:
            raise CredentialsRefused(Refusal.TOKEN_OF_ANOTHER_KEY, access_key_id)
        return Caller(session.principal, access_key_id, session.secret)

    def _account_of(self, key: AccessKey) -> Caller:
        """Cached for each key, as most requests use the same one."""
        if len(self._accounts) >= ACCOUNTS_KEPT_MAX:
            self._accounts.clear()
        caller = Caller(Principal(PrincipalKind.ACCOUNT, key.account_id), key.access_key_id, key.secret)
        self._accounts[key.access_key_id] = (key, caller)
        return caller
