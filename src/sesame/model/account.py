"""The account that owns every resource, and its access keys.

Built and kept by `identity.keys`, read to check signatures. Temporary credentials are not kept.
"""

import msgspec


class Account(msgspec.Struct, frozen=True, rename="camel"):
    """The built-in account. `access_key_id` names its own key, whose secret stands in the key's document."""

    account_id: str
    access_key_id: str


class AccessKey(msgspec.Struct, frozen=True, rename="camel"):
    """A lasting key. A request signed with `secret` has all rights of the account `account_id`."""

    access_key_id: str
    secret: str
    account_id: str
