"""Keeps a database together with the bucket whose blobs its rows name, and records in a data directory where they are.

Called by `_storage` once the database is open. With another bucket or database, rows would name missing blobs, and one
Sesame would delete blobs that another one needs. Therefore both contain the same number.
"""

import asyncio
from pathlib import Path

import msgspec
import sqlalchemy as sa

from sesame.model.errors import ConfigurationError, StoreUnavailable
from sesame.store.blobs.bucket import Bucket, ConditionsUnknown, Conflict
from sesame.store.blobs.segments import folder_of, folder_of_archive
from sesame.store.documents import decode_records
from sesame.store.packages.named import named_packages
from sesame.store.sql.database import Database
from sesame.store.sql.object_schema import objects, parts
from sesame.store.sql.pairing import PAIR_FILE, Pair, new_number, number_of, read_pair, set_number, write_pair

# The file below the bucket's prefix, with the database's URL; and the file in the data directory, with the bucket's.
MARK = "sesame.json"
OBJECTS_FILE = "objects.json"
_SAYS_WHERE = "where the objects of this directory are"


def require_own_objects(folder: Path, place: str | None) -> None:
    """Raises `ConfigurationError` if no `place` is set but the directory's objects are elsewhere."""
    found = _read_file(folder) if place is None else None
    if found is not None:
        raise ConfigurationError(
            f"the objects of the data directory {folder} are in {found.shown}: name that place with --objects, or "
            "bring them back with `sesame backup` and `sesame restore`"
        )


def require_own_directory(folder: Path, number: int, shown: str) -> None:
    """For a node of a cluster, before it may lead: `number` is that of its database, 0 for none.

    Raises `ConfigurationError` for a directory that belongs to another database, or to objects elsewhere.
    """
    says = {PAIR_FILE: "which database has the records of this directory", OBJECTS_FILE: _SAYS_WHERE}
    for name, what in says.items():
        found = read_pair(folder / name, what)
        if found is not None and number and found.number != number:
            raise ConfigurationError(
                f"the data directory {folder} belongs to {found.shown}, and the database {shown} to another: name "
                "those that belong together, or an empty directory with --data-dir"
            )


async def own_bucket(database: Database, bucket: Bucket, folder: Path) -> None:
    """Raises `ConfigurationError` if the bucket does not answer, is used by others, or lacks blobs that rows name.

    Also raises it if the data directory's objects are in another place.
    """
    try:
        number = await _own(database, bucket)
    except StoreUnavailable as error:
        raise ConfigurationError(
            f"the objects cannot be reached: {error}; expected a bucket that answers: see to its endpoint, its keys "
            "and its name (docs/objects-in-s3.md)"
        ) from error
    here = await asyncio.to_thread(_read_file, folder)
    if here is not None and here.number != number:
        raise ConfigurationError(
            f"the objects of the data directory {folder} are in {here.shown}, and {bucket.shown} has those of another: "
            "name those that belong together"
        )
    if here is None or here.shown != bucket.shown:
        await asyncio.to_thread(write_pair, folder / OBJECTS_FILE, Pair(bucket.shown, number))


async def _own(database: Database, bucket: Bucket) -> int:
    mark = await _read_mark(bucket)
    number = await database.load(number_of)
    if mark is not None and number and mark.number != number:
        raise ConfigurationError(
            f"{bucket.shown} has the objects of the database {mark.shown}, and {database.shown} belongs to other "
            "objects: name those that belong together"
        )
    if mark is None or not number:
        await _require_fit(database, bucket, mark)
    if not number:
        number = new = mark.number if mark is not None else new_number()
        # The number first: after a crash in between, a bucket without a mark accepts it. A mark alone looks foreign.
        await database.write(lambda connection: set_number(connection, new))
    own = Pair(database.shown, number)
    if mark is None:
        await _put_first_mark(bucket, own)
    elif mark.shown != database.shown:
        await bucket.put(MARK, msgspec.json.encode(own))
    return number


async def _put_first_mark(bucket: Bucket, mark: Pair) -> None:
    """If several processes start with the bucket at once, one wins. Raises `ConfigurationError` for the others."""
    data = msgspec.json.encode(mark)
    try:
        await bucket.put_if(MARK, data, None)
    except ConditionsUnknown:
        await bucket.put(MARK, data)
    except Conflict as error:
        # The mark may be this process's own, from an attempt whose answer was lost.
        found = await _read_mark(bucket)
        if found is None or found.number != mark.number:
            raise ConfigurationError(
                f"{bucket.shown} was taken by another Sesame meanwhile: name another place with --objects"
            ) from error


async def _require_fit(database: Database, bucket: Bucket, mark: Pair | None) -> None:
    """Handles a pair of which one does not know the other: the bucket must have what rows name, and nothing else."""
    folders = await database.load(_named_folders)
    for each in folders:
        if not await bucket.holds(each):
            raise ConfigurationError(
                f"the database {database.shown} has objects or functions whose bytes are not in {bucket.shown}: name "
                "the right place with --objects, or move them there with `sesame backup` and `sesame restore`"
            )
    if folders:
        return
    if mark is not None:
        raise ConfigurationError(
            f"{bucket.shown} has the objects of the database {mark.shown}, and {database.shown} has none: name the "
            "database that has, take a backup back, or name another place with --objects"
        )
    if await bucket.holds(""):
        raise ConfigurationError(
            f"{bucket.shown} holds something already that is not Sesame's: name an empty prefix with --objects"
        )


async def _read_mark(bucket: Bucket) -> Pair | None:
    try:
        return msgspec.json.decode((await bucket.get(MARK)).data, type=Pair)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ConfigurationError(
            f"{bucket.shown}/{MARK}, which says whose objects these are, cannot be read: {error}"
        ) from error


def _named_folders(connection: sa.Connection) -> list[str]:
    """Some of the folders that must not be empty because rows name them."""
    folders = []
    for table in (objects, parts):
        blob = connection.execute(sa.select(table.c.blob).where(table.c.blob != "").limit(1)).scalar_one_or_none()
        if blob:
            folders.append(folder_of(blob))
    packages = named_packages(decode_records(connection))
    return folders + [folder_of_archive(sha256) for sha256 in sorted(packages)[:1]]


def _read_file(folder: Path) -> Pair | None:
    return read_pair(folder / OBJECTS_FILE, _SAYS_WHERE)
