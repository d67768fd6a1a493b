"""Unpacks a zip archive from a caller, or refuses it and says what was found and what was expected.

Called by `store.packages.folder` and `store.upkeep.check` with a new folder. Nothing is written outside of it, no
declared size is trusted, and owners, devices and links that lead out are refused.
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
# Archives stored inside this one carry the signature too; beyond this many nothing is worth listing.
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
    """One thing to make: `parts` is its path below the package, checked."""

    parts: tuple[str, ...]
    kind: str
    info: zipfile.ZipInfo

    @property
    def path(self) -> str:
        return "/".join(self.parts)


def unpack(archive: bytes, destination: Path) -> None:
    """Unpacks into `destination`, an empty folder.

    Folders get mode 0755, files 0755 if anyone may execute them and 0644 otherwise, all with the times in the zip.
    Symbolic links are kept when they are relative and end inside the package (`zip -y` writes them for libraries).
    Raises `Unusable`; what was written until then is the caller's to remove.
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
    """How often the signature of an entry occurs, counted in steps: in one it would hold up every other thread."""
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
    """Everything that will be made, folders before what is in them. Reads the directory of the zip only."""
    infos = source.infolist()
    if len(infos) > limits.CODE_ENTRIES:
        raise _too_many_entries(str(len(infos)))
    declared = sum(info.file_size for info in infos)
    if declared > limits.CODE_UNPACKED_BYTES:
        raise _too_much(f"{declared} bytes")
    made: dict[tuple[str, ...], _Entry] = {}
    for info in infos:
        entry = _checked(info)
        for depth in range(1, len(entry.parts)):
            _add_folder(made, entry.parts[:depth], info)
        if entry.kind == "folder":
            if entry.parts:
                _add_folder(made, entry.parts, info)
            continue
        former = made.get(entry.parts)
        if former is not None:
            what = "a folder and a file" if former.kind == "folder" else "two files"
            raise _refused(info, f"{what} of this name", "every name once")
        made[entry.parts] = entry
    if not any(entry.kind != "folder" for entry in made.values()):
        raise Unusable("the code package is empty: found a zip archive without files, expected the function's code")
    return sorted(made.values(), key=lambda entry: len(entry.parts))


def _add_folder(made: dict[tuple[str, ...], _Entry], parts: tuple[str, ...], info: zipfile.ZipInfo) -> None:
    former = made.setdefault(parts, _Entry(parts, "folder", info))
    if former.kind != "folder":
        raise _refused(
            info, f"a {former.kind} at '{'/'.join(parts)}' where this entry needs a folder", "a folder there"
        )


def _checked(info: zipfile.ZipInfo) -> _Entry:
    parts = _safe_parts(info)
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in _KINDS:
        raise _refused(info, "a device, a pipe or a socket", "files, folders and links only")
    if info.flag_bits & _ENCRYPTED_FLAGS:
        raise _refused(info, "an encrypted entry", "an archive without a password")
    if info.compress_type not in _METHODS:
        raise _refused(info, f"compression method {info.compress_type}", "deflate (8) or none (0)")
    if _name(info).endswith("/") or stat.S_ISDIR(mode):
        return _Entry(parts, "folder", info)
    if not parts:
        raise _refused(info, "a file without a name", "a relative path")
    return _Entry(parts, "link" if stat.S_ISLNK(mode) else "file", info)


def _safe_parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
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
    return parts


def _name(info: zipfile.ZipInfo) -> str:
    """What the archiver meant. `filename` ends at the first NUL; what was really written is in `orig_filename`.

    Only a flag says that a name is UTF-8. Without it zipfile reads CP437, which gives every byte back.
    """
    if info.flag_bits & _UTF_8_FLAG:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    return _unicode_path(info, raw) or _decoded(raw) or raw.decode("cp437")


def _decoded(raw: bytes) -> str:
    """UTF-8 where the bytes are UTF-8, else GBK where they are GBK; empty where they are neither.

    POLICY: archivers on Linux write UTF-8 without the flag, those of Chinese Windows GBK, the oldest CP437. Text in
    another encoding is almost never valid UTF-8, and CP437 seldom valid GBK.
    """
    for encoding in ("utf-8", "gbk"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str:
    """The name in the extra field of Info-ZIP that holds it in UTF-8; empty without one that belongs to `raw`."""
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
    """Counts what really comes out of the archive, whatever its directory says."""

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
        # Only where the file system does not tell upper from lower case.
        raise _refused(entry.info, "another file of this name but for its case", "names that differ") from error
    with file:
        for chunk in _chunks(source, entry, budget):
            file.write(chunk)
        os.fchmod(file.fileno(), 0o755 if (entry.info.external_attr >> 16) & 0o111 else 0o644)
    when = _modified_at(entry.info)
    os.utime(path, (when, when))


def _chunks(source: zipfile.ZipFile, entry: _Entry, budget: _Budget) -> Iterator[bytes]:
    """The entry's bytes. Only faults of the archive become `Unusable`: a full disk is not the caller's."""
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
    """Follows the link through all others, now that they are there: a detour must not lead out either."""
    root = os.path.realpath(destination)
    path = destination / entry.path
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise _refused(
            entry.info, f"a link to '{os.readlink(path)}', which leaves the package", "links that stay inside it"
        )
    try:
        path.stat()
    except OSError as error:
        # What a link leads to may be missing, as it may be in a folder of one's own.
        if error.errno == errno.ELOOP:
            raise _refused(entry.info, "a link that leads to itself", "links that end somewhere") from error


def _modified_at(info: zipfile.ZipInfo) -> float:
    """Read as UTC, so that the same zip gives the same times everywhere; compiled code refers to them."""
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
