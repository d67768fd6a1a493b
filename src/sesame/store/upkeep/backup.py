"""Makes a consistent copy of a data directory, also beside a running Sesame, and restores one.

Called by `sesame backup` and `sesame restore`. A backup appears under its name only when it is complete; a restore
leaves nothing behind unless every digest matched.
"""

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import msgspec
import sqlalchemy as sa

from sesame import __version__
from sesame.model.errors import ConfigurationError, Unusable
from sesame.store.durable import make_folder, sync_folder, sync_tree
from sesame.store.logs.logstores.bucket_groups import forget_bucket
from sesame.store.logs.shared.sealing import unseal
from sesame.store.packages.folder import PackageFolder
from sesame.store.quarantine import Quarantine
from sesame.store.sql.backends import backend_of
from sesame.store.sql.copying import copy_database, copy_file, make_own, require_empty, save, upgrade_file
from sesame.store.upkeep.cluster_logs import add_missing, until_brought
from sesame.store.upkeep.contents import BucketContents, Contents, contents_of
from sesame.store.upkeep.files import sums
from sesame.store.upkeep.inventory import BlobRow, DataPaths, Inventory, inventory_of, read_inventory
from sesame.store.upkeep.manifest import DATABASE, FORMAT, MANIFEST, CopiedFile, Manifest, read_manifest

# Objects that change while they are copied are copied again, with a newer state of the database.
ROUNDS_MAX = 20
_LOGS, _LOGSTORES, _BLOBS, _PACKAGES = "logs.db", "logstores.db", "blobs", "packages"


Progress = Callable[[str], None]


