"""Error messages for operators about a database that cannot be used.

Used by all code that opens or reads a database at start-up.
"""

from collections.abc import Iterable

from sesame.model.errors import ConfigurationError

NEXT_STEPS = (
    "Nothing was changed. Put the database back together with its -wal file, take a backup back with "
    "`sesame restore`, or start on another directory with --data-dir; `sesame doctor --check` lists what is there"
)
# For a database on a server.
NEXT_STEPS_ELSEWHERE = (
    "Nothing was changed. Take a backup of the server back, or one of Sesame with `sesame restore`, or start on "
    "another database with --database and another directory with --data-dir"
)
TABLES_NAMED_MAX = 5


class InUse(ConfigurationError):
    """Another process has the database, and may release it soon."""


def of_another_program(shown: str, tables: Iterable[str], steps: str) -> ConfigurationError:
    found = ", ".join(sorted(tables)[:TABLES_NAMED_MAX])
    return ConfigurationError(f"{shown} is a database of another program (found tables {found}). {steps}")


def damaged(shown: str, error: object, *, full: bool = False) -> ConfigurationError:
    """For a database that cannot be read or written; `error` is its message, `full` whether its disk has no room."""
    what = str(error)
    if full or "disk is full" in what:
        steps = "Nothing is lost: free some space on its disk and start again"
    elif "readonly" in what or "unable to open" in what:
        steps = "Nothing is lost: let the user who starts Sesame read and write it, and the directory that it is in"
    else:
        steps = NEXT_STEPS
    return ConfigurationError(f"the database {shown} cannot be used: {what}. {steps}")
