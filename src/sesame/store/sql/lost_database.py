"""Refuses to start on a database that is missing, empty or damaged while the data that it described still exists.

Called by `app` before the database is opened. Only reads: a refusal changes nothing.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sesame.model.errors import ConfigurationError
from sesame.store.sql.backends import backend_of

# Counting stops here: the message then says "at least".
COUNTED_MAX = 10_000
_SHA256_CHARS = 64


def require_database(place: Path | str, objects: Path, packages: Path) -> None:
    """Raises `ConfigurationError` if a start would create a database beside data that a lost one described.

    `place` as for `backend_of`. `objects` and `packages` are the folders of `store.objects.objects` and
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
    """Describes how many files of objects and code packages exist; "" if there are none."""
    files = _count(path for shard in _entries(objects / "data") for path in _entries(shard))
    folders = _count(path for path in _entries(packages) if len(path.name) == _SHA256_CHARS)
    found = [(files, "files of objects"), (folders, "code packages")]
    return " and ".join(f"{number} {what}" for number, what in found if number != "0")


def _count(found: Iterator[Path]) -> str:
    number = sum(1 for _ in islice(found, COUNTED_MAX))
    return f"at least {number}" if number == COUNTED_MAX else str(number)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