def back_up(paths: DataPaths, target: Path, progress: Progress = lambda _text: None) -> Manifest:
    """Makes a consistent copy of database, objects, code packages and logs. `target` must not exist.

    In a cluster, any node's data directory will do: the copy includes the logs in the bucket.

    Raises `ConfigurationError` if there is nothing to copy, if something is damaged or missing, and if objects
    change faster than they can be copied; then no `target` exists.
    """
    if os.path.lexists(target):
        raise ConfigurationError(f"{target} already exists: name a directory that does not exist yet")
    if target.is_relative_to(paths.path):
        raise ConfigurationError(f"{target} lies inside the data directory {paths.path}: name a place outside")
    if backend_of(paths.database).absent():
        raise ConfigurationError(f"{paths.path} holds no database: name the data directory with --data-dir")
    make_folder(target.parent)
    with _aside(target) as partial:
        # Sealed segments are not copied, because they are made again from the logstores' database.
        lost: list[str] = []
        logs = {partial / _LOGS: paths.logs, partial / _LOGSTORES: paths.logstores}
        with contents_of(paths) as contents:
            inventory, files = _copy_consistently(paths, (contents, partial), progress)
            brought = until_brought(paths) if isinstance(contents, BucketContents) else None
            for copied, own in logs.items():
                if own.exists():
                    progress("logs")
                    copy_file(own, copied)
            if isinstance(contents, BucketContents):
                lost = add_missing(paths, contents, partial / _LOGS, partial / _LOGSTORES)
        files += [_sealed(copied, partial) for copied in logs if copied.exists()]
        manifest = Manifest(
            format=FORMAT,
            sesame=__version__,
            schema=inventory.schema,
            revision=inventory.revision,
            created_at=time.time(),
            files=sorted(files, key=lambda file: file.path),
            lost_logs=lost,
            logs_until=None if brought is None else brought.until,
            logs_late=brought is not None and brought.late,
        )
        sync_tree(partial)
        (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        sync_tree(partial)
    return manifest


def restore(source: Path, paths: DataPaths, progress: Progress = lambda _text: None) -> Manifest:
    """Makes `paths` a data directory from a backup. It must not exist, or be an empty directory.

    A bucket must be empty. A database elsewhere must be empty; it gets its rows last, all or none. Raises
    `ConfigurationError` if the backup is incomplete or differs from its manifest.
    """
    target = paths.path
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigurationError(
            f"{target} is not empty: restore to a new directory, and start Sesame there with --data-dir"
        )
    if target.is_relative_to(source):
        raise ConfigurationError(f"{target} lies inside the backup {source}: name a place outside")
    manifest = read_manifest(source)
    if isinstance(paths.database, str):
        require_empty(paths.database)
    make_folder(target.parent)
    with _emptied_unless_done(paths) as bucket, _aside(target) as partial:
        packages = PackageFolder(partial / "packages", Quarantine(partial / "quarantine"))
        packages.open()
        for number, file in enumerate(manifest.files, 1):
            progress(f"{number} of {len(manifest.files)} files")
            _restore_file(source, file, (partial, bucket), packages)
        if (partial / "objects").is_dir():
            (partial / "objects").chmod(0o700)
        make_own(partial / DATABASE)
        unseal(partial / _LOGS)
        forget_bucket(partial / _LOGSTORES)
        if isinstance(paths.database, str):
            upgrade_file(partial / DATABASE)
            copy_database(partial / DATABASE, paths.database, progress)
            for path in partial.glob(f"{DATABASE}*"):
                path.unlink()
        sync_tree(partial)
    return manifest


@contextlib.contextmanager
def _emptied_unless_done(paths: DataPaths) -> Iterator[BucketContents | None]:
    """The empty bucket to which objects and code are restored; None if they are restored into the directory."""
    if paths.bucket is None:
        yield None
        return
    with BucketContents(paths.bucket) as bucket:
        bucket.require_empty()
        try:
            yield bucket
        except BaseException:
            bucket.clear()
            raise


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A directory beside `target` that is renamed to it on success, and removed on failure.

    A killed backup or restore leaves its directory behind; the next one to the same target removes it.
    """
    _remove_left_behind(target)
    partial, lock = _locked_partial(target)
    try:
        yield partial
        # Replaces an empty directory of this name; the system refuses anything else.
        partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        where = error.filename or partial
        raise ConfigurationError(f"{where}: {error.strerror}; nothing was left at {target}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _locked_partial(target: Path) -> tuple[Path, int]:
    """A new directory, and a descriptor that holds its lock while this process fills it."""
    while True:
        partial = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        try:
            partial.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"nothing can be written to {target.parent}: {error.strerror}; name another directory than {target}"
            ) from error
        # Another process may mistake a directory that is not locked yet for an abandoned one, and remove it.
        lock = _lock(partial)
        if lock is not None and partial.exists():
            return partial, lock
        if lock is not None:
            os.close(lock)


def _remove_left_behind(target: Path) -> None:
    """Removes the directories of killed processes; those of a living process are locked and stay."""
    for partial in target.parent.glob(f"{glob.escape(f'.{target.name}')}.partial-*"):
        lock = _lock(partial)
        if lock is not None:
            shutil.rmtree(partial, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """None if another process holds the lock or has removed the directory, or if it is not a directory."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _copy_consistently(
    paths: DataPaths, ends: tuple[Contents, Path], progress: Progress
) -> tuple[Inventory, list[CopiedFile]]:
    """Copies the database, then the files its rows mention; repeats this if some of those have changed meanwhile.

    Blobs never change under their name except by appends, so copies stay valid for the next round.
    """
    contents, partial = ends
    blobs: dict[str, tuple[BlobRow, CopiedFile]] = {}
    packages: dict[str, CopiedFile] = {}

    def copy_files(connection: sa.Connection) -> tuple[Inventory, list[tuple[str, str]]]:
        inventory = inventory_of(connection, shown)
        for blob in [blob for blob in blobs if blob not in inventory.blobs]:
            (partial / blobs.pop(blob)[1].path).unlink()
        for sha256 in [sha256 for sha256 in packages if sha256 not in inventory.packages]:
            (partial / packages.pop(sha256).path).unlink()
        missing = _copy_blobs(contents, partial, inventory, blobs, progress)
        return inventory, missing + _copy_packages(contents, partial, inventory, packages, progress)

    shown = backend_of(paths.database).shown
    for _round in range(ROUNDS_MAX):
        progress("database")
        (partial / DATABASE).unlink(missing_ok=True)
        inventory, missing = save(paths.database, partial / DATABASE, copy_files)
        if not missing:
            database = _sealed(partial / DATABASE, partial)
            return inventory, [database, *(file for _row, file in blobs.values()), *packages.values()]
        # Compare with a later state of the database: a file that it still names but that is missing is damage.
        now = read_inventory(paths.database)
        damage = [what for name, what in missing if name in now.blobs or name in now.packages]
        if damage:
            raise ConfigurationError(
                f"{damage[0]}{f', and {len(damage) - 1} more' if len(damage) > 1 else ''}: "
                "`sesame doctor --check` lists all damage; nothing was copied"
            )
    raise ConfigurationError(f"objects change faster than they can be copied ({ROUNDS_MAX} rounds): try again later")


