"""Lays out a layer from programs of this machine: `bin/` has the programs, `lib/` their shared libraries.

Used by `cli.layer_programs`. Functions find both at /opt/bin (on PATH) and /opt/lib (in the loader's path).
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from sesame.build.checks import glibc_needed
from sesame.build.programs import Program
from sesame.model.errors import ConfigurationError


class LaidOut(msgspec.Struct, frozen=True):
    """`libraries` counts the files in lib/; `glibc` is the newest C library version that any file needs."""

    libraries: int
    size_bytes: int
    glibc: tuple[int, int]


def lay_out(programs: Iterable[tuple[str, Program]], folder: Path) -> LaidOut:
    """Copies each program under its name, and the libraries it needs, into the empty folder."""
    sources: dict[str, Path] = {}
    for name, program in programs:
        _put(sources, f"bin/{name}", program.path)
        for library, path in program.libraries.items():
            # A library named by a path is found at that path; its file name alone works as well.
            _put(sources, f"lib/{Path(library).name}", path)
    for inside, source in sources.items():
        target = folder / inside
        target.parent.mkdir(exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from error
        target.chmod(0o755)
    return LaidOut(
        libraries=sum(inside.startswith("lib/") for inside in sources),
        size_bytes=sum((folder / inside).stat().st_size for inside in sources),
        glibc=max(glibc_needed(folder / inside) for inside in sources),
    )


def _put(sources: dict[str, Path], inside: str, source: Path) -> None:
    if sources.setdefault(inside, source) != source:
        raise ConfigurationError(
            f"{sources[inside]} and {source} would both become {inside} in the layer: make a layer for each program"
        )
