"""Finds packages in a function's code that will not work: missing, or for another Python, or for a newer C library.

Used by `build.builder` and `sesame deploy`. Reads the metadata of packages and the requirements of shared libraries.
"""

import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sesame.build.elf_versions import ElfFile

if TYPE_CHECKING:
    from packaging.tags import Tag

# The C library of the cloud's images: Debian 9 to 12 (reference/runtime.md §1).
CLOUD_GLIBC: dict[str, tuple[int, int]] = {
    "python2.7": (2, 24),
    "python3": (2, 24),
    "python3.9": (2, 24),
    "python3.10": (2, 28),
    "python3.12": (2, 31),
    "custom": (2, 24),
    "custom.debian10": (2, 28),
    "custom.debian11": (2, 31),
    "custom.debian12": (2, 36),
}
LIBRARIES_MAX = 5000
PACKAGES_SHOWN = 3
_GLIBC = re.compile(rb"GLIBC_(\d{1,4})\.(\d{1,4})\0")
_EXTENSION = re.compile(r"\.(?:cpython-(\d)(\d+)[a-z]*-|cp(\d)(\d+)-)")


def warnings(folder: Path, runtime: str, minor: tuple[int, int]) -> list[str]:
    """Warns about each package that does not fit the function's CPython of version `minor`, and about libraries that
    need a newer C library. One line per warning.
    """
    return [*_other_pythons(folder, runtime, minor), *_newer_libraries(folder, runtime)]


def missing_node_modules(folder: Path) -> Iterator[str]:
    """Warns if a `package.json` names packages and none is installed beside it."""
    path = folder / "package.json"
    if (folder / "node_modules").exists() or not path.is_file():
        return
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        yield f"package.json cannot be read: {error}"
        return
    names = found.get("dependencies") if isinstance(found, dict) else None
    if isinstance(names, dict) and names:
        shown = ", ".join([*list(names)[:PACKAGES_SHOWN], *(["…"] if len(names) > PACKAGES_SHOWN else [])])
        yield (
            f"package.json names {shown}, and there is no node_modules: unless the code contains them, "
            f"run `npm install --omit=dev` in {folder} first"
        )


def _other_pythons(folder: Path, runtime: str, minor: tuple[int, int]) -> Iterator[str]:
    named = ".".join(map(str, minor))
    for wheel in sorted(folder.glob("**/*.dist-info/WHEEL")):
        tags = _tags(wheel)
        if tags and not any(_fits(tag, minor) for tag in tags):
            package = wheel.parent.name.removesuffix(".dist-info").replace("-", " ", 1)
            yield f"{package} was made for {_spoken(tags)}, and {runtime} runs CPython {named}"
    strange = [path for path in _libraries(folder) if (version := _python_of(path)) and version != minor]
    if strange:
        first = strange[0].relative_to(folder)
        rest = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        yield f"{first}{rest}: a module compiled for another Python than CPython {named}, which {runtime} runs"


def _newer_libraries(folder: Path, runtime: str) -> Iterator[str]:
    limit = CLOUD_GLIBC[runtime]
    newer: dict[str, tuple[int, int]] = {}
    for path in _libraries(folder):
        needs = glibc_needed(path)
        if needs > limit:
            package = path.relative_to(folder).parts[0]
            newer[package] = max(needs, newer.get(package, (0, 0)))
    for package, needs in sorted(newer.items()):
        yield (
            f"{package} needs the C library {needs[0]}.{needs[1]}; the cloud's {runtime} has {limit[0]}.{limit[1]}, "
            "where it cannot be loaded: choose an older version of it"
        )


def glibc_needed(path: Path) -> tuple[int, int]:
    """The newest version of the GNU C library that a shared library requires; (0, 0) if it requires none."""
    try:
        with path.open("rb") as file:
            found = ElfFile(file).needs(_GLIBC)
    except OSError:
        # An unreadable file cannot be loaded as a library.
        return (0, 0)
    return max(((int(each[1]), int(each[2])) for each in found), default=(0, 0))


def _libraries(folder: Path) -> Iterator[Path]:
    found = (
        Path(parent, name)
        for parent, _folders, names in os.walk(folder)
        for name in sorted(names)
        if name.endswith(".so") or ".so." in name
    )
    return islice((path for path in found if path.is_file()), LIBRARIES_MAX)


def _tags(wheel: Path) -> "list[Tag]":
    # Imported here because most functions contain no wheels.
    from packaging.tags import parse_tag

    lines = wheel.read_text("utf-8", "replace").splitlines()
    texts = [line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")]
    return [tag for text in texts if text.count("-") == 2 for tag in parse_tag(text)]


def _fits(tag: "Tag", minor: tuple[int, int]) -> bool:
    """Whether a wheel with this tag can be imported by this CPython on Linux."""
    found = re.fullmatch(r"([a-z]+)(\d)(\d*)", tag.interpreter)
    if found is None or not (tag.platform == "any" or "linux" in tag.platform):
        return False
    kind, wanted = found[1], (int(found[2]), int(found[3] or 0))
    if kind == "py":
        return wanted[0] == minor[0] and wanted <= minor
    if kind != "cp":
        return False
    return wanted == minor or (tag.abi == "abi3" and wanted[0] == minor[0] and wanted <= minor)


def _python_of(path: Path) -> tuple[int, int] | None:
    found = _EXTENSION.search(path.name)
    if found is None:
        return None
    return int(found[1] or found[3]), int(found[2] or found[4])


def _spoken(tags: "list[Tag]") -> str:
    return ", ".join(sorted({f"{tag.interpreter} on {tag.platform}" for tag in tags})[:3])
