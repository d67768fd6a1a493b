"""Unpacks a caller's zip archive, or refuses it with what was found and what was expected.

Called by `store.packages.folder` and `store.upkeep.check` with a new folder. Never writes outside that folder, never
trusts a declared size, and refuses devices and links that leave the package.
"""

import calendar
import errno
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from sesame.model import limits
from sesame.model.errors import Unusable

CHUNK_BYTES = 256 * 1024
COUNTED_BYTES = 4 * 1024 * 1024
NAME_PART_BYTES = 255
NAME_BYTES = 1024
LINK_TARGET_BYTES = 1024
EPOCH_1980_S = 315532800.0

_ENTRY_SIGNATURE = b"PK\x01\x02"
# More than CODE_ENTRIES, because an archive inside this one has the signature too. Checked before zipfile, which would
# build an object for each entry.
_SIGNATURES_MAX = 2 * limits.CODE_ENTRIES
_UTF_8_FLAG = 0x800
_UNICODE_PATH = 0x7075
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DRIVE = re.compile(r"[A-Za-z]:")
_KINDS = {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}
_BROKEN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error,
    EOFError, NotImplementedError, RuntimeError, UnicodeError, ValueError, OverflowError, OSError,
)  # fmt: skip


class _Entry(msgspec.Struct, frozen=True):
    """A file, folder or link to make. `path` is relative to the package and checked; "" for the package itself."""

    path: str
    kind: str
    info: zipfile.ZipInfo


def unpack(archive: bytes, destination: Path) -> None:
    """Unpacks into `destination`, an empty folder.

    Folders get mode 0755; files get 0755 if the zip marks them as executable, else 0644, and the times in the zip.
    Symbolic links are kept if they are relative and end inside the package (`zip -y` writes them for libraries).
    Raises `Unusable`; the caller then removes what was written so far.
    """
    _check_size(archive)
    with _opened(archive) as source:
        entries = _plan(source)
        budget = _Budget()
        os.chmod(destination, 0o755)
        for entry in entries:
            if entry.kind == "folder":
                _make_folder(destination, entry)
        for entry in entries:
            if entry.kind == "file":
                _write_file(source, destination, entry, budget)
        links = [entry for entry in entries if entry.kind == "link"]
        for entry in links:
            os.symlink(_link_target(source, entry, budget), destination / entry.path)
        for entry in links:
            _check_link(destination, entry)


def _check_size(archive: bytes) -> None:
    if len(archive) > limits.CODE_ZIP_BYTES:
        raise Unusable(
            f"the code package is too large: found {len(archive)} bytes, expected at most {limits.CODE_ZIP_BYTES}; "
            "move large files to a layer or leave out what the runtime brings along"
        )
    if _signatures(archive) > _SIGNATURES_MAX:
        raise _too_many_entries(f"more than {_SIGNATURES_MAX}")


def _signatures(archive: bytes) -> int:
    """How often the signature of an entry occurs. Counts in steps, because `bytes.count` holds the GIL throughout."""
    tail = len(_ENTRY_SIGNATURE) - 1
    return sum(
        archive.count(_ENTRY_SIGNATURE, at, at + COUNTED_BYTES + tail) for at in range(0, len(archive), COUNTED_BYTES)
    )


