"""What the database says must be on the disk, read in one transaction, with or without a running Sesame.

Used by the check of a data directory and by backups.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from sesame.model import records
from sesame.model.errors import ConfigurationError
from sesame.model.function import Package
from sesame.model.object import ObjectKind
from sesame.model.records import Record
from sesame.model.standing import Standing
from sesame.store import outbox
from sesame.store.documents import decode_records
from sesame.store.packages.named import named_packages
from sesame.store.sql.backends import backend_of
from sesame.store.sql.migrate import revision_of
from sesame.store.sql.object_schema import object_of, objects, parts, uploads
from sesame.store.sql.refusals import NEXT_STEPS, damaged
from sesame.store.sql.schema import CATALOG, counters
from sesame.store.sql.upgraded import as_of_today


class DataPaths(Protocol):
    """The layout of a data directory; `data_dir.DataDir` implements it. `bucket` is the setting `objects`."""

    path: Path
    logs: Path
    logstores: Path
    segments: Path
    packages: Path
    objects: Path
    quarantine: Path
    bucket: str | None

    @property
    def database(self) -> Path | str: ...
    def standing(self) -> Standing:
        """What the node of a cluster that uses it has said of itself last, if any has."""
        ...


class BlobRow(msgspec.Struct, frozen=True):
    """A row that mentions a blob. `owner` describes the row; `md5` is "" if the row does not have it.

    A blob that `grows` may be longer on the disk: an append writes after the first `size` bytes.
    """

    owner: str
    bucket: str
    blob: str
    size: int
    crc64: int
    md5: str
    grows: bool


class Inventory(msgspec.Struct, frozen=True):
    """`packages` by SHA-256. `schema` is the migration of the database, `revision` the catalog's last change."""

    schema: str
    revision: int
    records: list[Record]
    blobs: dict[str, BlobRow]
    packages: dict[str, Package]
    uploads: frozenset[str]
    removed_blobs: frozenset[str]
    announced_blobs: frozenset[str]
    released_packages: frozenset[str]
    orphan_parts: list[str]


def read_inventory(database: Path | str) -> Inventory:
    """From a path or a URL. Raises `ConfigurationError` if the database cannot be read or has a newer version."""
    backend = backend_of(database)
    return backend.follow(lambda connection: inventory_of(connection, backend.shown))


def blob_row(database: Path | str, blob: str) -> BlobRow | None:
    """The row that mentions a blob now, for a second check of something that may change meanwhile."""
    return backend_of(database).follow(lambda connection: next(iter(_blob_rows(connection, blob)), None))


def inventory_of(connection: sa.Connection, shown: str) -> Inventory:
    """As `read_inventory`, for the state that `connection` sees; `shown` names its database in messages.

    A file of an earlier version is read as its upgrade would leave it, and not changed.
    """
    schema = revision_of(connection)
    if schema is None:
        raise damaged(shown, "it has lost the number of its schema")
    with as_of_today(connection, shown) as today:
        return _read(today, schema, shown)


def _read(connection: sa.Connection, schema: str, shown: str) -> Inventory:
    revision = connection.execute(sa.select(counters.c.value).where(counters.c.name == CATALOG)).scalar_one_or_none()
    if revision is None:
        raise damaged(shown, "it has lost the number of its last change")
    found = list(decode_records(connection))
    known_uploads = frozenset(connection.execute(sa.select(uploads.c.upload_id)).scalars())
    part_owners = connection.execute(sa.select(parts.c.upload_id, parts.c.number)).all()
    return Inventory(
        schema=schema,
        revision=revision,
        records=found,
        blobs={row.blob: row for row in _blob_rows(connection)},
        packages=named_packages(found),
        uploads=known_uploads,
        removed_blobs=_subjects(connection, outbox.BLOB_REMOVED),
        announced_blobs=_subjects(connection, outbox.BLOB_ANNOUNCED),
        released_packages=_subjects(connection, outbox.PACKAGE_RELEASED),
        orphan_parts=[f"part {number} of {owner}" for owner, number in part_owners if owner not in known_uploads],
    )


def _blob_rows(connection: sa.Connection, blob: str = "") -> Iterator[BlobRow]:
    wanted = [objects.c.blob == blob] if blob else [objects.c.blob != ""]
    for row in connection.execute(sa.select(objects).where(*wanted)):
        try:
            stored = object_of(row)
        except (ValueError, msgspec.DecodeError) as error:
            raise ConfigurationError(
                f"the row of object {row.key!r} in bucket '{row.bucket}' cannot be read: {error}. {NEXT_STEPS}"
            ) from error
        yield BlobRow(
            owner=f"object '{stored.key}' in bucket '{stored.bucket}'",
            bucket=stored.bucket,
            blob=stored.blob,
            size=stored.size,
            crc64=stored.crc64,
            md5=stored.etag if stored.kind is ObjectKind.NORMAL else "",
            grows=stored.kind is ObjectKind.APPENDABLE,
        )
    joined = sa.select(parts, uploads.c.bucket, uploads.c.key).join(uploads, parts.c.upload_id == uploads.c.upload_id)
    for row in connection.execute(joined.where(parts.c.blob == blob) if blob else joined):
        key = row.key.decode("utf-8", "replace")
        owner = f"part {row.number} of an upload of '{key}' to bucket '{row.bucket}'"
        yield BlobRow(owner, row.bucket, row.blob, row.size, int(row.crc64), row.etag, grows=False)


def _subjects(connection: sa.Connection, topic: str) -> frozenset[str]:
    return frozenset(entry.subject for entry in outbox.pending(connection, topic))


def buckets(inventory: Inventory) -> set[str]:
    return {record.name for record in inventory.records if record.kind == records.BUCKET}


def describe(record: Record) -> str:
    """`function 's/f'`."""
    name: Any = f"{record.parent}/{record.name}" if record.parent else record.name
    return f"{record.kind} '{name}'"


def users_of(inventory: Inventory, sha256: str) -> str:
    """The records that name a package."""
    return ", ".join(describe(record) for record in inventory.records if _names(record, sha256))


def _names(record: Record, sha256: str) -> bool:
    if record.kind in (records.FUNCTION, records.LAYER_VERSION):
        return bool(record.document.package.sha256 == sha256)
    return record.kind == records.FROZEN_FUNCTION and record.document.function.package.sha256 == sha256
