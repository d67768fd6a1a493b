"""SQLite files that are written with plain SQL: how to open them, and the errors they raise.

Used by `store.logs`, whose writer process must not import SQLAlchemy (docs/adr/0006-a-process-keeps-the-logs.md).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Connection = sqlite3.Connection
Error = sqlite3.Error


# The file is not a usable database, as opposed to a full disk or a missing permission.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
# The next step if a start finds the disk full.
ROOM_STEP = "nothing is lost: free some space on its disk and start again"
# SQLite creates and extends the index of its log in pieces of this size.
_INDEX_REGION_BYTES = 32 * 1024


def is_damage(error: Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE in _DAMAGE


def is_full(error: Error) -> bool:
    """Whether the disk had no room. Nothing of the transaction was written."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE == sqlite3.SQLITE_FULL


def wants_room(error: BaseException, path: Path) -> bool:
    """As `is_full`, also if the file itself cannot be opened: its index is mapped, which gives another error."""
    if not isinstance(error, Error):
        return False
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE
    if code != sqlite3.SQLITE_IOERR:
        return is_full(error)
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _INDEX_REGION_BYTES


def open_for_writing(path: Path, busy_timeout_s: float) -> Connection:
    """The caller starts its own transactions. Raises `Error`."""
    return sqlite3.connect(path, busy_timeout_s, isolation_level=None, check_same_thread=False)


def open_for_reading(path: Path, busy_timeout_s: float) -> Connection:
    """Works beside a writer or alone; cannot change the file. Raises `Error`."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", busy_timeout_s, uri=True)


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Commits the body's changes, or nothing if the body or the commit raises. Raises `Error`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite ends the transaction by itself on a full disk or an I/O error.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
