"""The bucket: a name that is unique over all accounts, with an owner and an access rule.

Kept in the catalog (kind `bucket`), edited and read by the OSS door; read by `app` to fetch a function's code.
Holds no objects: these live in `store.objects.objects`.
"""

import msgspec


class CorsRule(msgspec.Struct, frozen=True, rename="camel"):
    """Whom a browser lets at the bucket: in origins and headers one `*` stands for any run of characters."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None


class Bucket(msgspec.Struct, frozen=True, rename="camel"):
    """`acl` is private, public-read or public-read-write (reference/companions.md §1.9).

    `cors_varies` makes every answer name Origin in its Vary header, whether the request had one or not.
    """

    bucket_name: str
    account_id: str
    acl: str = "private"
    storage_class: str = "Standard"
    redundancy: str = "LRS"
    tags: dict[str, str] = {}
    cors: tuple[CorsRule, ...] = ()
    cors_varies: bool = False
