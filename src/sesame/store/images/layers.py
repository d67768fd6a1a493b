"""Unpacks the layers of an image, one over the other, into a new folder (OCI image specification, layer.md).

Called by `store.images.images`, on threads. Never writes outside that folder, whatever names and links a layer has;
never trusts a declared size; creates no devices and no set-user-ID files.
"""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from sesame.model import limits
from sesame.model.container import ImageUnavailable
from sesame.store.images.layout import Image, Source
from sesame.store.images.zstd import ZstdReader

CHUNK_BYTES = 256 * 1024
LINKS_MAX = 40
NAME_BYTES, NAME_PART_BYTES = 4096, 255
ID_MAX = 2**31 - 1
# Allowed overhead of tar: headers and padding in total, and for each file its header, a long name, and padding.
HEADER_BYTES, ENTRY_BYTES, PADDING_BYTES = 1024 * 1024, 4096, 1024 * 1024
_HEADERS = {
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
}  # fmt: skip
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BROKEN = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, OverflowError)


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpack(
    image: Image, source: Source, destination: Path, reference: str, shortage: Callable[[], str] = lambda: ""
) -> None:
    """Unpacks into `destination`, an empty folder that nobody else writes to. As root it also sets the owners.

    `shortage` returns why nothing more may be written to the disk, or "". Raises `ImageUnavailable`, or `OSError` of
    the disk; the caller then removes what was written.
    """
    tree = _Tree(destination, _Budget(reference, shortage), reference)
    for name, diff_id in zip(image.layers, image.diff_ids, strict=True):
        with contextlib.ExitStack() as opened:
            try:
                file = opened.enter_context(source.open(name))
            except FileNotFoundError as error:
                raise _refused(reference, f"no layer {name}", "every layer that the manifest names") from error
            _apply(file, diff_id, tree, reference)
    tree.finish()


