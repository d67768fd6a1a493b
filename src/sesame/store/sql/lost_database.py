"""Refuses to start on a database that is missing, empty or damaged while the data that it described is still there.

Called by `app` before the database is opened. Reads only: after a refusal everything is as it was.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.store.sql.backends import backend_of

# More are not counted: the message says "at least".
COUNTED_MAX = 10_000
_SHA256_CHARS = 64


def require_database(place: Path | str, objects: Path, packages: Path) -> None:
    """Raises `ConfigurationError` when a start would make a database anew beside data that it should describe.

    `place` as of `backend_of`. `objects` and `packages` are the folders of `store.objects.objects` and
    `store.packages.packages`; both may be missing.
    """
    backend = backend_of(place)
    found = backend.missing()
    data = _data(objects, packages) if found else ""
    where = "lie beside it" if isinstance(place, Path) else f"lie in {objects.parent}"
    if data:
        raise ConfigurationError(f"the database {backend.shown} {found}, but {data} {where}. {backend.next_steps}")


def holds_data(objects: Path, packages: Path) -> bool:
    return bool(_data(objects, packages))


def _data(objects: Path, packages: Path) -> str:
    """Says how many files of objects and code packages there are, "" when there are none."""
    files = _count(path for shard in _entries(objects / "data") for path in _entries(shard))
    folders = _count(path for path in _entries(packages) if len(path.name) == _SHA256_CHARS)
    found = [(files, "files of objects"), (folders, "code packages")]
    return " and ".join(f"{number} {what}" for number, what in found if number != "0")


def _count(found: Iterator[Path]) -> str:
    number = sum(1 for _ in islice(found, COUNTED_MAX))
    return f"at least {number}" if number == COUNTED_MAX else str(number)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
