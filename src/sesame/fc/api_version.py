"""What the endpoint needs to know of one API version: a value that each version's package makes (`fc.v2016.version`).

Read by `fc.app`, which builds routes, permissions, errors and descriptions from it; `VERSIONS` there lists them.
"""

from collections.abc import Callable, Iterable

import msgspec

from sesame.fc.dependencies import VersionDependencies
from sesame.fc.errors import ErrorAnswers, ErrorForm
from sesame.fc.headers import DateHeader
from sesame.fc.operations import Operation
from sesame.fc.requests import Handler
from sesame.fc.targets import Naming

# Of `/2016-08-15/`, with which every path of a version begins.
PREFIX_BYTES = 12


class ApiVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the API, such as `2016-08-15`.

    `operations` is its table: its routes, the actions of its permissions and its description follow from it. `handlers`
    makes a handler for each name in it, save InvokeFunction, which `fc.invoke` serves. `naming` says how its URLs name
    a function, `errors` how it words and spells refusals.
    """

    name: str
    operations: tuple[Operation, ...]
    handlers: Callable[[VersionDependencies], dict[str, Handler]]
    naming: Naming
    errors: ErrorForm

    @property
    def prefix(self) -> bytes:
        """With which all paths of its operations begin."""
        return f"/{self.name}/".encode()


class Face(msgspec.Struct, frozen=True):
    """A version that is served, and its answers to errors."""

    version: ApiVersion
    errors: ErrorAnswers


class Faces:
    """The versions that are served. The first also answers what belongs to none."""

    def __init__(self, versions: Iterable[ApiVersion], date: DateHeader) -> None:
        faces = [Face(version, ErrorAnswers(version.errors, date)) for version in versions]
        self.first = faces[0]
        self.names = tuple(face.version.name for face in faces)
        self._by_prefix = {face.version.prefix: face for face in faces}

    def of(self, raw_path: bytes) -> Face | None:
        """The one that a path belongs to."""
        return self._by_prefix.get(raw_path[:PREFIX_BYTES])
