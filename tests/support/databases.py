"""New SQLite databases that have all tables, copied from one that was made once: tests need thousands of them.

Used by fixtures. A test of how a database is made or upgraded opens a path where nothing is.
"""

import functools
import tempfile
from pathlib import Path

import pytest

from sesame.store.sql.backends import backend_of

# For a test that takes long, with the same fixture: on a file, and on a server by `make test-all`.
FILE_FIRST = pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.thorough)], indirect=True
)
# For a test whose rule is of what uses a store, with the fixture `place`: on a file, and on a server by `make torture`.
ONE_DATABASE = pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.torture)], indirect=True
)


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