def _copy_blobs(
    contents: Contents,
    partial: Path,
    inventory: Inventory,
    done: dict[str, tuple[BlobRow, CopiedFile]],
    progress: Progress,
) -> list[tuple[str, str]]:
    """Returns the missing or damaged blobs, each with a description."""
    missing = []
    for number, row in enumerate(inventory.blobs.values(), 1):
        if row.blob in done and done[row.blob][0] == row:
            continue
        progress(f"object {number} of {len(inventory.blobs)}")
        target = partial / _BLOBS / row.blob[:2] / row.blob
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("wb") as file:
                found = contents.blob(row.blob, row.size, file)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            missing.append((row.blob, f"the file of {row.owner} is missing"))
            continue
        if (found.size, found.crc64) != (row.size, row.crc64):
            target.unlink()
            missing.append((row.blob, f"the file of {row.owner} is damaged"))
            continue
        done[row.blob] = (row, _copied(target, partial, found.size, found.sha256))
    return missing


def _copy_packages(
    contents: Contents, partial: Path, inventory: Inventory, done: dict[str, CopiedFile], progress: Progress
) -> list[tuple[str, str]]:
    missing = []
    for number, sha256 in enumerate(inventory.packages, 1):
        if sha256 in done:
            continue
        progress(f"code package {number} of {len(inventory.packages)}")
        target = partial / _PACKAGES / f"{sha256}.zip"
        target.parent.mkdir(exist_ok=True)
        try:
            with target.open("wb") as file:
                found = contents.archive(sha256, file)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            missing.append((sha256, f"the archive of code package {sha256} is missing"))
            continue
        if found.sha256 != sha256:
            target.unlink()
            missing.append((sha256, f"the archive of code package {sha256} is damaged"))
            continue
        done[sha256] = _copied(target, partial, found.size, found.sha256)
    return missing


def _sealed(database: Path, partial: Path) -> CopiedFile:
    """A copied database, made readable by its owner only."""
    database.chmod(0o600)
    found = sums(database)
    return _copied(database, partial, found.size, found.sha256)


def _copied(target: Path, partial: Path, size: int, sha256: str) -> CopiedFile:
    return CopiedFile(target.relative_to(partial).as_posix(), size, sha256)


def _restore_file(
    source: Path, file: CopiedFile, ends: tuple[Path, BucketContents | None], packages: PackageFolder
) -> None:
    """Copies one file to its place, or unpacks a code package. Raises `ConfigurationError` if its digest differs."""
    partial, bucket = ends
    target = _place(file, partial, packages)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as copy:
            target.chmod(0o600)
            found = sums(source / file.path, None, copy)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{source / file.path} is missing: this backup is damaged") from error
    if (found.size, found.sha256) != (file.size, file.sha256):
        raise ConfigurationError(
            f"{source / file.path} is damaged: found {found.size} bytes with SHA-256 {found.sha256}, expected "
            f"{file.size} with {file.sha256}; restore another backup"
        )
    if bucket is not None and file.path.startswith(f"{_BLOBS}/"):
        bucket.put_blob(target.name, target)
        target.unlink()
    if file.path.startswith(f"{_PACKAGES}/"):
        archive = target.read_bytes()
        if bucket is not None:
            bucket.put_archive(found.sha256, target)
        target.unlink()
        try:
            packages.publish(packages.stage(archive), found.sha256)
        except Unusable as error:
            raise ConfigurationError(f"{source / file.path} cannot be unpacked: {error}") from error


def _place(file: CopiedFile, partial: Path, packages: PackageFolder) -> Path:
    """Where a file of a backup belongs in a data directory; refuses unknown files."""
    match PurePosixPath(file.path).parts:
        case ("sesame.db" | "logs.db" | "logstores.db",):
            return partial / file.path
        case ("blobs", shard, blob) if blob.isalnum() and blob[:2] == shard:
            return partial / "objects" / "data" / shard / blob
        case ("packages", name) if name == f"{file.sha256}.zip":
            return packages.scratch()
    raise ConfigurationError(f"{MANIFEST} lists '{file.path}', which is not part of a backup")
