"""Reads a function's requirements: a requirements.txt with all files it includes, and the packages of a Funfile.

Determines what is required, and whether the result can be cached. Used by `build.builder`. Resolves and installs
nothing.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError

FILE = "requirements.txt"
BYTES_MAX = 1024 * 1024
INCLUDES_MAX = 20
_INCLUDE = re.compile(r"^(?:-r|-c|--requirement|--constraint)[ \t=]*(\S+)")
_NAME = re.compile(r"^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
# Requirements whose contents may change while the line stays the same.
_CHANGES = re.compile(
    r"^(?:-e|--editable|\.|/|~|file:|git\+|hg\+|svn\+|bzr\+)|@\s*(?:file|git|hg|svn|bzr|\.|/)"
    # A path in the folder, or an archive at one.
    r"|^[^\s:@]*(?:/|\.(?:whl|zip|tar\.gz)\Z)"
)


class Requirements(msgspec.Struct, frozen=True):
    """`digest` covers every significant line; `names` are the required projects, normalized.

    `packages` come from outside a requirements.txt. Without one, `path` is the file that names them, and `listed` is
    false.
    """

    path: Path
    digest: str
    names: tuple[str, ...]
    cacheable: bool
    packages: tuple[str, ...] = ()
    listed: bool = True

    def arguments(self) -> list[str]:
        """Arguments for an installer's command line."""
        return [*(["-r", str(self.path.absolute())] if self.listed else []), *self.packages]


def read(path: Path) -> Requirements | None:
    """None if the file requires nothing. Raises `ConfigurationError` if it cannot be read."""
    lines = list(_lines(path, 0))
    wanted = [line for line in lines if not line.startswith("-") or line.startswith(("-e", "--editable"))]
    if not wanted:
        return None
    names = tuple(normalized(found[1]) for line in wanted if (found := _NAME.match(line)))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Requirements(path, digest, names, not any(_CHANGES.search(line) for line in lines))


def with_packages(listed: Requirements | None, path: Path, packages: tuple[str, ...]) -> Requirements | None:
    """Adds the `packages` that the file at `path` names to those of a requirements.txt, if there is one."""
    if not packages:
        return listed
    digest = hashlib.sha256("\n".join((listed.digest if listed else "", *packages)).encode()).hexdigest()
    names = tuple(normalized(found[1]) for each in packages if (found := _NAME.match(each)))
    cacheable = not any(_CHANGES.search(each) for each in packages)
    if listed is None:
        return Requirements(path, digest, names, cacheable, packages, listed=False)
    return msgspec.structs.replace(
        listed,
        digest=digest,
        names=(*listed.names, *names),
        cacheable=listed.cacheable and cacheable,
        packages=packages,
    )


def normalized(name: str) -> str:
    """A project's name as package indexes compare it: `Ruamel.YAML` is `ruamel-yaml`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(path: Path, depth: int) -> Iterator[str]:
    if depth > INCLUDES_MAX:
        raise ConfigurationError(f"{path}: requirements files include each other more than {INCLUDES_MAX} deep")
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the requirements {path} cannot be read: {error}") from error
    if len(text) > BYTES_MAX:
        raise ConfigurationError(f"the requirements {path} have more than {BYTES_MAX} bytes")
    for raw in text.replace("\\\n", "").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        yield line
        if (included := _INCLUDE.match(line)) and "://" not in included[1]:
            yield from _lines(path.parent / included[1], depth + 1)
