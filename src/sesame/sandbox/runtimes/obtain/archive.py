"""Transfers interpreters to a machine without a network: `pack` writes them to a file, `unpack` installs from it.

Used by `sesame runtimes pack` and `unpack`. Writes only below the directory of Sesame's own interpreters, and gives an
interpreter its final name only after the digest of every file has matched the archive's list.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import msgspec

from sesame.model.errors import ConfigurationError
from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.runtimes.obtain import installed
from sesame.sandbox.runtimes.obtain.installed import Manifest
from sesame.sandbox.runtimes.staging import staged

LIST = "sesame-runtimes.json"
LIST_BYTES_MAX = 64 * 1024 * 1024
UNPACKED_BYTES_MAX = 8 * 1024**3
# The magic numbers of ELF and Mach-O files.
_PROGRAMS = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_FOLDER = re.compile(r"[a-z]{1,16}/cpython-[0-9][A-Za-z0-9._+-]{0,100}\Z")

Progress = Callable[[str], None]


class File(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file by its path in the interpreter's directory: digest, size and mode, or the target of a link."""

    path: str
    sha256: str = ""
    size: int = 0
    mode: int = 0o644
    link: str = ""


class Packed(msgspec.Struct, frozen=True):
    """One interpreter: its directory, relative to that of Sesame's own interpreters, and its files."""

    folder: str
    machine: str
    manifest: Manifest
    files: tuple[File, ...]


class Contents(msgspec.Struct, frozen=True):
    format: int
    interpreters: tuple[Packed, ...]


class UnusableArchive(ConfigurationError):
    """The file is not an archive of interpreters, is damaged, contains unsafe paths, or is for another machine."""


def pack(own: Path, runtimes: Sequence[str], file: Path, progress: Progress) -> str:
    """Writes the interpreters below `own` for these runtimes, or all, to `file`. Returns the file's SHA-256."""
    folders = [path.parent for path in sorted(own.glob(f"*/cpython-*/{installed.MANIFEST}"))]
    chosen = [(folder, manifest) for folder in folders if (manifest := installed.read_manifest(folder))]
    chosen = [(folder, manifest) for folder, manifest in chosen if not runtimes or manifest.runtime in runtimes]
    missing = set(runtimes) - {manifest.runtime for _folder, manifest in chosen}
    if missing or not chosen:
        names = ", ".join(sorted(missing)) or "none"
        raise ConfigurationError(
            f"only interpreters that Sesame installed can be packed, which these are not: {names}. "
            "Install them first: sesame runtimes get"
        )
    packed = [
        Packed(str(folder.relative_to(own)), installed.machine(), manifest, tuple(_files(folder)))
        for folder, manifest in chosen
    ]
    draft = file.with_name(f".{file.name}.part")
    try:
        with tarfile.open(draft, "w:gz", compresslevel=6) as tar:
            _add_bytes(tar, LIST, msgspec.json.encode(Contents(1, tuple(packed))))
            for each in packed:
                progress(f"{each.manifest.runtime}: CPython {each.manifest.version}, {len(each.files)} files")
                for item in each.files:
                    if not item.link:
                        tar.add(own / each.folder / item.path, f"{each.folder}/{item.path}", recursive=False)
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    with file.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def unpack(file: Path, own: Path, progress: Progress, sha256: str | None = None) -> list[str]:
    """Installs the interpreters that are missing. Returns the archive's runtimes. Raises `UnusableArchive`."""
    if sha256 is not None:
        with file.open("rb") as whole:
            found = hashlib.file_digest(whole, "sha256").hexdigest()
        if found != sha256.lower():
            raise UnusableArchive(f"{file} has the SHA-256 {found}, expected {sha256}: it was not unpacked")
    try:
        with tarfile.open(file, "r:gz") as tar:
            contents = _contents(tar, file)
            _check(contents, file)
            _install(tar, contents, own, progress)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnusableArchive(f"{file} is damaged, or no archive of interpreters: {error}") from error
    return [each.manifest.runtime for each in contents.interpreters]


def _files(folder: Path) -> Iterator[File]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted([*files, *links]):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                yield File(relative, link=os.readlink(path))
            elif relative != installed.MANIFEST:
                data = path.read_bytes()
                yield File(relative, hashlib.sha256(data).hexdigest(), len(data), path.stat().st_mode & 0o777)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _contents(tar: tarfile.TarFile, file: Path) -> Contents:
    member = tar.next()
    if member is None or member.name != LIST or not member.isreg() or member.size > LIST_BYTES_MAX:
        raise UnusableArchive(f"{file} is no archive of interpreters: it does not begin with {LIST}")
    read = tar.extractfile(member)
    assert read is not None
    try:
        contents = msgspec.json.decode(read.read(), type=Contents)
    except msgspec.DecodeError as error:
        raise UnusableArchive(f"{file} is no archive of interpreters: {LIST}: {error}") from error
    if contents.format != 1:
        raise UnusableArchive(f"{file} has the format {contents.format}; this Sesame reads format 1")
    return contents


