"""The description of one API version; each version's package provides a value (`fc.v2016.version`).

`fc.app` builds routes, permissions, errors and descriptions from it, and lists the versions in `VERSIONS`.
"""

from collections.abc import Callable, Iterable

import msgspec

from sesame.fc.dependencies import VersionDependencies
from sesame.fc.errors import ErrorAnswers, ErrorForm
from sesame.fc.headers import DateHeader
from sesame.fc.operations import Operation
from sesame.fc.requests import Handler
from sesame.fc.targets import Naming

# The length of `/2016-08-15/`, with which every path of a version begins.
PREFIX_BYTES = 12


class ApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the API, such as `2016-08-15`.

    `operations` is its table, from which routes, permission actions and the description are derived. `handlers` returns
    a handler for each operation in it except InvokeFunction, which `fc.invoke` serves. `naming` defines how its URLs
    name functions, `errors` how it words and formats errors.
    """

    name: str
    operations: tuple[Operation, ...]
    handlers: Callable[[VersionDependencies], dict[str, Handler]]
    naming: Naming
    errors: ErrorForm

    @property
    def prefix(self) -> bytes:
        """The prefix of all paths of its operations."""
        return f"/{self.name}/".encode()


class Face(msgspec.Struct, frozen=True):
    """A served version, and its error answers."""

    version: ApiVersion
    errors: ErrorAnswers


class Faces:
    """The served versions. The first one also answers requests that belong to none."""

    def __init__(self, versions: Iterable[ApiVersion], date: DateHeader) -> None:
        faces = [Face(version, ErrorAnswers(version.errors, date)) for version in versions]
        self.first = faces[0]
        self.names = tuple(face.version.name for face in faces)
        self._by_prefix = {face.version.prefix: face for face in faces}

    def of(self, raw_path: bytes) -> Face | None:
        """The version that a path belongs to; None if it belongs to none."""
        return self._by_prefix.get(raw_path[:PREFIX_BYTES])
