"""The account that owns every resource, and its access keys.

Created and stored by `identity.keys`, which reads the keys to check signatures. Temporary credentials are not stored.
"""

import msgspec


class Account(msgspec.Struct, frozen=True, rename="camel"):
    """The built-in account. `access_key_id` names its own key; the key's document holds the secret."""

    account_id: str
    access_key_id: str


class AccessKey(msgspec.Struct, frozen=True, rename="camel"):
    """A permanent key. A request signed with `secret` has every right of the account `account_id`."""

    access_key_id: str
    secret: str
    account_id: str
