"""Creates the tables of a new database and upgrades those of an old one.

Called by `store.sql.sqlite` and `store.sql.postgresql` when a database is opened.
"""

import importlib
from pathlib import Path

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError
from sesame.store.sql.driver import SQLITE
from sesame.store.sql.schema import CATALOG, CATALOG_PRUNED, counters, metadata

VERSION_TABLE = "alembic_version"
MIGRATIONS = Path(__file__).with_name("migrations")
# The migrations of the running code: another version with more files may be installed while it runs.
_KNOWN = frozenset(path.name[1:].partition("_")[0] for path in (MIGRATIONS / "versions").glob("v*.py"))


def migrate(connection: sa.Connection, shown: str) -> None:
    """Runs in the transaction of `connection`, which the caller commits. `shown` names the database in messages.

    Raises `ConfigurationError` for a database that a newer Sesame wrote.
    """
    found = revision_of(connection)
    if found == newest_migration():
        return
    if connection.dialect.name == SQLITE and not sa.inspect(connection).get_table_names():
        create(connection)
    else:
        upgrade(connection, shown)


def create(connection: sa.Connection) -> None:
    """Creates the tables of a new SQLite database as all migrations would, in a hundredth of their time."""
    for path in Path(__file__).parent.glob("*schema.py"):
        importlib.import_module(f"{__package__}.{path.stem}")
    metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.insert(counters), [{"name": name, "value": 0} for name in (CATALOG, CATALOG_PRUNED)])
    # The same table that alembic creates.
    name = sa.Column("version_num", sa.String(32), nullable=False)
    key = sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc")
    versions = sa.Table(VERSION_TABLE, sa.MetaData(), name, key)
    versions.create(connection)
    connection.execute(sa.insert(versions), {"version_num": newest_migration()})


def upgrade(connection: sa.Connection, shown: str) -> None:
    """Runs the missing migrations; arguments and errors as for `migrate`."""
    require_known(connection, shown)
    # Imported here because the import takes longer than the rest of a start, and is needed once per release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, newest_migration())


def require_known(connection: sa.Connection, shown: str) -> None:
    """Raises `ConfigurationError` for a database that a newer Sesame wrote. Changes nothing."""
    found, known = revision_of(connection), known_migrations()
    if found is not None and found not in known:
        raise ConfigurationError(
            f"{shown} was written by a newer Sesame (found schema {found}, expected {max(known)} or older): start that "
            "version again, or go back, with its `sesame db back` to the copy that it made before the upgrade, or with "
            "a backup: `sesame restore BACKUP --data-dir NEW`"
        )


def newest_migration() -> str:
    """The revision that this version expects."""
    return max(known_migrations())


def known_migrations() -> frozenset[str]:
    """All revisions of this version; migration files are called v<revision>_<what>.py."""
    return _KNOWN


def revision_of(connection: sa.Connection) -> str | None:
    """The migration of a database; None if it has no tables."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    return None if found is None else str(found)
