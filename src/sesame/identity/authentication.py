"""Says whose access key a request presents. Each endpoint checks its own signature with the secret that comes back.

Called by every endpoint for every request that presents a key.
"""

from typing import Protocol

import msgspec

from sesame.identity.tokens import TEMPORARY_KEY_PREFIX, CredentialsRefused, Refusal, Tokens
from sesame.model.account import AccessKey
from sesame.model.role import ANONYMOUS, Principal, PrincipalKind


class Caller(msgspec.Struct, frozen=True):
    """A principal, with the access key it presents and the secret that belongs to that key.

    It is proven only once the endpoint has checked the signature.
    """

    principal: Principal
    access_key_id: str
    secret: str

    @property
    def account_id(self) -> str:
        return self.principal.account_id


# Each takes less than a KB.
ACCOUNTS_KEPT_MAX = 256
ANONYMOUS_CALLER = Caller(ANONYMOUS, "", "")


class Keys(Protocol):
    """The part of `identity.keys.AccessKeys` that is used here."""

    def get(self, access_key_id: str) -> AccessKey | None: ...


class Authentication:
    """Lasting keys are looked up in the catalog's memory; temporary ones are opened with the master key."""

    def __init__(self, keys: Keys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens
        self._accounts: dict[str, tuple[AccessKey, Caller]] = {}

    def identify(self, access_key_id: str, token: str) -> Caller:
        """Who holds this key. `token` is the security token that the request presents, "" for none.

        Raises CredentialsRefused: the key is not known; a temporary key comes without its token; the token is forged,
        expired or of another key. A lasting key has no token: whichever comes with it is one of the latter.
        """
        key = self._keys.get(access_key_id)
        if key is not None and not token:
            known = self._accounts.get(access_key_id)
            return known[1] if known is not None and known[0] is key else self._account_of(key)
        if key is None and not access_key_id.startswith(TEMPORARY_KEY_PREFIX):
            raise CredentialsRefused(Refusal.UNKNOWN_KEY, access_key_id)
        session = self._tokens.verify(access_key_id, token)
        if key is not None:
            raise CredentialsRefused(Refusal.TOKEN_OF_ANOTHER_KEY, access_key_id)
        return Caller(session.principal, access_key_id, session.secret)

    def _account_of(self, key: AccessKey) -> Caller:
        """Made once for each key, as most requests come with the same one."""
        if len(self._accounts) >= ACCOUNTS_KEPT_MAX:
            self._accounts.clear()
        caller = Caller(Principal(PrincipalKind.ACCOUNT, key.account_id), key.access_key_id, key.secret)
        self._accounts[key.access_key_id] = (key, caller)
        return caller
