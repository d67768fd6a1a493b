"""Copies of a database file from before the migrations of a newer version: makes, keeps and restores them.

`store.sql.sqlite` makes a copy when it opens a file that lacks migrations; `sesame db back` restores one. A copy is
beside the database and has its name with the revision of its schema appended: `sesame.db.0013`.
"""

import glob
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import structlog

from sesame.model.errors import ConfigurationError
from sesame.store.durable import sync_file, sync_folder
from sesame.store.sql.migrate import VERSION_TABLE, known_migrations, newest_migration

# POLICY: keeps the copies of this number of latest upgrades.
KEPT = 2
# Room for the copy, and for what the migrations write before they are committed.
_TIMES_ITS_SIZE = 2
_PARTIAL = ".partial"

log = structlog.get_logger("sesame.store")


def keep(path: Path) -> None:
    """Copies a database that lacks migrations; on return the copy survives a power cut. Nothing else may use the file.

    Raises `ConfigurationError`, with nothing changed, if the disk lacks room, and `sqlite3.Error` for a damaged file.
    """
    for left in _beside(path, _PARTIAL):
        left.unlink()
    revision = _lacks_migrations(path, "rw")
    if not revision:
        return
    _require_room(path, revision)
    copy = _place(path, revision)
    partial = copy.with_name(copy.name + _PARTIAL)
    log.info("the database is copied before it is upgraded", copy=str(copy), bytes=_size(path))
    try:
        partial.touch(0o600)
        with closing(sqlite3.connect(path)) as reader, closing(sqlite3.connect(partial)) as writer:
            reader.backup(writer)
            # Makes the copy a single file, without a write-ahead log.
            writer.execute("PRAGMA journal_mode=DELETE").fetchall()
        sync_file(partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    # An earlier attempt at the same upgrade may have left a copy: the current contents are as old or newer.
    partial.replace(copy)
    sync_folder(path.parent)


def forget(path: Path) -> None:
    """Removes all but the newest copies, after the database has been upgraded."""
    for copy in copies(path)[:-KEPT]:
        copy.unlink(missing_ok=True)


def require_room(path: Path) -> None:
    """Raises `ConfigurationError` if a database lacks migrations and its disk has no room for the upgrade."""
    if revision := _lacks_migrations(path, "ro"):
        _require_room(path, revision)


def _require_room(path: Path, revision: str) -> None:
    free, wanted = shutil.disk_usage(path.parent).free, _TIMES_ITS_SIZE * _size(path)
    if free < wanted:
        raise ConfigurationError(
            f"the database {path} is to be upgraded from schema {revision} to {newest_migration()}, and its disk has "
            f"{free / 1e6:.0f} MB left; expected {wanted / 1e6:.0f} MB, for a copy of it and for the upgrade. Nothing "
            "was changed: free some space, or start the version before again"
        )


def copies(path: Path) -> list[Path]:
    """The complete copies, the oldest first."""
    return sorted(each for each in _beside(path) if revision_of(each).isdecimal())


def revision_of(copy: Path) -> str:
    """The revision in a copy's name."""
    return copy.name.rpartition(".")[2]


def take_back(path: Path, copy: Path) -> Path:
    """Replaces the database, which nothing may use, by a copy; returns where the replaced database is kept.

    If the process is killed, either one or the other is in place, intact. Raises `sqlite3.Error` and `OSError`.
    """
    with closing(sqlite3.connect(path)) as connection:
        # Moves the contents of the write-ahead log into the file.
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    now = _place(path, revision_in(path, "rw"))
    now.unlink(missing_ok=True)
    os.link(path, now)
    sync_folder(path.parent)
    copy.replace(path)
    sync_folder(path.parent)
    return now


def _lacks_migrations(path: Path, mode: str) -> str:
    """The revision of a database that lacks migrations; "" if it is new, current, or of a newer version."""
    if not path.exists() or not path.stat().st_size:
        return ""
    revision = revision_in(path, mode)
    return revision if revision in known_migrations() and revision != newest_migration() else ""


def revision_in(path: Path, mode: str = "ro") -> str:
    """The revision of a database's schema; "" for one without tables. With "rw", nothing else may use it."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as connection:
        if not list(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,))):
            return ""
        row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
        return "" if row is None else str(row[0])


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in _files(path) if each.exists())


def _files(path: Path) -> Iterator[Path]:
    yield path
    yield path.with_name(f"{path.name}-wal")


def _beside(path: Path, ending: str = "") -> Iterator[Path]:
    return path.parent.glob(f"{glob.escape(path.name)}.*{ending}")


def _place(path: Path, revision: str) -> Path:
    return path.with_name(f"{path.name}.{revision}")
