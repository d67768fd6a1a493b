"""The tables of the object store, and conversions of rows to objects and back.

Used by `store.objects.objects`, `store.objects.listing` and `store.objects.multipart`; created by
`store/sql/migrations`.
Keys are stored as bytes, so that every database sorts them as the API does: by UTF-8.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from sesame.model.object import ObjectKind, ObjectMeta, Part, PendingUpload, StoredObject
from sesame.store.sql.dialect import TEXT
from sesame.store.sql.schema import metadata

# CRC-64 is unsigned and does not fit a database's integers, so it is stored as decimal text.
objects = sa.Table(
    "objects",
    metadata,
    sa.Column("bucket", TEXT, primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("blob", TEXT, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("etag", TEXT, nullable=False),
    sa.Column("crc64", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("meta", sa.LargeBinary, nullable=False),
    sa.Column("modified_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

uploads = sa.Table(
    "object_uploads",
    metadata,
    sa.Column("upload_id", TEXT, primary_key=True),
    sa.Column("bucket", TEXT, nullable=False),
    sa.Column("key", sa.LargeBinary, nullable=False),
    sa.Column("meta", sa.LargeBinary, nullable=False),
    sa.Column("initiated_at", sa.Float, nullable=False),
    sa.Index("object_uploads_by_key", "bucket", "key", "upload_id"),
)

parts = sa.Table(
    "object_parts",
    metadata,
    sa.Column("upload_id", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("blob", TEXT, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("etag", TEXT, nullable=False),
    sa.Column("crc64", TEXT, nullable=False),
    sa.Column("modified_at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

_encode_meta = msgspec.json.Encoder().encode
_decode_meta = msgspec.json.Decoder(ObjectMeta).decode


def object_row(stored: StoredObject) -> dict[str, Any]:
    return {
        "bucket": stored.bucket,
        "key": stored.key.encode(),
        "blob": stored.blob,
        "size": stored.size,
        "etag": stored.etag,
        "crc64": str(stored.crc64),
        "kind": stored.kind.value,
        "meta": _encode_meta(stored.meta),
        "modified_at": stored.modified_at,
    }


def object_of(row: "sa.Row[Any]") -> StoredObject:
    return StoredObject(
        bucket=row.bucket,
        key=row.key.decode(),
        blob=row.blob,
        size=row.size,
        etag=row.etag,
        crc64=int(row.crc64),
        kind=ObjectKind(row.kind),
        meta=_decode_meta(row.meta),
        modified_at=row.modified_at,
    )


def upload_row(upload: PendingUpload) -> dict[str, Any]:
    return {
        "upload_id": upload.upload_id,
        "bucket": upload.bucket,
        "key": upload.key.encode(),
        "meta": _encode_meta(upload.meta),
        "initiated_at": upload.initiated_at,
    }


def upload_of(row: "sa.Row[Any]") -> PendingUpload:
    return PendingUpload(
        upload_id=row.upload_id,
        bucket=row.bucket,
        key=row.key.decode(),
        meta=_decode_meta(row.meta),
        initiated_at=row.initiated_at,
    )


def part_row(upload_id: str, part: Part) -> dict[str, Any]:
    return {**msgspec.structs.asdict(part), "upload_id": upload_id, "crc64": str(part.crc64)}


def part_of(row: "sa.Row[Any]") -> Part:
    return Part(
        number=row.number,
        blob=row.blob,
        size=row.size,
        etag=row.etag,
        crc64=int(row.crc64),
        modified_at=row.modified_at,
    )