def _opened(archive: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except _BROKEN as error:
        raise Unusable(
            f"the code package cannot be read: found {len(archive)} bytes that are not a zip archive ({error}), "
            "expected a complete zip archive; for zipFile its base64 text"
        ) from error


def _plan(source: zipfile.ZipFile) -> list[_Entry]:
    """All files, folders and links to make, each folder before its content. Reads only the zip's directory."""
    infos = source.infolist()
    if len(infos) > limits.CODE_ENTRIES:
        raise _too_many_entries(str(len(infos)))
    declared = sum(info.file_size for info in infos)
    if declared > limits.CODE_UNPACKED_BYTES:
        raise _too_much(f"{declared} bytes")
    made: dict[str, _Entry] = {}
    for info in infos:
        entry = _checked(info)
        _add_folders_above(made, entry)
        if entry.kind == "folder":
            if entry.path:
                _add_folder(made, entry.path, info)
            continue
        former = made.get(entry.path)
        if former is not None:
            what = "a folder and a file" if former.kind == "folder" else "two files"
            raise _refused(info, f"{what} of this name", "every name once")
        made[entry.path] = entry
    if not any(entry.kind != "folder" for entry in made.values()):
        raise Unusable("the code package is empty: found a zip archive without files, expected the function's code")
    return sorted(made.values(), key=lambda entry: entry.path.count("/"))


def _add_folders_above(made: dict[str, _Entry], entry: _Entry) -> None:
    """The folders that the entry's path implies, from the innermost up to the first that is known already."""
    path = entry.path.rpartition("/")[0]
    while path:
        known = path in made
        _add_folder(made, path, entry.info)
        if known:
            return
        path = path.rpartition("/")[0]


def _add_folder(made: dict[str, _Entry], path: str, info: zipfile.ZipInfo) -> None:
    former = made.setdefault(path, _Entry(path, "folder", info))
    if former.kind != "folder":
        raise _refused(info, f"a {former.kind} at '{path}' where this entry needs a folder", "a folder there")
    # One entry implies as many folders as its path has parts, so folders count as the entries do.
    if len(made) > limits.CODE_ENTRIES:
        raise _too_many_entries(f"more than {limits.CODE_ENTRIES} files and folders")


def _checked(info: zipfile.ZipInfo) -> _Entry:
    path = _safe_path(info)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in _KINDS:
        raise _refused(info, "a device, a pipe or a socket", "files, folders and links only")
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise _refused(info, "an encrypted entry", "an archive without a password")
    if info.compress_type not in _METHODS:
        raise _refused(info, f"compression method {info.compress_type}", "deflate (8) or none (0)")
    if _name(info).endswith("/") or stat.S_ISDIR(mode):
        return _Entry(path, "folder", info)
    if not path:
        raise _refused(info, "a file without a name", "a relative path")
    return _Entry(path, "link" if stat.S_ISLNK(mode) else "file", info)


def _safe_path(info: zipfile.ZipInfo) -> str:
    name = _name(info)
    if "\0" in name:
        raise _refused(info, "a name with a NUL character", "a relative path")
    if "\\" in name:
        raise _refused(info, "a name with a backslash", "folders separated by '/'; pack it again with another tool")
    if name.startswith("/") or _DRIVE.match(name):
        raise _refused(info, "an absolute path", "a path relative to the package")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _refused(info, "a path with '..'", "a path that stays inside the package")
    if len(name.encode()) > NAME_BYTES or any(len(part.encode()) > NAME_PART_BYTES for part in parts):
        raise _refused(info, "a name that is too long", f"at most {NAME_BYTES} bytes, {NAME_PART_BYTES} for each part")
    return "/".join(parts)


def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name as the archiver meant it.

    Reads `orig_filename`, because zipfile cuts `filename` at the first NUL. Without the UTF-8 flag zipfile decodes
    names as CP437, so encoding the name as CP437 gives the original bytes.
    """
    if info.flag_bits & _UTF_8_FLAG:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    return _unicode_path(info, raw) or _decoded(raw) or raw.decode("cp437")


def _decoded(raw: bytes) -> str:
    """The bytes decoded as UTF-8 or, if they are not valid UTF-8, as GBK; "" if they are neither.

    POLICY: without the flag, archivers on Linux write UTF-8, on Chinese Windows GBK, and very old ones CP437. Text in
    another encoding is almost never valid UTF-8, and CP437 text is rarely valid GBK.
    """
    for encoding in ("utf-8", "gbk"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str:
    """The UTF-8 name in Info-ZIP's extra field; "" if there is none or if its checksum is not that of `raw`."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            (checksum,) = struct.unpack_from("<I", field, 1)
            if checksum == zlib.crc32(raw):
                try:
                    return field[5:].decode()
                except UnicodeDecodeError:
                    return ""
    return ""


class _Budget:
    """Limits the bytes that are actually unpacked, which may differ from the sizes in the zip's directory."""

    def __init__(self) -> None:
        self._left = limits.CODE_UNPACKED_BYTES

    def spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise _too_much("more")


def _make_folder(destination: Path, entry: _Entry) -> None:
    path = destination / entry.path
    path.mkdir()
    path.chmod(0o755)


def _write_file(source: zipfile.ZipFile, destination: Path, entry: _Entry, budget: _Budget) -> None:
    path = destination / entry.path
    try:
        file = path.open("xb")
    except FileExistsError as error:
        # `_plan` refuses equal names, so this happens only on a case-insensitive file system.
        raise _refused(entry.info, "a name that differs from another only in case", "names that differ") from error
    with file:
        for chunk in _chunks(source, entry, budget):
            file.write(chunk)
        os.fchmod(file.fileno(), 0o755 if (entry.info.external_attr >> 16) & 0o111 else 0o644)
    when = _modified_at(entry.info)
    os.utime(path, (when, when))


def _chunks(source: zipfile.ZipFile, entry: _Entry, budget: _Budget) -> Iterator[bytes]:
    """The entry's bytes in chunks. Only faults of the archive raise `Unusable`; a full disk raises OSError."""
    try:
        stream = source.open(entry.info)
    except _BROKEN as error:
        raise _broken(entry.info, error) from error
    with stream:
        while chunk := _read(stream, entry.info):  # type: ignore[arg-type]
            budget.spend(len(chunk))
            yield chunk


def _read(stream: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    try:
        return stream.read(CHUNK_BYTES)
    except _BROKEN as error:
        raise _broken(info, error) from error


def _link_target(source: zipfile.ZipFile, entry: _Entry, budget: _Budget) -> str:
    raw = b"".join(_chunks(source, entry, budget)) if entry.info.file_size <= LINK_TARGET_BYTES else b""
    target = _decoded(raw)
    if raw and not target:
        raise _refused(entry.info, "a link whose target is not UTF-8 and not GBK", "a readable relative path")
    if not target or "\0" in target or target.startswith("/"):
        raise _refused(entry.info, f"a link to '{target}'", "links that are relative and stay inside the package")
    return target


def _check_link(destination: Path, entry: _Entry) -> None:
    """Resolves the link through all other links, which exist by now, so that no chain of links leaves the package."""
    root = os.path.realpath(destination)
    path = destination / entry.path
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise _refused(
            entry.info, f"a link to '{os.readlink(path)}', which leaves the package", "links that stay inside it"
        )
    try:
        path.stat()
    except OSError as error:
        # A dangling link is allowed.
        if error.errno == errno.ELOOP:
            raise _refused(entry.info, "a link that leads to itself", "links that end somewhere") from error


def _modified_at(info: zipfile.ZipInfo) -> float:
    """Unix seconds, read as UTC so that the same zip gives the same times everywhere: compiled code records them."""
    try:
        return float(calendar.timegm((*info.date_time, 0, 0, 0)))
    except (ValueError, OverflowError):
        return EPOCH_1980_S


def _refused(info: zipfile.ZipInfo, found: str, expected: str) -> Unusable:
    name = _name(info)
    if len(name) > NAME_PART_BYTES:
        name = name[:80] + "…"
    return Unusable(f"the code package is not accepted at entry {name!r}: found {found}, expected {expected}")


def _broken(info: zipfile.ZipInfo, error: Exception) -> Unusable:
    return _refused(info, f"broken data ({error})", "a zip archive that can be unpacked; pack and send it again")


def _too_many_entries(found: str) -> Unusable:
    return Unusable(f"the code package has too many entries: found {found}, expected at most {limits.CODE_ENTRIES}")


def _too_much(found: str) -> Unusable:
    return Unusable(
        f"the code package is too large when unpacked: found {found}, "
        f"expected at most {limits.CODE_UNPACKED_BYTES} bytes"
    )
