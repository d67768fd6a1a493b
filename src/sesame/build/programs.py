"""Finds the shared libraries that a program of this machine needs to run elsewhere, directly or indirectly.

Used by `build.program_layer`. Only reads files and runs none, so programs need not be trusted.
"""

import glob
import os
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from sesame.model.errors import ConfigurationError

LIBRARIES_MAX = 2000
_LOADER_CONFIG = Path("/etc/ld.so.conf")
_INCLUDES_MAX = 100
_DEFAULT_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
# Parts of the C library work only with their own loader, which the sandbox has.
_C_LIBRARY = frozenset({
    "libc.so.6", "libm.so.6", "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libresolv.so.2",
    "libutil.so.1", "libanl.so.1", "libnsl.so.1", "libBrokenLocale.so.1", "libthread_db.so.1",
})  # fmt: skip
# What elftools raises for malformed files.
_DAMAGED = (ELFError, ValueError, LookupError, AttributeError, TypeError, OverflowError, AssertionError)
# The size of a program header in a 32-bit file.
_SEGMENT_BYTES_MIN = 32
_C_LIBRARY_PREFIXES = ("ld-linux", "ld64", "libnss_", "linux-vdso")


class Program(msgspec.Struct, frozen=True):
    """A program, and the file for each library name that it or its libraries require."""

    path: Path
    libraries: dict[str, Path]


class _Elf(msgspec.Struct, frozen=True):
    """The dynamic section of a file. `kind` identifies machine and word size."""

    kind: tuple[str, int]
    needed: tuple[str, ...]
    directories: tuple[str, ...]


def find(name: str) -> Path:
    """The program that the shell would run, or the file at a path. Raises `ConfigurationError` if there is none."""
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"there is no program '{name}' on this machine: install it, or name its file with --program PATH"
        )
    return Path(found).resolve()


def read(path: Path) -> Program:
    """Reads a program with all its libraries.

    Raises `ConfigurationError` if it is no program or a library is missing.
    """
    main = _elf(path)
    if main is None:
        raise ConfigurationError(f"{path} is no ELF program{_script(path)}; a layer needs a compiled program")
    system = list(_system_directories())
    libraries: dict[str, Path] = {}
    missing: dict[str, Path] = {}
    waiting = deque([(path, main)])
    while waiting:
        owner, elf = waiting.popleft()
        for name in elf.needed:
            if name in libraries or name in missing or _of_c_library(name):
                continue
            own = [*_expanded(elf.directories, owner), *_expanded(main.directories, path)]
            found = _search(name, [*own, *system], main)
            if found is None:
                missing[name] = owner
            elif len(libraries) >= LIBRARIES_MAX:
                raise ConfigurationError(f"{path} needs more than {LIBRARIES_MAX} libraries")
            else:
                libraries[name] = found[0]
                waiting.append(found)
    if missing:
        named = ", ".join(f"{name} (for {owner.name})" for name, owner in sorted(missing.items()))
        raise ConfigurationError(
            f"{path} needs libraries that this machine lacks: {named}; install the packages that have it"
        )
    return Program(path, libraries)


def _search(name: str, directories: list[str], main: _Elf) -> tuple[Path, _Elf] | None:
    """The first library of this name for the program's machine, in the loader's search order."""
    places = [name] if "/" in name else [os.path.join(directory, name) for directory in directories]
    for place in places:
        path = Path(place)
        if path.is_file() and (elf := _elf(path)) is not None and elf.kind == main.kind:
            return path.resolve(), elf
    return None


def _elf(path: Path) -> _Elf | None:
    """None for a file of another format or a damaged one."""
    try:
        with path.open("rb") as file:
            return _read(file) if file.read(4) == b"\x7fELF" else None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except _DAMAGED:
        return None


def _read(file: IO[bytes]) -> _Elf:
    elf = ELFFile(file)
    if elf.num_segments() * max(elf["e_phentsize"], _SEGMENT_BYTES_MIN) > elf.stream_len:
        raise ELFError("the file names more segments than it has room for")
    needed: list[str] = []
    directories: list[str] = []
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            # The attribute that has a tag's value depends on its kind.
            tag: Any
            for tag in segment.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(tag.needed)
                elif tag.entry.d_tag == "DT_RUNPATH":
                    directories += tag.runpath.split(":")
                elif tag.entry.d_tag == "DT_RPATH":
                    directories += tag.rpath.split(":")
    return _Elf((elf["e_machine"], elf.elfclass), tuple(needed), tuple(directories))


def _expanded(directories: tuple[str, ...], owner: Path) -> Iterator[str]:
    for directory in directories:
        yield directory.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(owner.parent))


def _system_directories() -> Iterator[str]:
    """The directories that this machine's loader searches, in order."""
    files, seen = deque([_LOADER_CONFIG]), 0
    while files and seen < _INCLUDES_MAX:
        file, seen = files.popleft(), seen + 1
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            # Systems without such a file use only the default directories.
            continue
        for line in (text.partition("#")[0].strip() for text in lines):
            if line.startswith("include"):
                files.extend(Path(each) for each in sorted(glob.glob(line.removeprefix("include").strip())))
            elif line.startswith("/"):
                yield line
    yield from _DEFAULT_DIRECTORIES


def _of_c_library(name: str) -> bool:
    return name in _C_LIBRARY or name.startswith(_C_LIBRARY_PREFIXES)


def _script(path: Path) -> str:
    with path.open("rb") as file:
        return " but a script" if file.read(2) == b"#!" else ""
