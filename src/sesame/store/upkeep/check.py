"""Checks a data directory: database, rows against files, packages against records, every digest; changes nothing.

Run by `sesame doctor --check`, also beside a running Sesame: apparent damage is checked again before it is reported.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sesame.model import records
from sesame.model.errors import ConfigurationError, Unusable
from sesame.model.function import Function, Package
from sesame.model.layer import parse_layer_arn
from sesame.store.logs.logstores.sealing import damaged_segments
from sesame.store.packages.unpack import unpack
from sesame.store.quarantine import Quarantine
from sesame.store.sql import sqlite
from sesame.store.sql.backends import backend_of
from sesame.store.upkeep.check_bucket import check_bucket
from sesame.store.upkeep.contents import blob_path
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
from sesame.store.upkeep.files import differences, sums
from sesame.store.upkeep.inventory import (
    BlobRow,
    DataPaths,
    Inventory,
    blob_row,
    buckets,
    describe,
    read_inventory,
    users_of,
)
from sesame.store.upkeep.layout import DIRECTORIES, FILES, misplaced

# POLICY: how many files without a row one crash can leave, one for each interrupted request: at least this many, or one
# for every two files that have a row. More such files mean that rows were lost.
LEFT_BY_A_CRASH_LEAST, LEFT_BY_A_CRASH_MAX = 16, 100
_SHARDS = frozenset(f"{number:02x}" for number in range(256))
_KNOWN = frozenset(
    {
        *(
            f"{name}{suffix}"
            for name in ("sesame.db", "logs.db", "logstores.db")
            for suffix in ("", "-wal", "-shm", "-journal")
        ),
        *DIRECTORIES,
        *FILES,
        *("database.json", "objects.json", "nas"),
    }
)
# What Sesame itself, and a former version, keep beside packages.
_BESIDE_PACKAGES = frozenset({"staging", "compiling"})


def check(paths: DataPaths, checked: Checked, *, running: bool, began_at: float | None = None) -> Iterator[Damage]:
    """Yields all damage and fills `checked`. Reads every byte, which may take long.

    `began_at`: when the Sesame that runs on the directory, or was killed on it, had started (Unix seconds); None
    after a clean stop. Its interrupted requests may have left files without a row, which is not damage.
    """
    if _is_foreign(paths.path):
        yield Damage(
            f"{paths.path} is not a data directory: it has no files of Sesame's", "name another with --data-dir"
        )
        return
    yield from _strays(paths)
    yield from (Damage(f"{paths.logs}: {line}", "the next start sets it aside") for line in _sqlite(paths.logs))
    damaged = _sqlite(paths.logstores)
    yield from (Damage(f"{paths.logstores}: {line}", RESTORE) for line in damaged)
    if not damaged:
        yield from _segments(paths)
    files = _blob_files(paths.objects)
    # With a bucket these folders are a cache.
    folders = _package_folders(paths.packages) if paths.bucket is None else []
    backend = backend_of(paths.database)
    absent = backend.absent()
    if absent == "missing" and not files and not folders:
        yield Damage(f"{paths.path} holds no database, no objects and no packages: nothing was kept yet", harmless=True)
        return
    if absent:
        yield Damage(f"{backend.shown}: it is {absent}", RESTORE)
        return
    yield from (Damage(f"{backend.shown}: {line}", RESTORE) for line in backend.damage())
    try:
        inventory = read_inventory(paths.database)
    except ConfigurationError as error:
        yield Damage(str(error))
        return
    checked.records = len(inventory.records)
    yield from _catalog(inventory)
    if paths.bucket is not None:
        yield from check_bucket(paths, inventory, checked, running=running)
    else:
        yield from _folders(paths, inventory, (files, folders), checked, running=running, began_at=began_at)
    aside = Quarantine(paths.quarantine).count()
    if aside:
        yield Damage(f"{aside} files and directories that nothing mentioned lie in {paths.quarantine}", harmless=True)


def _folders(
    paths: DataPaths,
    inventory: Inventory,
    found: tuple[list[Path], list[Path]],
    checked: Checked,
    *,
    running: bool,
    began_at: float | None,
) -> Iterator[Damage]:
    """Files of objects and folders of packages, listed before the rows were read."""
    files, folders = found
    yield from _blobs(paths, inventory, files, checked, running=running)
    known = inventory.blobs.keys() | inventory.removed_blobs
    unknown = [path for path in files if path.name not in known or path != blob_path(paths, path.name)]
    left_max = _left_max(len(inventory.blobs))
    what = "files of objects that no row of the database mentions"
    yield from _unnamed(what, unknown, began_at, left_max, running=running)
    yield from _packages(paths, inventory, checked, running=running)
    known = inventory.packages.keys() | inventory.released_packages
    unknown = [path for path in folders if path.name not in known]
    left_max = _left_max(len(inventory.packages))
    yield from _unnamed("code packages that no record names", unknown, began_at, left_max, running=running)


def _sqlite(path: Path) -> list[str]:
    return sqlite.integrity(path) if path.exists() else []


def _segments(paths: DataPaths) -> Iterator[Damage]:
    """Sealed logs whose checksum does not match."""
    for path in damaged_segments(paths.logstores, paths.segments):
        yield Damage(
            f"{path}: the segment is missing or damaged; queries read its logs from {paths.logstores.name}",
            "a running Sesame makes it again when a query comes upon it",
        )


def _is_foreign(path: Path) -> bool:
    names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    return bool(names) and names.isdisjoint(_KNOWN)


def _strays(paths: DataPaths) -> Iterator[Damage]:
    for path in sorted(paths.path.iterdir()) if paths.path.is_dir() else ():
        if path.name not in _KNOWN:
            yield Damage(f"{path} was not put there by Sesame; it is left alone", harmless=True)
    for each in misplaced(paths.path):
        yield Damage(str(each), f"move it away before the next start; if it was a {each.expected}, {RESTORE}")


def _catalog(inventory: Inventory) -> Iterator[Damage]:
    """Records that refer to missing records."""
    known = {(record.kind, record.parent, record.name) for record in inventory.records}
    if not inventory.records:
        yield Damage("the database holds no records, not even the account", RESTORE)
    for record in inventory.records:
        if record.kind == records.FUNCTION and (records.SERVICE, "", record.parent) not in known:
            yield Damage(f"{describe(record)} belongs to a service that does not exist", RESTORE)
        if record.kind in (records.FUNCTION, records.FROZEN_FUNCTION):
            function: Function = record.document if record.kind == records.FUNCTION else record.document.function
            for arn in function.layers:
                named = parse_layer_arn(arn)
                if named is not None and (records.LAYER_VERSION, *named) not in known:
                    yield Damage(f"{describe(record)} has the layer {arn}, which does not exist", RESTORE)
    there = buckets(inventory)
    for bucket in sorted({row.bucket for row in inventory.blobs.values()} - there):
        yield Damage(f"the bucket '{bucket}' has objects and does not exist", RESTORE)
    for part in inventory.orphan_parts:
        yield Damage(f"{part} belongs to no upload", RESTORE)


def _blob_files(root: Path) -> list[Path]:
    """Everything below `data`, including foreign entries. Listed before the rows are read."""
    shards = list((root / "data").iterdir()) if (root / "data").is_dir() else []
    found: list[Path] = []
    for shard in shards:
        is_shard = shard.name in _SHARDS and shard.is_dir() and not shard.is_symlink()
        found += shard.iterdir() if is_shard else [shard]
    return found


def _blobs(
    paths: DataPaths, inventory: Inventory, files: list[Path], checked: Checked, *, running: bool
) -> Iterator[Damage]:
    for row in inventory.blobs.values():
        what = _blob_damage(paths, row)
        if what and running:
            now = blob_row(paths.database, row.blob)
            what = _blob_damage(paths, now) if now is not None else ""
        checked.blobs += 1
        checked.blob_bytes += row.size
        if what:
            yield Damage(f"{row.owner}: its file {blob_path(paths, row.blob)} {what}", RESTORE)


def _left_max(named: int) -> int:
    return min(LEFT_BY_A_CRASH_MAX, max(LEFT_BY_A_CRASH_LEAST, named // 2))


def _unnamed(what: str, found: list[Path], began_at: float | None, left_max: int, *, running: bool) -> Iterator[Damage]:
    """Files that no row names: left by interrupted requests, or a sign that rows were lost."""
    found = [path for path in found if not running or _is_old(path)]
    left = [path for path in found if began_at is not None and _modified_at(path) >= began_at]
    if len(left) > left_max:
        left = []
    lost = sorted(set(found) - set(left))
    if lost:
        yield Damage(
            f"{len(lost)} {what}: {_names_of(lost)}",
            "the database may have lost rows: compare it with a backup; a start sets the files aside",
        )
    if left:
        yield Damage(
            f"{len(left)} {what}, left by requests that the last end of Sesame interrupted: {_names_of(sorted(left))}",
            "the next start sets them aside",
            harmless=True,
        )


def _names_of(paths: list[Path]) -> str:
    return ", ".join(map(str, paths[:SHOWN_MAX]))


def _blob_damage(paths: DataPaths, row: BlobRow) -> str:
    path = blob_path(paths, row.blob)
    try:
        if not path.is_file() or path.is_symlink():
            return "is missing" if not path.exists() else "is not a file"
        if what := wrong_size(row, path.stat().st_size):
            return what
        found = sums(path, row.size)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return wrong_bytes(row, found)


def _package_folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.name not in _BESIDE_PACKAGES] if root.is_dir() else []


def _packages(paths: DataPaths, inventory: Inventory, checked: Checked, *, running: bool) -> Iterator[Damage]:
    for sha256, package in sorted(inventory.packages.items()):
        checked.packages += 1
        for what in _package_damage(paths.packages / sha256, package):
            if running and sha256 not in read_inventory(paths.database).packages:
                break
            yield Damage(f"code package {sha256} of {users_of(inventory, sha256)}: {what}", DEPLOY_AGAIN)


def _package_damage(folder: Path, package: Package) -> Iterator[str]:
    archive = folder / "archive.zip"
    try:
        found = sums(archive)
    except OSError as error:
        yield f"its archive cannot be read: {error.strerror}"
        return
    if found.sha256 != folder.name:
        yield "its archive is damaged: the SHA-256 differs"
        return
    if (str(found.crc64), found.size) != (package.checksum, package.size_bytes):
        yield "its record says another checksum or size than its archive has"
    if not (folder / "code").is_dir():
        yield "its directory is gone; it is unpacked again when it is next called"
        return
    with tempfile.TemporaryDirectory(prefix="sesame-check-") as fresh:
        try:
            unpack(archive.read_bytes(), Path(fresh))
        except Unusable as error:
            yield f"its archive is no longer accepted: {error}"
            return
        yield from (f"code/{line}" for line in list(differences(Path(fresh), folder / "code"))[:SHOWN_MAX])


def _is_old(path: Path) -> bool:
    return 0.0 < _modified_at(path) < time.time() - IN_FLIGHT_S


def _modified_at(path: Path) -> float:
    """Unix seconds; 0.0 if it is gone."""
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0