class _Entry(tarfile.TarInfo):
    """An entry with limited long names and attributes, because tarfile holds them in memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Entry":
        found = super().frombuf(buf, encoding, errors)
        if found.type in _HEADERS and found.size > HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        return found


def _apply(file: IO[bytes], diff_id: str, tree: "_Tree", reference: str) -> None:
    content = _Hashed(_uncompressed(file, reference), tree.budget)
    tree.begin_layer()
    try:
        # Read as a stream, so that each byte is read once, and exactly these bytes are hashed.
        with tarfile.open(fileobj=content, mode="r|", tarinfo=_Entry, encoding="utf-8") as archive:  # type: ignore[call-overload]
            for member in archive:
                tree.take(member, archive)
                # tarfile would keep every member.
                archive.members.clear()
        while content.read(CHUNK_BYTES):
            pass
    except _BROKEN as error:
        raise _refused(reference, f"a layer that cannot be read ({error})", "a whole tar archive") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise _refused(reference, "paths in a layer that are too long", "paths that a file system can have") from error
    if f"sha256:{content.hexdigest()}" != diff_id:
        raise _refused(reference, "a layer with another content than its hash says", "the image as it was made")


def _uncompressed(file: IO[bytes], reference: str) -> Readable:
    begin = file.read(4)
    file.seek(0)
    if begin.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if begin == _ZSTD:
        try:
            return ZstdReader(file)
        except ImportError as error:
            raise _refused(
                reference,
                "a layer compressed by zstd",
                "a decoder of it: pip install 'sesame-fc[images]', or gzip: skopeo copy --dest-compress-format gzip "
                "oci:… oci:…",
            ) from error
    return file


class _Hashed:
    """A stream that hashes what is read from it, up to the size that the budget allows a layer."""

    def __init__(self, file: Readable, budget: "_Budget") -> None:
        self._file = file
        self._budget = budget
        self._sha256 = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._budget.read(len(data))
        self._sha256.update(data)
        return data

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


class _Budget:
    """Limits the number of files and the bytes that are actually written."""

    def __init__(self, reference: str, shortage: Callable[[], str]) -> None:
        self._reference = reference
        self._shortage = shortage
        self._bytes = limits.IMAGE_UNPACKED_BYTES
        self._entries = limits.IMAGE_ENTRIES
        self._unread = self._bytes + self._entries * ENTRY_BYTES + PADDING_BYTES

    def read(self, amount: int) -> None:
        """Counts bytes of packed layers, which may contain more than is written."""
        self._unread -= amount
        if self._unread < 0:
            raise _refused(
                self._reference, "more in its layers", f"at most {limits.IMAGE_UNPACKED_BYTES} bytes of files"
            )

    def spend(self, amount: int) -> None:
        self._bytes -= amount
        if self._bytes < 0:
            raise _refused(self._reference, "more when unpacked", f"at most {limits.IMAGE_UNPACKED_BYTES} bytes")
        if short := self._shortage():
            raise ImageUnavailable(f"The image '{self._reference}' cannot be unpacked: {short}")

    def count(self) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise _refused(self._reference, "more files", f"at most {limits.IMAGE_ENTRIES} files and folders")


class _Tree:
    """The root being built. Paths are lists of names below it; links are followed only within it."""

    def __init__(self, root: Path, budget: _Budget, reference: str) -> None:
        self._root = str(root)
        self.budget = budget
        self._reference = reference
        self._owned = os.geteuid() == 0
        # Paths of the current layer: an opaque folder hides entries of lower layers, but not those of its own.
        self._written: set[tuple[str, ...]] = set()
        # Folders that are known to be real folders and not links.
        self._folders: dict[tuple[str, ...], tuple[str, ...]] = {}
        # Final modes and times of folders, set last: a folder may be closed to its owner, or older than its content.
        self._modes: dict[tuple[str, ...], tuple[int, float]] = {}

    def begin_layer(self) -> None:
        self._written = set()

    def take(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        self.budget.count()
        names = self._names(member.name)
        if not names:
            if member.isdir():
                self._settle((), member)
            return
        parent = self._folder(names[:-1])
        name = names[-1]
        if name == _OPAQUE:
            self._empty(parent)
        elif name.startswith(_WHITEOUT):
            self._remove_below(parent, name.removeprefix(_WHITEOUT))
        elif member.isdir():
            self._make_folder((*parent, name), member)
        elif member.isreg():
            self._write((*parent, name), member, archive)
        elif member.issym():
            self._link((*parent, name), member)
        elif member.islnk():
            self._hard_link((*parent, name), member)
        # Devices and pipes are skipped: instances have their own.

    def finish(self) -> None:
        """Sets modes and times of folders, the innermost first."""
        for path, _folders, _files in os.walk(self._root, topdown=False):
            names = tuple(part for part in path[len(self._root) :].split("/") if part)
            mode, when = self._modes.get(names, (0o755, 0.0))
            # An ordinary user must be able to remove the folders again.
            os.chmod(path, mode if self._owned else mode | 0o700)
            os.utime(path, (when, when))

    def _make_folder(self, names: tuple[str, ...], member: tarfile.TarInfo) -> None:
        present = self._kind(names)
        if present is not None and not stat.S_ISDIR(present):
            self._remove(names)
            present = None
        if present is None:
            os.mkdir(self._path(names), 0o700)
        self._mark(names)
        self._settle(names, member)

    def _settle(self, names: tuple[str, ...], member: tarfile.TarInfo) -> None:
        self._own(self._path(names), member)
        self._modes[names] = (member.mode & 0o1777, _time(member))

    def _write(self, names: tuple[str, ...], member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        path = self._replaced(names)
        content = archive.extractfile(member)
        assert content is not None
        with open(path, "xb") as file:
            while data := content.read(CHUNK_BYTES):
                self.budget.spend(len(data))
                file.write(data)
            if file.tell() != member.size:
                raise _refused(self._reference, "a layer that ends in a file", "a whole tar archive")
        self._own(path, member)
        # Set after the owner, because changing the owner may clear bits.
        os.chmod(path, member.mode & 0o777)
        os.utime(path, (_time(member), _time(member)))

    def _link(self, names: tuple[str, ...], member: tarfile.TarInfo) -> None:
        if not member.linkname or "\0" in member.linkname:
            raise self._bad(member.name, "a link to nothing")
        path = self._replaced(names)
        # The link stays unchanged: an instance, whose root this is, follows it.
        os.symlink(member.linkname, path)
        self._own(path, member)

    def _hard_link(self, names: tuple[str, ...], member: tarfile.TarInfo) -> None:
        target = self._names(member.linkname)
        source = (*self._folder(target[:-1]), *target[-1:])
        kind = self._kind(source)
        if kind is None or not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise self._bad(member.name, f"a hard link to '{member.linkname[:80]}', which is no file before it")
        if source != names:
            os.link(self._path(source), self._replaced(names), follow_symlinks=False)

    def _empty(self, folder: tuple[str, ...]) -> None:
        """Removes the folder's entries from lower layers."""
        with os.scandir(self._path(folder)) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            below = (*folder, name)
            if below not in self._written:
                self._remove(below)
            elif stat.S_ISDIR(self._kind(below) or 0):
                self._empty(below)

    def _remove_below(self, folder: tuple[str, ...], name: str) -> None:
        if name in ("", ".", ".."):
            raise self._bad(name, "a whiteout of nothing")
        if (*folder, name) not in self._written and self._kind((*folder, name)) is not None:
            self._remove((*folder, name))

    def _replaced(self, names: tuple[str, ...]) -> str:
        """Removes an existing entry, and returns its path for a new one."""
        if self._kind(names) is not None:
            self._remove(names)
        self._mark(names)
        return self._path(names)

    def _mark(self, names: tuple[str, ...]) -> None:
        """Notes that this layer contains the path, and therefore its parent folders."""
        while names and names not in self._written:
            self._written.add(names)
            names = names[:-1]

    def _remove(self, names: tuple[str, ...]) -> None:
        path = self._path(names)
        if stat.S_ISDIR(self._kind(names) or 0):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        self._folders.clear()

    def _folder(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Resolves links in the path within the root; creates missing folders."""
        known = self._folders.get(names)
        if known is not None:
            return known
        found: list[str] = []
        waiting = list(reversed(names))
        links = 0
        while waiting:
            name = waiting.pop()
            if name == "..":
                del found[-1:]
                continue
            here = (*found, name)
            kind = self._kind(here)
            if kind is None:
                os.mkdir(self._path(here), 0o755)
                self.budget.count()
            elif stat.S_ISLNK(kind):
                links += 1
                target = os.readlink(self._path(here))
                if links > LINKS_MAX:
                    raise self._bad("/".join(names), "links that lead to each other")
                if target.startswith("/"):
                    found.clear()
                waiting.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
                continue
            elif not stat.S_ISDIR(kind):
                # In this layer, a folder replaces a file.
                self._remove(here)
                os.mkdir(self._path(here), 0o755)
            found.append(name)
        self._folders[names] = tuple(found)
        return tuple(found)

    def _names(self, name: str) -> tuple[str, ...]:
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in parts or "\0" in name:
            raise self._bad(name, "a path that leaves the image")
        try:
            size = len(os.fsencode(name))
        except UnicodeEncodeError as error:
            raise self._bad(name, "a name that no file can have") from error
        if size > NAME_BYTES or any(len(os.fsencode(part)) > NAME_PART_BYTES for part in parts):
            raise self._bad(name, "a name that is too long")
        return parts

    def _kind(self, names: Sequence[str]) -> int | None:
        """The mode of the entry, without following a link; None if it does not exist."""
        try:
            return os.lstat(self._path(names)).st_mode
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise

    def _own(self, path: str, member: tarfile.TarInfo) -> None:
        if self._owned:
            os.chown(path, _id(member.uid), _id(member.gid), follow_symlinks=False)

    def _path(self, names: Sequence[str]) -> str:
        return "/".join((self._root, *names))

    def _bad(self, name: str, found: str) -> ImageUnavailable:
        return _refused(self._reference, f"{found} ('{name[:80]}') in a layer", "the image as it was made")


def _id(number: int) -> int:
    return number if 0 <= number <= ID_MAX else 0


def _time(member: tarfile.TarInfo) -> float:
    return float(min(max(member.mtime, 0), 2**33))


def _refused(reference: str, found: str, expected: str) -> ImageUnavailable:
    return ImageUnavailable(f"The image '{reference}' cannot be unpacked: found {found}, expected {expected}")
