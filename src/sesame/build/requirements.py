"""Reads what a function requires: a requirements.txt with all files that it includes, and the packages of a Funfile.

Says what is asked for and whether that can be kept in a cache.

Used by `build.builder`. Resolves and installs nothing.
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
# What these name may change while the line stays the same.
_CHANGES = re.compile(
    r"^(?:-e|--editable|\.|/|~|file:|git\+|hg\+|svn\+|bzr\+)|@\s*(?:file|git|hg|svn|bzr|\.|/)"
    # A path in the folder, or an archive there.
    r"|^[^\s:@]*(?:/|\.(?:whl|zip|tar\.gz)\Z)"
)


class Requirements(msgspec.Struct, frozen=True):
    """`digest` is of every line that counts; `names` are the projects that are asked for, normalized.

    `packages` stand in no requirements.txt; without one, `path` is the file that names them, and not `listed`.
    """

    path: Path
    digest: str
    names: tuple[str, ...]
    cacheable: bool
    packages: tuple[str, ...] = ()
    listed: bool = True

    def arguments(self) -> list[str]:
        """As an installer's command line has them."""
        return [*(["-r", str(self.path.absolute())] if self.listed else []), *self.packages]


def read(path: Path) -> Requirements | None:
    """None where the file asks for nothing. Raises `ConfigurationError` for what cannot be read."""
    lines = list(_lines(path, 0))
    wanted = [line for line in lines if not line.startswith("-") or line.startswith(("-e", "--editable"))]
    if not wanted:
        return None
    names = tuple(normalized(found[1]) for line in wanted if (found := _NAME.match(line)))
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return Requirements(path, digest, names, not any(_CHANGES.search(line) for line in lines))


def with_packages(listed: Requirements | None, path: Path, packages: tuple[str, ...]) -> Requirements | None:
    """Those of a requirements.txt, or none, and the `packages` that the file at `path` names."""
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
    """A project's name as indexes compare it: `Ruamel.YAML` is `ruamel-yaml`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(path: Path, depth: int) -> Iterator[str]:
    if depth > INCLUDES_MAX:
        raise ConfigurationError(f"{path}: requirements include each other more than {INCLUDES_MAX} deep")
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
