"""The bucket: a name that is unique over all accounts, with an owner and an access rule.

Kept in the catalog (kind `bucket`), edited and read by the OSS door; read by `app` to fetch a function's code.
Holds no objects: these live in `store.objects`.
"""

import msgspec


class Bucket(msgspec.Struct, frozen=True, rename="camel"):
    """`acl` is private, public-read or public-read-write (reference/companions.md §1.9).

    `settings` are the sub-resources that are kept as the XML that is served for them, by name (`cors`, `tagging`, …).
    """

    bucket_name: str
    account_id: str
    acl: str = "private"
    storage_class: str = "Standard"
    redundancy: str = "LRS"
    settings: dict[str, str] = {}
