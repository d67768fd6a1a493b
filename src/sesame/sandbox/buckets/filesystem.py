"""Presents a bucket, or the part of it below a key prefix, as a file system; docs/files.md describes the semantics.

`buckets.connection` calls it in threads, once per request of the kernel. Every failure is an `OSError`.
"""

import contextlib
import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock

from sesame.sandbox.buckets import fuse
from sesame.sandbox.buckets.directories import OpenDirectories
from sesame.sandbox.buckets.drafts import Room
from sesame.sandbox.buckets.fuse import Attributes, Opcode, Owner, Request
from sesame.sandbox.buckets.nodes import Node, Tree
from sesame.sandbox.buckets.objects import Bucket, Head
from sesame.sandbox.buckets.open_files import SEEN_S, OpenFiles

NAME_BYTES_MAX = 255
# A directory with more objects is not renamed: the caller gets EXDEV, and copies as between two disks.
MOVED_MAX = 1000
SEEN_MAX = 10_000
# 256 TiB, as a bucket has no size limit.
BLOCKS = (256 << 40) // fuse.BLOCK_BYTES
_NO_REPLACE = 1

Operation = Callable[[Request], bytes]


class BucketFiles:
    """`drafts` is the folder for files being written; `prefix` is "" or ends in "/"."""

    def __init__(
        self, bucket: Bucket, prefix: str, owner: Owner, drafts: Path, log: Callable[[str], None], *, read_only: bool
    ) -> None:
        self._bucket = bucket
        self._owner = owner
        self._read_only = read_only
        self._tree = Tree(prefix)
        self._files = OpenFiles(self._tree, bucket, Room(drafts), log)
        self._directories = OpenDirectories(self._tree, bucket, self._note)
        self._made_at = time.time()
        # Names seen recently, with the time: the heads of files, or the modification times of directories' markers.
        self._seen: OrderedDict[str, tuple[float, Head | float]] = OrderedDict()
        self._lock = Lock()
        self._operations: Mapping[int, Operation] = {
            Opcode.LOOKUP: self._lookup, Opcode.GETATTR: self._getattr, Opcode.SETATTR: self._setattr,
            Opcode.MKNOD: self._mknod, Opcode.SYMLINK: self._no_links, Opcode.LINK: self._no_links,
            Opcode.MKDIR: self._mkdir, Opcode.UNLINK: self._unlink,
            Opcode.RMDIR: self._rmdir, Opcode.RENAME: self._rename, Opcode.RENAME2: self._rename,
            Opcode.OPEN: self._open, Opcode.CREATE: self._create, Opcode.READ: self._read,
            Opcode.WRITE: self._write, Opcode.FLUSH: self._flush, Opcode.FSYNC: self._fsync,
            Opcode.RELEASE: self._release, Opcode.STATFS: self._statfs, Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir, Opcode.RELEASEDIR: self._releasedir, Opcode.FSYNCDIR: self._nothing,
        }  # fmt: skip

    def run(self, request: Request) -> bytes:
        """Returns the body of the answer.

        Raises `OSError`: ENOSYS for unsupported operations like extended attributes.
        """
        operation = self._operations.get(request.opcode)
        if operation is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return operation(request)

    def forget(self, node: int, lookups: int) -> None:
        self._tree.forget(node, lookups)

    def close(self) -> None:
        """Called when the bucket is no longer mounted: discards all drafts."""
        self._files.close()

    def _lookup(self, request: Request) -> bytes:
        parent, name = self._tree.get(request.node), _name(request.names()[0])
        return fuse.entry(self._enter(parent, name), self._owner)

    def _getattr(self, request: Request) -> bytes:
        flags, _dummy, handle = request.fields(fuse.GETATTR)
        return self._attributes(self._tree.get(request.node), handle if flags & fuse.GETS_BY_HANDLE else 0)

    def _setattr(self, request: Request) -> bytes:
        """Applies only a change of size; owner, mode and times cannot be changed."""
        valid, _padding, handle, size, *_rest = request.fields(fuse.SETATTR)
        node = self._tree.get(request.node)
        if valid & fuse.SETS_SIZE:
            self._require_writable()
            self._files.truncate(node, size, is_open=bool(valid & fuse.SETS_BY_HANDLE))
            self._forget_seen()
        return self._attributes(node, handle if valid & fuse.SETS_BY_HANDLE else 0)

    def _attributes(self, node: Node, handle: int) -> bytes:
        if node.is_directory:
            found = Attributes(node.id, True, 0, node.seen_at or self._made_at)
        else:
            file = self._files.of(handle) if handle else None
            found = Attributes(node.id, False, *self._files.shown(node, file))
        return fuse.attributes(found, self._owner)

    def _mknod(self, request: Request) -> bytes:
        mode, *_rest = request.fields(fuse.MKNOD)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        parent, name = self._place(request, request.names(fuse.MKNOD)[0])
        with self._tree.moves.held_off():
            self._bucket.put(self._tree.key_below(parent, name))
        self._forget_seen()
        return fuse.entry(self._enter(parent, name), self._owner)

    def _no_links(self, _request: Request) -> bytes:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def _mkdir(self, request: Request) -> bytes:
        parent, name = self._place(request, request.names(fuse.MKDIR)[0])
        self._require_absent(parent, name)
        with self._tree.moves.held_off():
            self._bucket.put(self._tree.key_below(parent, name) + "/")
        self._forget_seen()
        node = self._tree.enter(parent, name, is_directory=True)
        node.seen_at = time.time()
        return fuse.entry(Attributes(node.id, True, 0, node.seen_at), self._owner)

    def _unlink(self, request: Request) -> bytes:
        parent, name = self._place(request, request.names()[0])
        node = self._tree.child(parent, name)
        with node.lock if node is not None else contextlib.nullcontext(), self._tree.moves.held_off():
            if node is None or node.draft is None or not node.draft.is_new:
                self._bucket.delete(self._tree.key_below(parent, name))
            if node is not None:
                self._tree.detach(node)
        self._forget_seen()
        self._keep(parent)
        return b""

    def _rmdir(self, request: Request) -> bytes:
        parent, name = self._place(request, request.names()[0])
        with self._tree.moves.held_off():
            self._require_empty(parent, name)
            self._bucket.delete(self._tree.key_below(parent, name) + "/")
        if (node := self._tree.child(parent, name)) is not None:
            self._tree.detach(node)
        self._forget_seen()
        self._keep(parent)
        return b""

    def _rename(self, request: Request) -> bytes:
        """POLICY: objects are copied first, then deleted, so that a failure in between loses nothing."""
        form = fuse.RENAME if request.opcode == Opcode.RENAME else fuse.RENAME2
        new_parent, flags = request.fields(form)[0], request.fields(form)[1] if form is fuse.RENAME2 else 0
        if flags & ~_NO_REPLACE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        old, new = request.names(form)
        (parent, name), target = self._place(request, old), (self._tree.get(new_parent), _name(new))
        if flags & _NO_REPLACE:
            self._require_absent(*target)
        node = self._tree.child(parent, name)
        if node is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if node.is_directory:
            self._move_directory(node, *target)
        else:
            self._move_file(node, *target)
        self._forget_seen()
        self._keep(parent)
        return b""

    def _move_file(self, node: Node, parent: Node, name: str) -> None:
        replaces, former = False, self._tree.child(parent, name)
        with contextlib.suppress(FileNotFoundError):
            if not isinstance(self._seen_of(parent, name)[1], Head):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            replaces = True
        # Lock the replaced file too: a write to it must not complete after the move.
        with node.lock, former.lock if former is not None else contextlib.nullcontext(), self._tree.moves.held_off():
            source, target, draft = self._tree.key(node), self._tree.key_below(parent, name), node.draft
            if draft is None or not draft.is_new:
                self._bucket.copy(source, target)
                self._bucket.delete(source)
            elif replaces:
                draft.is_new = False
            self._tree.move(node, parent, name)
            node.head = None

    def _move_directory(self, node: Node, parent: Node, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if isinstance(self._seen_of(parent, name)[1], Head):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._require_empty(parent, name)
        with self._tree.moves.moving():
            source, target = self._tree.key(node), self._tree.key_below(parent, name) + "/"
            page = self._bucket.list(source, flat=True, at_most=MOVED_MAX)
            if page.marker:
                raise OSError(errno.EXDEV, f"more than {MOVED_MAX} objects")
            for key in page.objects:
                self._bucket.copy(key, target + key.removeprefix(source))
            self._tree.move(node, parent, name)
            for key in page.objects:
                self._bucket.delete(key)

    def _open(self, request: Request) -> bytes:
        flags, _open_flags = request.fields(fuse.OPEN)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._require_writable()
        return fuse.opened(self._files.open(self._tree.get(request.node), flags, request.pid))

    def _create(self, request: Request) -> bytes:
        flags, *_rest = request.fields(fuse.CREATE)
        parent, name = self._place(request, request.names(fuse.CREATE)[0])
        node = self._tree.enter(parent, name, is_directory=False)
        try:
            handle = self._files.create(node, flags, request.pid)
        except OSError:
            self._tree.forget(node.id, 1)
            raise
        found = Attributes(node.id, False, *self._files.shown(node))
        return fuse.entry(found, self._owner) + fuse.opened(handle)

    def _read(self, request: Request) -> bytes:
        handle, offset, count, *_rest = request.fields(fuse.READ)
        return self._files.read(handle, offset, count)

    def _write(self, request: Request) -> bytes:
        handle, offset, count, flags, *_rest = request.fields(fuse.WRITE)
        data = request.body[fuse.WRITE.size : fuse.WRITE.size + count]
        thread = 0 if flags & fuse.WRITTEN_BACK else request.pid
        return fuse.written(self._files.write(handle, offset, data, thread))

    def _flush(self, request: Request) -> bytes:
        if self._files.flush(request.fields(fuse.FLUSH)[0], request.pid):
            self._forget_seen()
        return b""

    def _fsync(self, request: Request) -> bytes:
        self._files.synchronize(self._files.of(request.fields(fuse.FSYNC)[0]).node)
        self._forget_seen()
        return b""

    def _release(self, request: Request) -> bytes:
        self._files.release(request.fields(fuse.RELEASE)[0])
        return b""

    def _statfs(self, _request: Request) -> bytes:
        return fuse.statfs(BLOCKS)

    def _opendir(self, request: Request) -> bytes:
        return fuse.opened(self._directories.open(self._tree.get(request.node)))

    def _readdir(self, request: Request) -> bytes:
        handle, offset, count, *_rest = request.fields(fuse.READ)
        return self._directories.read(handle, offset, count)

    def _releasedir(self, request: Request) -> bytes:
        self._directories.release(request.fields(fuse.RELEASE)[0])
        return b""

    def _nothing(self, _request: Request) -> bytes:
        return b""

    def _place(self, request: Request, name: bytes) -> tuple[Node, str]:
        self._require_writable()
        return self._tree.get(request.node), _name(name)

    def _enter(self, parent: Node, name: str) -> Attributes:
        """Looks the name up and counts one more reference by the kernel. Raises `OSError` ENOENT."""
        child = self._tree.child(parent, name)
        if child is not None and child.draft is not None:
            node = self._tree.enter(parent, name, is_directory=False)
            return Attributes(node.id, False, *self._files.shown(node))
        at, seen = self._seen_of(parent, name)
        node = self._tree.enter(parent, name, is_directory=not isinstance(seen, Head))
        if isinstance(seen, Head):
            node.head, node.seen_at = seen, at
            return Attributes(node.id, False, seen.size, seen.modified_at)
        node.seen_at = seen
        return Attributes(node.id, True, 0, seen)

    def _seen_of(self, parent: Node, name: str) -> tuple[float, Head | float]:
        """Returns the time of the observation, and the file's head or the directory's modification time.

        An object hides a directory of the same name.
        """
        key = self._tree.key_below(parent, name)
        with self._lock:
            at, seen = self._seen.get(key, (0.0, 0.0))
        if at and time.monotonic() - at < SEEN_S:
            return at, seen
        at = time.monotonic()
        try:
            seen = self._bucket.head(key)
        except FileNotFoundError:
            below = self._bucket.list(key + "/", flat=True, at_most=1)
            if not below.objects:
                raise
            marker = below.objects.get(key + "/")
            seen = marker.modified_at if marker is not None else self._made_at
        self._note(at, {key: seen})
        return at, seen

    def _note(self, at: float, found: Mapping[str, Head | float]) -> None:
        """Caches for a moment what was seen of keys: a process that lists a directory usually stats its files next."""
        with self._lock:
            for key, seen in found.items():
                self._seen[key] = (at, seen)
            while len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)

    def _forget_seen(self) -> None:
        with self._lock:
            self._seen.clear()

    def _keep(self, directory: Node) -> None:
        """Gives a directory a marker when its last entry is deleted, so that it stays until it is removed by rmdir."""
        if directory.parent is None or directory.gone or self._tree.drafts_below(directory):
            return
        with contextlib.suppress(PermissionError), self._tree.moves.held_off():
            key = self._tree.key(directory)
            if not self._bucket.list(key, flat=True, at_most=1).objects:
                self._bucket.put(key)

    def _require_writable(self) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _require_absent(self, parent: Node, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._seen_of(parent, name)
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _require_empty(self, parent: Node, name: str) -> None:
        key, node = self._tree.key_below(parent, name) + "/", self._tree.child(parent, name)
        entries = [other for other in self._bucket.list(key, flat=True, at_most=2).objects if other != key]
        if entries or (node is not None and self._tree.drafts_below(node)):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))


def _name(name: bytes) -> str:
    """Decodes a file name. Raises `OSError` if it cannot be part of a key."""
    if len(name) > NAME_BYTES_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from error
