"""SQLite files that are written with plain SQL: how they are opened, and the errors they raise.

Used by `store.logs`, whose writer process must not load SQLAlchemy (docs/adr/0006-a-process-keeps-the-logs.md).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Connection = sqlite3.Connection
Error = sqlite3.Error


# The file is no database, or not one that SQLite can go on with; as opposed to a full disk or a missing permission.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF
# The next step where a start finds a disk full.
ROOM_STEP = "nothing is lost: free some space on its disk and start again"
# SQLite makes and grows the index of its log by so much.
_INDEX_REGION_BYTES = 32 * 1024


def is_damage(error: Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE in _DAMAGE


def is_full(error: Error) -> bool:
    """The disk has no room for what was written. Nothing of the transaction is there."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & _PRIMARY_CODE == sqlite3.SQLITE_FULL


def wants_room(error: BaseException, path: Path) -> bool:
    """As `is_full`, also where the file itself cannot be opened: its index is mapped, and then the disk says less."""
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
    """The caller begins its transactions by itself. Raises `Error`."""
    return sqlite3.connect(path, busy_timeout_s, isolation_level=None, check_same_thread=False)


def open_for_reading(path: Path, busy_timeout_s: float) -> Connection:
    """Beside a writer or alone; cannot change the file. Raises `Error`."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", busy_timeout_s, uri=True)


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Commits what the body did, or nothing of it where the body or the commit raises. Raises `Error`."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite ends the transaction by itself on a full disk or an I/O error.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
