"""`sesame db copy` copies a data directory's records from SQLite to PostgreSQL or back; `sesame db back` restores the
database copy made before an upgrade.

Both require that Sesame is stopped.
"""

import datetime
from pathlib import Path
from typing import Any

import click

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError
from sesame.store.sql import former
from sesame.store.sql.copying import CopiedTable, copy_database
from sesame.store.sql.pairing import part, require_own_database
from sesame.store.sql.sqlite import DriverError


@click.group()
def db() -> None:
    """Copies the records of a stopped Sesame to another database, or restores those from before an upgrade."""


@db.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@with_json
def copy(source: str, target: str, as_json: bool) -> None:
    """Copies all records FROM one database TO another, which must be empty, and compares every table.

    Leaves the source unchanged.

    FROM and TO are each a data directory (its sesame.db) or the URL of a PostgreSQL database. Objects, code packages
    and logs stay in the data directory.
    """
    from_, to = _place(source), _place(target)
    if isinstance(from_, Path):
        require_own_database(from_.parent, from_)
    with output.busy("Copying the records …"):
        copied = copy_database(from_, to)
    if isinstance(to, Path):
        part(to.parent)
    if as_json:
        output.json_document({"tables": copied})
        return
    for table in copied:
        output.out.print(f"{table.name:<24} {table.rows:>9} rows  {table.digest[:16]}", markup=False)
    output.note(_next_step(copied, to))


@db.command()
@click.argument("revision", required=False)
@with_json
@with_settings("data_dir", "database")
def back(revision: str | None, as_json: bool, **flags: Any) -> None:
    """Replaces the database by the copy made before an upgrade, and keeps the replaced one beside it.

    Takes the copy from before the last upgrade, or that of a REVISION, such as 0013. It lacks all later changes.
    Afterwards start the version that wrote it: a newer one would upgrade it again.
    """
    settings = settle(flags)
    data_dir = DataDir(settings.data_dir, settings.database)
    data_dir.refuse_file()
    require_own_database(data_dir.path, data_dir.database)
    path = data_dir.database
    if not isinstance(path, Path):
        raise ConfigurationError(
            "the records are in a PostgreSQL, of which no copy is made before an upgrade; expected one of your own: "
            "stop Sesame, and take it back with pg_restore"
        )
    if not path.exists():
        raise ConfigurationError(f"{data_dir.path} holds no database: name the data directory with --data-dir")
    with data_dir:
        try:
            stands_at = former.revision_in(path, "rw")
            copy = _copy_of(path, stands_at, revision)
            made_at = datetime.datetime.fromtimestamp(copy.stat().st_mtime).astimezone()
            taken, now = former.revision_of(copy), former.take_back(path, copy)
        except (OSError, DriverError) as error:
            raise ConfigurationError(f"the copy was not taken back: {error}; {path} is as it was") from error
    if as_json:
        document = {"revision": taken, "copied_at": made_at.isoformat(), "before": stands_at, "kept": str(now)}
        output.json_document(document)
    output.note(
        f"{path} is as it was at {made_at:%Y-%m-%d %H:%M:%S %z}, at schema {taken}; what it was until now is in {now}. "
        "Start the version from before the upgrade: this one, or a newer one, would upgrade it again. What has come to "
        "object storage since goes to quarantine/ with that start."
    )


def _copy_of(path: Path, stands_at: str, revision: str | None) -> Path:
    copies = [each for each in former.copies(path) if former.revision_of(each) != stands_at]
    before = [each for each in copies if former.revision_of(each) < stands_at]
    found = before[-1:] if revision is None else [each for each in copies if former.revision_of(each) == revision]
    if not found:
        said = ", ".join(f"{former.revision_of(each)} ({each})" for each in copies) or "none"
        raise ConfigurationError(
            f"there is no copy of {path}, which is at schema {stands_at}, from before "
            f"{'an upgrade' if revision is None else f'the upgrade of schema {revision}'}; there are: {said}. "
            "`sesame restore` takes a backup back"
        )
    return found[0]


def _place(text: str) -> Path | str:
    """A URL unchanged; for a data directory, the path of its database."""
    if not text:
        raise click.UsageError("a place is empty: name a data directory or the URL of a database")
    if "://" in text:
        return text
    data_dir = DataDir(Path(text))
    data_dir.refuse_file()
    if data_dir.running() is not None:
        raise ConfigurationError(f"a Sesame runs on {data_dir.path}: stop it first")
    return data_dir.path / "sesame.db"


def _next_step(copied: list[CopiedTable], to: Path | str) -> str:
    rows = sum(table.rows for table in copied)
    if isinstance(to, Path):
        return f"{rows} rows copied and compared. Start with `sesame start --data-dir {to.parent}`."
    return f"{rows} rows copied and compared. Start with the same --data-dir and this database as --database."
