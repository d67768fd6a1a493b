"""New SQLite databases that have all tables, copied from one that was made once: tests need thousands of them.

Used by fixtures. A test of how a database is made or upgraded opens a path where nothing is.
"""

import functools
import tempfile
from pathlib import Path

from sesame.store.sql.backends import backend_of


def new_database(path: Path) -> Path:
    """Puts a database with empty tables there, as the first `Database.open` leaves it; nothing may be there yet."""
    with path.open("xb") as file:
        file.write(_template())
    return path


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="sesame-template-") as folder:
        path = Path(folder) / "db"
        backend = backend_of(path, "")
        backend.prepare()
        backend.close()
        assert not path.with_name("db-wal").exists(), "the last connection moves what is in the log into the file"
        return path.read_bytes()
