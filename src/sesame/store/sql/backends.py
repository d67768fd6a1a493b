"""Chooses the kind of database for a path or a URL.

Used by `store.sql.database` and by `store.upkeep`. PostgreSQL's driver is imported only if it is needed.
"""

from pathlib import Path

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.store.sql.interface import Backend
from sesame.store.sql.sqlite import SqliteBackend

POSTGRESQL_SCHEMES = ("postgresql", "postgres")
_EXPECTED = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, sqlite:///PATH or a path"


def backend_of(place: Path | str, used_by: str = "", *, durable: bool = True, epoch: int = 0) -> Backend:
    """For a path, `sqlite:///PATH` or `postgresql://…`. `used_by` (a data directory) identifies this process to others.

    With an `epoch`, a server is used as by the writer of a cluster. Commits to a file that is not `durable` do not
    wait for the disk; a server decides for itself.

    Raises `ConfigurationError` for anything else; connects to nothing.
    """
    if isinstance(place, Path) or "://" not in place:
        return SqliteBackend(Path(place), durable=durable)
    scheme = place.partition("://")[0]
    if scheme in POSTGRESQL_SCHEMES:
        # Imported here because most installations never need it.
        from sesame.store.sql.postgresql import PostgresqlBackend

        return PostgresqlBackend(place, used_by, epoch)
    if scheme != "sqlite":
        raise ConfigurationError(f"a database of the kind '{scheme}' cannot be used: {_EXPECTED}")
    path = sa.make_url(place).database
    if not path or path == ":memory:":
        raise ConfigurationError(f"database '{place}' cannot be used: it names no file; {_EXPECTED}")
    return SqliteBackend(Path(path), durable=durable)
