"""The bucket: a name that is unique over all accounts, with an owner and an access rule.

Kept in the catalog (kind `bucket`), edited and read by `oss`; read also to fetch the code of a function.
Holds no objects: these live in `store.objects.objects`.
"""

import msgspec

from sesame.model.lifecycle import LifecycleRule


class CorsRule(msgspec.Struct, frozen=True, rename="camel"):
    """Whom a browser lets at the bucket: in origins and headers one `*` stands for any run of characters."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None


class RefererRules(msgspec.Struct, frozen=True, rename="camel"):
    """Which pages may show a bucket's objects. In `allowed` and `refused` `*` is any run of characters, `?` any one.

    `truncates_query` and `truncates_path`: what a Referer header loses before it is compared.
    """

    allows_empty: bool = True
    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    truncates_query: bool = True
    truncates_path: bool = False


class Bucket(msgspec.Struct, frozen=True, rename="camel"):
    """`acl` is private, public-read or public-read-write (reference/companions.md §1.9).

    With `blocks_public_access` no ACL lets anyone in. With `requester_pays` other accounts must say that they pay. With
    `archive_direct_read` objects of the class Archive are read without being restored.
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
    blocks_public_access: bool = False
    requester_pays: bool = False
    archive_direct_read: bool = False
    referer: RefererRules | None = None
    lifecycle: tuple[LifecycleRule, ...] = ()


class OssAccount(msgspec.Struct, frozen=True, rename="camel"):
    """What an account sets for all its buckets."""

    account_id: str
    blocks_public_access: bool = False
