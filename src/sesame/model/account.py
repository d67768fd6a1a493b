"""The account that owns everything here, and the access keys that speak for it.

Built and kept by `identity.keys`, read by whoever checks a signature.
Never holds temporary credentials: those need no storage.
"""

import msgspec


class Account(msgspec.Struct, frozen=True, rename="camel"):
    """The built-in account. `access_key_id` names its own key, whose secret stands in the key's document."""

    account_id: str
    access_key_id: str


class AccessKey(msgspec.Struct, frozen=True, rename="camel"):
    """A lasting key. Whoever signs with `secret` is `account_id`, with all of its rights."""

    access_key_id: str
    secret: str
    account_id: str
