"""The directory of one obtained interpreter: complete or absent, with a manifest that describes it.

Used by `obtain`. The manifest is written last, and only then does the directory get its final name.
"""

import os
import platform
from pathlib import Path

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes import interpreters
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS

MANIFEST = "sesame-interpreter.json"
# Modules that every usable interpreter can import. A build that lacks a library fails now, not during a call.
PROOF = "import ctypes, hashlib, json, socket, ssl, zlib"


class Manifest(msgspec.Struct, frozen=True):
    """`prefix` is the directory for which the files were written, since some of them contain its path."""

    runtime: str
    version: str
    platform: str
    source: str
    prefix: str


def machine() -> str:
    """The kind of machine, as far as a compiled interpreter is concerned, for example `linux-x86_64`."""
    return f"{platform.system().lower()}-{platform.machine()}"


def read_manifest(folder: Path) -> Manifest | None:
    """None if the directory is absent or incomplete."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def is_complete(folder: Path) -> bool:
    return read_manifest(folder) is not None


def finish(staging: Path, manifest: Manifest) -> None:
    """Checks that the interpreter runs where it is, makes it readable for every user, and writes the manifest.

    Raises `ConfigurationError`.
    """
    prove(staging, manifest.runtime)
    _let_others_read(staging)
    path = staging / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    path.chmod(0o644)


def _let_others_read(folder: Path) -> None:
    """Jailed instances run as users of their own, so the umask in force when the files were written must not matter."""
    for parent, _folders, files in os.walk(folder):
        os.chmod(parent, os.stat(parent).st_mode & 0o7777 | 0o055)
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                mode = os.stat(path).st_mode & 0o7777
                os.chmod(path, mode | 0o044 | (0o011 if mode & 0o100 else 0))


def prove(folder: Path, runtime: str) -> None:
    """Raises `ConfigurationError` unless the directory's interpreter runs and has the runtime's version."""
    major, minor = MINOR_VERSIONS[runtime]
    program = folder / "bin" / f"python{major}.{minor}"
    answer = interpreters.probe(program, os.environ)
    if answer is None or not answer.is_cpython((major, minor)):
        found = "does not run" if answer is None else f"is {answer.implementation} {answer.version}"
        raise ConfigurationError(f"{program} {found}; expected CPython {major}.{minor}")
    error = interpreters.run_proof(program, PROOF)
    if error:
        raise ConfigurationError(f"{program} lacks what functions need: {error}")