def _check(contents: Contents, file: Path) -> None:
    """Rejects archives for another machine, and every path that could leave the interpreter's directory."""
    for each in contents.interpreters:
        if each.machine != installed.machine():
            raise UnusableArchive(f"{file} was packed on {each.machine}; this machine is {installed.machine()}")
        if not _FOLDER.match(each.folder) or each.manifest.runtime not in MINOR_VERSIONS:
            raise UnusableArchive(
                f"{file} holds '{each.folder}' for '{each.manifest.runtime}', which is no interpreter"
            )
        links = {item.path for item in each.files if item.link}
        seen = set()
        for item in each.files:
            parts = PurePosixPath(item.path).parts
            if item.path in seen or not _stays_inside(item.path) or item.path == installed.MANIFEST:
                raise UnusableArchive(f"{file} holds the path '{item.path}', which an interpreter may not have")
            if any("/".join(parts[:end]) in links for end in range(1, len(parts))):
                raise UnusableArchive(f"{file} holds '{item.path}' below a link")
            if item.link and not _stays_inside(os.path.join(os.path.dirname(item.path), item.link)):
                raise UnusableArchive(f"{file} holds the link '{item.path}' to '{item.link}', outside its interpreter")
            seen.add(item.path)
    if sum(item.size for each in contents.interpreters for item in each.files) > UNPACKED_BYTES_MAX:
        raise UnusableArchive(f"{file} would unpack to more than {UNPACKED_BYTES_MAX // 1024**3} GB")


def _stays_inside(path: str) -> bool:
    clean = os.path.normpath(path)
    return bool(path) and "\0" not in path and not os.path.isabs(clean) and clean.split("/")[0] not in ("..", ".")


def _install(tar: tarfile.TarFile, contents: Contents, own: Path, progress: Progress) -> None:
    new = {each.folder: each for each in contents.interpreters if not installed.is_complete(own / each.folder)}
    for each in contents.interpreters:
        name = f"{each.manifest.runtime}: CPython {each.manifest.version}"
        progress(f"{name}, unpacking {len(each.files)} files …" if each.folder in new else f"{name} is there already")
    with ExitStack() as stages:
        places = {folder: stages.enter_context(staged(own / folder, keep=installed.is_complete)) for folder in new}
        wanted = {
            f"{each.folder}/{item.path}": (each, item) for each in new.values() for item in each.files if item.sha256
        }
        while (member := tar.next()) is not None:
            if found := wanted.pop(member.name, None):
                each, item = found
                _write(tar, member, item, places[each.folder] / item.path, each.manifest.prefix, own / each.folder)
        if wanted:
            raise UnusableArchive(f"the archive lacks {len(wanted)} of its files, '{next(iter(wanted))}' among them")
        for folder, each in new.items():
            for item in each.files:
                if item.link:
                    link = places[folder] / item.path
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(item.link)
            installed.finish(places[folder], msgspec.structs.replace(each.manifest, prefix=str(own / folder)))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, item: File, path: Path, before: str, now: Path) -> None:
    read = tar.extractfile(member) if member.isreg() and member.size == item.size else None
    data = read.read() if read is not None else b""
    if read is None or hashlib.sha256(data).hexdigest() != item.sha256:
        raise UnusableArchive(f"'{member.name}' is not what the archive's list says: its digest is another")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(moved(data, os.fsencode(before), os.fsencode(now)))
    path.chmod(item.mode & 0o777)


def moved(data: bytes, before: bytes, now: bytes) -> bytes:
    """Rewrites the prefix in a file's contents, in text files, programs and libraries.

    In programs and libraries a path is a C string that may grow into its padding. Other files, such as bytecode, are
    left unchanged.
    """
    if before == now or before not in data:
        return data
    if b"\0" not in data:
        return data.replace(before, now)
    if not data.startswith(_PROGRAMS):
        return data

    def replaced(found: "re.Match[bytes]") -> bytes:
        text = now + found[1]
        if len(text) >= len(found[0]):
            raise UnusableArchive(
                f"the directory {os.fsdecode(now)} is too long for this interpreter, which was made for "
                f"{os.fsdecode(before)}: choose a shorter --runtimes-dir"
            )
        return text.ljust(len(found[0]), b"\0")

    return re.sub(re.escape(before) + rb"([^\0]*)\0+", replaced, data)
