"""A conda channel in a folder, made of an interpreter of this machine: what `sesame runtimes get` sees of conda-forge.

The interpreter is cut to what functions of tests import. One of its files names its prefix, as conda's packages do, and
it needs a second package, so that dependencies are resolved.
"""

import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from sesame.sandbox.runtimes.obtain.lock import this_platform

# Libraries from this size on are mostly what debuggers read, and take seconds to pack.
STRIPPED_FROM_BYTES = 100_000
PLACEHOLDER = "/opt/" + "placehold_" * 24
DEPENDENCY = "made-up"
_LEFT_OUT = {
    "test", "site-packages", "idlelib", "lib2to3", "tkinter", "turtledemo", "lib-tk", "distutils", "ensurepip",
    "pydoc_data", "bsddb", "unittest", "asyncio", "multiprocessing", "xml", "wsgiref", "sqlite3", "curses", "dbm",
    "hotshot", "compiler", "concurrent", "venv", "msilib",
}  # fmt: skip


def make_channel(folder: Path, *pythons: tuple[Path, str, str]) -> Path:
    """Writes a channel with each CPython (its path, and what version and build it shall be); the folder."""
    import rattler.index

    subdir = this_platform()
    for name in (subdir, "noarch"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for python, version, build in pythons:
        _write(folder / subdir, "python", version, build, cut_files(python, version), [f"{DEPENDENCY} >=1"])
    _write(folder / subdir, DEPENDENCY, "1.0", "0", {"share/made-up.txt": (b"made up", 0o644)}, [])
    asyncio.run(rattler.index.index_fs(folder, write_zst=False, write_shards=False))
    return folder


def cut_files(python: Path, version: str) -> dict[str, tuple[bytes, int]]:
    """The files of an interpreter by their path in its prefix, with their modes: what tests need of them."""
    prefix = python.parent.parent
    name = f"python{version.rpartition('.')[0]}"
    program = (prefix / "bin" / name).resolve().read_bytes()
    files = {
        f"bin/{name}": (_with_origin(program, os.fsencode(prefix / "lib")), 0o755),
        "bin/a-tool": (f"#!{PLACEHOLDER}/bin/{name}\n".encode(), 0o755),
    }
    for library in (prefix / "lib").glob("libpython*.so.*"):
        files[f"lib/{library.name}"] = (_stripped(library), 0o755)
    standard = prefix / "lib" / name
    for folder, folders, names in os.walk(standard):
        folders[:] = [each for each in folders if each not in _LEFT_OUT and not each.startswith(("config", "plat-"))]
        for path in (Path(folder, each) for each in names):
            if path.suffix in (".py", ".so") and "_codecs_" not in path.name and path.is_file():
                files[f"lib/{name}/{path.relative_to(standard)}"] = (_stripped(path), path.stat().st_mode & 0o777)
    return files


def _stripped(file: Path) -> bytes:
    """As it is where it is no large library, or nothing here can take away what debuggers read."""
    strip = shutil.which("strip")
    if ".so" not in file.name or file.stat().st_size < STRIPPED_FROM_BYTES or strip is None:
        return file.read_bytes()
    with tempfile.NamedTemporaryFile() as made:
        subprocess.run([strip, "--strip-debug", "-o", made.name, str(file)], check=True)
        return Path(made.name).read_bytes()


def _with_origin(program: bytes, library: bytes) -> bytes:
    """The program, looking for its library beside itself, as conda's do, and not where it was built."""
    origin = b"$ORIGIN/../lib"
    return program.replace(library + b"\0", origin.ljust(len(library) + 1, b"\0"))


def _write(
    folder: Path, name: str, version: str, build: str, files: dict[str, tuple[bytes, int]], depends: list[str]
) -> None:
    paths: list[dict[str, Any]] = []
    for path, (data, _mode) in files.items():
        prefixed = {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"} if PLACEHOLDER.encode() in data else {}
        digest = hashlib.sha256(data).hexdigest()
        paths.append({"_path": path, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(data)} | prefixed)
    system, _, architecture = folder.name.partition("-")
    index = {
        "name": name, "version": version, "build": build, "build_number": 0, "depends": depends, "timestamp": 1,
        "subdir": folder.name, "platform": system, "arch": {"64": "x86_64"}.get(architecture, architecture),
    }  # fmt: skip
    described = {
        "info/index.json": json.dumps(index).encode(),
        "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
        "info/files": "".join(f"{path}\n" for path in files).encode(),
    }
    with tarfile.open(folder / f"{name}-{version}-{build}.tar.bz2", "w:bz2", compresslevel=1) as tar:
        for path, (data, mode) in {**{key: (data, 0o644) for key, data in described.items()}, **files}.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
