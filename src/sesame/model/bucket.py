"""A bucket: a name that is unique across accounts, with an owner and access rules.

Stored in the catalog (kind `bucket`), edited and read by `oss`; also read to fetch a function's code.
Contains no objects; `store.objects.objects` stores those.
"""

import msgspec

from sesame.model.lifecycle import LifecycleRule


class CorsRule(msgspec.Struct, frozen=True, rename="camel"):
    """A cross-origin rule for browsers. In origins and headers, one `*` matches any run of characters."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None


class RefererRules(msgspec.Struct, frozen=True, rename="camel"):
    """Restricts which pages may embed a bucket's objects.

    In `allowed` and `refused`, `*` matches any run, `?` one character.

    `truncates_query` and `truncates_path` drop those parts of a Referer header before it is compared.
    """

    allows_empty: bool = True
    allowed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    truncates_query: bool = True
    truncates_path: bool = False


class Bucket(msgspec.Struct, frozen=True, rename="camel"):
    """`acl` is private, public-read or public-read-write (reference/companions.md §1.9).

    `blocks_public_access` overrides every ACL. With `requester_pays`, other accounts must state that they pay. With
    `archive_direct_read`, objects of the class Archive are readable without being restored.
    `cors_varies` adds Origin to the Vary header of every response, even if the request had no Origin.
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
    """Settings that apply to all buckets of an account."""

    account_id: str
    blocks_public_access: bool = False
