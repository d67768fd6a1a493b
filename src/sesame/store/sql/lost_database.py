"""Refuses to start on a database that is missing, empty or damaged while the data that it described is still there.

Called by `app` before the database is opened. Reads only: after a refusal every file is as it was.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.store.sql import sqlite

NEXT_STEPS = (
    "Nothing was changed. Put the database back together with its -wal file, take a backup back with "
    "`sesame restore`, or start on another directory with --data-dir; `sesame doctor --check` lists what is there"
)
# More are not counted: the message says "at least".
COUNTED_MAX = 10_000
TABLES_NAMED_MAX = 5
_SHA256_CHARS = 64


def require_database(database: Path, objects: Path, packages: Path) -> None:
    """Raises `ConfigurationError` when a start would make a database anew beside data that it should describe.

    `objects` and `packages` are the folders of `store.objects.objects` and `store.packages.packages`; both may be
    missing.
    """
    found = _state(database)
    if found is None:
        return
    if found is _UNREADABLE_WAL:
        raise ConfigurationError(
            f"the database {database} is missing or empty, but its log {database.name}-wal is there. {NEXT_STEPS}"
        )
    data = _data(objects, packages)
    if data:
        raise ConfigurationError(f"the database {database} {found}, but {data} lie beside it. {NEXT_STEPS}")


_UNREADABLE_WAL = "is missing, and its log is not"


def _state(database: Path) -> str | None:
    """What is wrong with the database, None when it holds records. Raises `ConfigurationError` for a damaged one."""
    if not database.exists() or not database.stat().st_size:
        # SQLite would delete the log of a database that is empty, and with it what was not yet copied from it.
        wal = database.with_name(f"{database.name}-wal")
        if wal.exists() and wal.stat().st_size:
            return _UNREADABLE_WAL
        return "is empty" if database.exists() else "is missing"
    try:
        tables = sqlite.tables_of(database)
        if tables and "alembic_version" not in tables:
            found = ", ".join(sorted(tables)[:TABLES_NAMED_MAX])
            raise ConfigurationError(
                f"{database} is a database of another program (found tables {found}). {NEXT_STEPS}"
            )
        if "records" not in tables or not sqlite.has_rows(database, "records"):
            return "holds no records"
    except sqlite.DriverError as error:
        raise damaged(database, error) from error
    return None


def damaged(database: Path, error: Exception) -> ConfigurationError:
    """For whatever finds, at start-up, that the database cannot be read or written."""
    what = str(error)
    if "disk is full" in what:
        steps = "Nothing is lost: free some space on its disk and start again"
    elif "readonly" in what or "unable to open" in what:
        steps = "Nothing is lost: let the user who starts Sesame read and write it, and the directory that it is in"
    else:
        steps = NEXT_STEPS
    return ConfigurationError(f"the database {database} cannot be used: {what}. {steps}")


def _data(objects: Path, packages: Path) -> str:
    """Says how many files of objects and code packages there are, "" when there are none."""
    files = _count(path for shard in _entries(objects / "data") for path in _entries(shard))
    folders = _count(path for path in _entries(packages) if len(path.name) == _SHA256_CHARS)
    found = [(files, "files of objects"), (folders, "code packages")]
    return " and ".join(f"{number} {what}" for number, what in found if number != "0")


def _count(found: Iterator[Path]) -> str:
    number = sum(1 for _ in islice(found, COUNTED_MAX))
    return f"at least {number}" if number == COUNTED_MAX else str(number)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
