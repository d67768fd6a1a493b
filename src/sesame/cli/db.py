"""`sesame db copy`: moves the records of a data directory from SQLite to PostgreSQL, and back.

Works on stopped Sesames only. Changes nothing where it copies from.
"""

from pathlib import Path

import click

from sesame.cli import output
from sesame.cli.json_option import with_json
from sesame.data_dir import DataDir
from sesame.model.errors import ConfigurationError
from sesame.store.sql.copying import CopiedTable, copy_database
from sesame.store.sql.pairing import part, require_own_database


@click.group()
def db() -> None:
    """Copies the records of a stopped Sesame from one database to another."""


@db.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@with_json
def copy(source: str, target: str, as_json: bool) -> None:
    """Copies all records FROM one database TO another, which must be empty, and compares every table.

    Each is a data directory (its sesame.db), or the URL of a PostgreSQL database. Objects, code packages and logs stay
    where they are: in the data directory.
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


def _place(text: str) -> Path | str:
    """A URL as it is; of a data directory its database."""
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
