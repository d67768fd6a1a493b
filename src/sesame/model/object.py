"""An object: bytes under a bucket and a key, with metadata.

Stored by `store.objects.objects`, served by `oss`. The bytes are stored as a separate blob.
Shapes and names follow reference/companions.md §1.8, §1.9 and §1.11.
"""

import enum

import msgspec


class ObjectKind(enum.Enum):
    NORMAL = "Normal"
    MULTIPART = "Multipart"
    APPENDABLE = "Appendable"
    SYMLINK = "Symlink"


class Restore(msgspec.Struct, frozen=True):
    """A restored copy of an object of a cold class, readable from `ready_at` to `expires_at` (Unix seconds)."""

    ready_at: float
    expires_at: float


class ObjectMeta(msgspec.Struct, frozen=True):
    """Metadata set by the writer. `headers` are returned unchanged, keyed by lower-case name (`x-oss-meta-a`).

    `acl` is default, private, public-read or public-read-write; `symlink` is the key that a symlink points to.
    `forbids_overwrite` applies to an upload: completing it must not replace an object.
    """

    headers: dict[str, str] = {}
    acl: str = "default"
    storage_class: str = "Standard"
    tags: dict[str, str] = {}
    symlink: str = ""
    forbids_overwrite: bool = False
    restore: Restore | None = None


class StoredObject(msgspec.Struct, frozen=True):
    """One object in its current state; `blob` names its bytes, "" for a symlink.

    `etag` is upper-case hex without quotes, `crc64` covers all bytes, `modified_at` is in Unix seconds.
    """

    bucket: str
    key: str
    blob: str
    size: int
    etag: str
    crc64: int
    kind: ObjectKind
    meta: ObjectMeta
    modified_at: float


class PendingUpload(msgspec.Struct, frozen=True):
    """A multipart upload that is neither completed nor aborted."""

    upload_id: str
    bucket: str
    key: str
    meta: ObjectMeta
    initiated_at: float


class Part(msgspec.Struct, frozen=True):
    number: int
    blob: str
    size: int
    etag: str
    crc64: int
    modified_at: float


class Written(msgspec.Struct, frozen=True):
    """A durable blob that no row refers to yet. `md5` is 32 upper-case hex digits, `crc64` CRC-64/XZ."""

    blob: str
    size: int
    md5: str
    crc64: int
