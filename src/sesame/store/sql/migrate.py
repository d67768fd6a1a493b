"""Creates and upgrades the tables of a database, with the same migrations for every kind of database.

Called by `store.sql.sqlite` and `store.sql.postgresql` when a database is opened.
"""

from pathlib import Path

import sqlalchemy as sa

from sesame.model.errors import ConfigurationError

VERSION_TABLE = "alembic_version"
MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(connection: sa.Connection, shown: str) -> None:
    """In the transaction of `connection`, which the caller commits. `shown` names the database in messages.

    Raises `ConfigurationError` for a database that a newer Sesame wrote.
    """
    found, expected = revision_of(connection), newest_migration()
    if found == expected:
        return
    # Imported here because the import takes longer than the rest of a start, and is needed once a release.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigurationError(
            f"{shown} was written by a newer Sesame (found revision {found}, expected {expected} or older): upgrade "
            "Sesame, or choose another data directory or database"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def newest_migration() -> str:
    """The revision that this code expects; files of migrations are called v<revision>_<what>.py."""
    return max(path.name[1:].partition("_")[0] for path in (MIGRATIONS / "versions").glob("v*.py"))


def revision_of(connection: sa.Connection) -> str | None:
    """The migration that a database stands at; None for one without tables."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    return None if found is None else str(found)
