"""Decides which of the host's files belong to an interpreter, and may be visible to every function that runs on it.

Called by `jail.plan`. A separate installation is shown as a whole. If the interpreter lies among unrelated files
(`~/bin`, `~/.local/bin`), only the program, its standard library and its shared library are shown.
"""

import os
from collections.abc import Iterator
from pathlib import Path

# The entries of CPython installations made by `make install`, pyenv, uv and conda packages.
_OWN_ENTRIES = frozenset({
    "bin", "sbin", "include", "lib", "lib32", "lib64", "libexec", "share", "etc", "ssl", "openssl", "man", "doc",
    "conda-meta", "compiler_compat", "x86_64-conda-linux-gnu", "x86_64-conda_cos6-linux-gnu",
    "x86_64-conda_cos7-linux-gnu", "aarch64-conda-linux-gnu", "aarch64-conda_cos7-linux-gnu", "BUILD",
})  # fmt: skip
_OWN_SHARED_ENTRIES = frozenset({
    "man", "doc", "info", "terminfo", "tabset", "locale", "zoneinfo", "aclocal", "pkgconfig", "licenses",
})  # fmt: skip
# What a package manager maintains; beside it, others may have put their own files.
_SHARED_PARTS = ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "share", "ssl")
_SYSTEM_PREFIXES = (Path("/usr/local"),)
_ALWAYS_SHOWN = Path("/usr")


class NotSeparable(LookupError):
    """The interpreter's files cannot be told from unrelated files beside them."""


def files_of(interpreter: Path) -> list[Path]:
    """What to show of the interpreter's prefix, outermost paths only. `interpreter` must contain no symbolic links.

    Raises `NotSeparable`, saying what is missing and what to do.
    """
    prefix = interpreter.parent.parent
    if prefix == _ALWAYS_SHOWN:
        return []
    if prefix in _SYSTEM_PREFIXES:
        return _shared_parts(prefix)
    if _is_own(prefix):
        return [prefix]
    if (prefix / "conda-meta").is_dir():
        # A base installation of conda, whose `envs` contain the user's own environments.
        return _shared_parts(prefix)
    return [interpreter, *_standard_libraries(interpreter), *_shared_libraries(prefix)]


def _shared_parts(prefix: Path) -> list[Path]:
    return [prefix / name for name in _SHARED_PARTS if (prefix / name).is_dir() and not (prefix / name).is_symlink()]


def _is_own(prefix: Path) -> bool:
    """Whether the prefix contains only a Python installation. Any unknown entry is assumed to be private."""
    return (
        prefix != Path("/") and _entries(prefix) <= _OWN_ENTRIES and _entries(prefix / "share") <= _OWN_SHARED_ENTRIES
    )


def _entries(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def _standard_libraries(interpreter: Path) -> Iterator[Path]:
    """The directories of the standard library's modules and, if elsewhere, of its compiled extensions."""
    prefix = interpreter.parent.parent
    found = [
        folder
        for lib in ("lib", "lib64")
        for folder in sorted((prefix / lib).glob(f"{interpreter.name}*"))
        if (folder / "os.py").is_file() or (folder / "lib-dynload").is_dir()
    ]
    if not any((folder / "os.py").is_file() for folder in found):
        raise NotSeparable(
            f"{interpreter} has no standard library at {prefix}/lib/{interpreter.name}, and {prefix} holds other "
            "things, which functions may not see; use an interpreter with an installation of its own (`interpreters` "
            "in sesame.toml, or `sesame runtimes get`)"
        )
    yield from found


def _shared_libraries(prefix: Path) -> Iterator[Path]:
    for lib in ("lib", "lib64"):
        yield from sorted((prefix / lib).glob("libpython*.so.*"))
