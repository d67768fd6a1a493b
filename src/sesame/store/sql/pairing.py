"""Keeps a data directory together with the database elsewhere that describes it.

Called by `app` once the database is open. Rows name files of objects and code packages; with another
directory, or another database, these files would be missing. Therefore both contain the same number.
"""

import secrets
from pathlib import Path

import msgspec
import sqlalchemy as sa

from sesame.model import records as kinds
from sesame.model.errors import ConfigurationError
from sesame.store.durable import sync_folder, write_file
from sesame.store.sql.database import Database
from sesame.store.sql.object_schema import objects
from sesame.store.sql.schema import PAIR, counters, records

PAIR_FILE = "database.json"
_NUMBER_BITS = 62


class Pair(msgspec.Struct, frozen=True):
    """The content of `database.json` in the data directory: which database describes it.

    `shown` is the URL, without a password, of the other part of the pair; both contain the number.
    """

    shown: str
    number: int


def require_own_database(folder: Path, place: Path | str) -> None:
    """Raises `ConfigurationError` if `place` is a file but a database elsewhere has the directory's records."""
    found = _read(folder) if isinstance(place, Path) else None
    if found is not None:
        raise ConfigurationError(
            f"the records of the data directory {folder} are in {found.shown}: name that database with --database, or "
            f"bring them back with `sesame db copy {found.shown} {folder}`"
        )


async def pair(database: Database, folder: Path, *, has_data: bool, keeps_data: bool = True) -> None:
    """For a start with a database elsewhere. `has_data`: whether the directory contains objects or code packages.

    If these are elsewhere too (not `keeps_data`), the directory may be new: `store.blobs.ownership` has checked
    that the database belongs to them.

    Raises `ConfigurationError` if the database belongs to another directory, or the directory to another database.
    """
    found = _read(folder)
    number, described = await database.load(_state)
    if found is None:
        if number and keeps_data:
            raise ConfigurationError(
                f"the database {database.shown} belongs to another data directory than {folder}, which has no "
                f"{PAIR_FILE}: name that directory with --data-dir, or another database"
            )
        if described and keeps_data and not has_data:
            raise ConfigurationError(
                f"the database {database.shown} has objects or functions, but the data directory {folder} holds "
                "neither objects nor code packages: name the right directory with --data-dir, or another database"
            )
        found = Pair(database.shown, number or new_number())
        # The file first: after a crash in between, the database without a number adopts the file's.
        write_pair(folder / PAIR_FILE, found)
    elif number and number != found.number:
        raise ConfigurationError(
            f"the data directory {folder} belongs to the database {found.shown}, and {database.shown} to another "
            "directory: name those that belong together"
        )
    elif found.shown != database.shown:
        found = Pair(database.shown, found.number)
        write_pair(folder / PAIR_FILE, found)
    if not number:
        await database.write(lambda connection: set_number(connection, found.number))


def new_number() -> int:
    return secrets.randbits(_NUMBER_BITS) + 1


def number_of(connection: sa.Connection) -> int:
    """The database's number; 0 if it has none."""
    return connection.execute(sa.select(counters.c.value).where(counters.c.name == PAIR)).scalar_one_or_none() or 0


def set_number(connection: sa.Connection, number: int) -> None:
    """For a database without a number."""
    connection.execute(sa.insert(counters), {"name": PAIR, "value": number})


def part(folder: Path) -> None:
    """Removes the pairing, once the directory's records are in its own database again."""
    (folder / PAIR_FILE).unlink(missing_ok=True)


def read_pair(path: Path, says: str) -> Pair | None:
    """Raises `ConfigurationError` if the file is damaged; `says` describes its content for the message."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pair)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path}, which says {says}, cannot be read: {error}") from error


def write_pair(path: Path, pair: Pair) -> None:
    """On return the file is durable, and has replaced any other."""
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)
    write_file(draft, msgspec.json.format(msgspec.json.encode(pair)) + b"\n")
    draft.replace(path)
    sync_folder(path.parent)


def _read(folder: Path) -> Pair | None:
    return read_pair(folder / PAIR_FILE, "which database has the records of this directory")


def _state(connection: sa.Connection) -> tuple[int, bool]:
    """The database's number, and whether its rows mention objects or code."""
    some_object = connection.execute(sa.select(objects.c.bucket).where(objects.c.blob != "").limit(1)).first()
    holders = records.c.kind.in_((kinds.FUNCTION, kinds.FROZEN_FUNCTION, kinds.LAYER_VERSION))
    some_code = connection.execute(sa.select(records.c.kind).where(holders).limit(1)).first()
    return number_of(connection), some_object is not None or some_code is not None
