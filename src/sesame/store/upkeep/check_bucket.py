"""Checks a database's blobs and archives in a bucket against their rows and digests; changes nothing.

Part of `store.upkeep.check`.
"""

import time
from collections.abc import Collection, Iterator, Mapping

from sesame.model.function import Package
from sesame.store.upkeep.cluster_logs import check_logs, read_rows
from sesame.store.upkeep.contents import BucketContents, Kept
from sesame.store.upkeep.damage import (
    DEPLOY_AGAIN,
    IN_FLIGHT_S,
    RESTORE,
    SHOWN_MAX,
    Checked,
    Damage,
    wrong_bytes,
    wrong_size,
)
from sesame.store.upkeep.inventory import BlobRow, DataPaths, Inventory, blob_row, read_inventory, users_of


def check_bucket(paths: DataPaths, inventory: Inventory, checked: Checked, *, running: bool) -> Iterator[Damage]:
    """Raises `ConfigurationError` if the store fails. `running`: a Sesame changes both meanwhile."""
    assert paths.bucket is not None
    with BucketContents(paths.bucket) as contents:
        blobs, packages = contents.blobs(), contents.packages()
        for row in inventory.blobs.values():
            checked.blobs += 1
            checked.blob_bytes += row.size
            what = _blob_damage(contents, blobs.get(row.blob), row)
            if what and running:
                now = blob_row(paths.database, row.blob)
                what = _blob_damage(contents, contents.kept(row.blob), now) if now is not None else ""
            if what:
                yield Damage(f"{row.owner}: blob {row.blob} in {contents.shown} {what}", RESTORE)
        for sha256, package in sorted(inventory.packages.items()):
            checked.packages += 1
            what = _package_damage(contents, packages.get(sha256), sha256, package)
            if what and running and sha256 not in read_inventory(paths.database).packages:
                continue
            if what:
                yield Damage(f"code package {sha256} of {users_of(inventory, sha256)}: {what}", DEPLOY_AGAIN)
        known = inventory.blobs.keys() | inventory.removed_blobs | inventory.announced_blobs
        if running:
            now_known = read_inventory(paths.database)
            known |= now_known.blobs.keys() | now_known.removed_blobs | now_known.announced_blobs
        yield from _unnamed("blobs that no row of the database mentions", blobs, known, running=running)
        named = inventory.packages.keys() | inventory.released_packages
        yield from _unnamed("code packages that no record names", packages, named, running=running)
        rows = read_rows(paths)
        segments = contents.log_segments()
        yield from check_logs(paths, contents, rows, checked)
        what = "segments of logs that no row of the database mentions"
        # Other nodes of a cluster may run, whether this one does or not.
        yield from _unnamed(what, segments, rows.digests | read_rows(paths).digests, running=True)


def _blob_damage(contents: BucketContents, kept: Kept | None, row: BlobRow) -> str:
    if kept is None:
        return "is missing"
    if what := wrong_size(row, kept.size):
        return what
    try:
        found = contents.blob(row.blob, row.size)
    except FileNotFoundError:
        return "is missing"
    return wrong_size(row, found.size) or wrong_bytes(row, found)


def _package_damage(contents: BucketContents, kept: Kept | None, sha256: str, package: Package) -> str:
    try:
        found = contents.archive(sha256) if kept is not None else None
    except FileNotFoundError:
        found = None
    if found is None:
        return f"its archive is missing in {contents.shown}"
    if found.sha256 != sha256:
        return f"its archive in {contents.shown} is damaged: the SHA-256 differs"
    if (str(found.crc64), found.size) != (package.checksum, package.size_bytes):
        return "its record says another checksum or size than its archive has"
    return ""


def _unnamed(what: str, found: Mapping[str, Kept], known: Collection[str], *, running: bool) -> Iterator[Damage]:
    """The outbox names what a crash left: other unnamed objects belong to lost rows, or to another database."""
    before = time.time() - IN_FLIGHT_S
    lost = sorted(
        name for name, kept in found.items() if name not in known and not (running and kept.modified_at > before)
    )
    if lost:
        yield Damage(
            f"{len(lost)} {what}: {', '.join(lost[:SHOWN_MAX])}",
            "the database may have lost rows: compare it with a backup; nothing deletes them",
        )
