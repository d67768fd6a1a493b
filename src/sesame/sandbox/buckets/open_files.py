"""The open files of one mounted bucket: reads fetch ranges of the object, writes go to a draft that becomes the object.

Used by `buckets.filesystem`, in threads. An object is always replaced as a whole: when a process that wrote to the file
closes it, or at fsync.
"""

import errno
import os
import time
from collections.abc import Callable
from threading import Lock

from sesame.sandbox.buckets.drafts import Draft, Room
from sesame.sandbox.buckets.nodes import Node, Tree
from sesame.sandbox.buckets.objects import Bucket, Head
from sesame.sandbox.buckets.processes import ended_by_signal, process_of
from sesame.sandbox.buckets.read_ahead import ReadAhead

OPEN_MAX = 1024
# How long an object's metadata is reused by operations other than open.
SEEN_S = 1.0


class OpenFile:
    """`head` is the object that reads come from; None until it is needed."""

    __slots__ = ("appends", "head", "is_writable", "node", "threads")

    def __init__(self, node: Node, flags: int) -> None:
        self.node = node
        self.is_writable = flags & os.O_ACCMODE != os.O_RDONLY
        self.appends = bool(flags & os.O_APPEND)
        self.head: Head | None = None
        # Thread id → process id of each thread that wrote.
        self.threads: dict[int, int] = {}


class OpenFiles:
    """`log` receives errors that no process waits for any more."""

    def __init__(self, tree: Tree, bucket: Bucket, room: Room, log: Callable[[str], None]) -> None:
        self._tree = tree
        self._bucket = bucket
        self._room = room
        self._log = log
        self._files: dict[int, OpenFile] = {}
        self._last_handle = 0
        self._ahead = ReadAhead(bucket)
        self._lock = Lock()

    def open(self, node: Node, flags: int, thread: int) -> int:
        """Opens a file for the process of `thread`; returns its handle. Requires an object, unless there is a draft."""
        file = OpenFile(node, flags)
        with node.lock:
            if flags & os.O_TRUNC and file.is_writable:
                self._truncate(node, 0).written_by(process_of(thread))
            elif node.draft is None:
                file.head = self.look(node, within_s=0.0)
            return self._enter(file)

    def create(self, node: Node, flags: int, thread: int) -> int:
        """Creates a file, which becomes an object when it is closed; returns its handle."""
        with node.lock:
            if node.draft is None:
                node.draft = Draft(self._room, is_new=True)
            node.draft.written_by(process_of(thread))
            return self._enter(OpenFile(node, flags))

    def look(self, node: Node, within_s: float = SEEN_S) -> Head:
        """The object's metadata, at most `within_s` seconds old."""
        if node.head is not None and time.monotonic() - node.seen_at < within_s:
            return node.head
        if node.gone:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        at = time.monotonic()
        head = self._bucket.head(self._tree.key(node))
        node.head, node.seen_at = head, at
        return head

    def of(self, handle: int) -> OpenFile:
        file = self._files.get(handle)
        if file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return file

    def shown(self, node: Node, file: OpenFile | None = None) -> tuple[int, float]:
        """Size and modification time; those of the object that `file` has opened, even if there is a newer one."""
        draft = node.draft
        if draft is not None:
            return draft.size, draft.modified_at
        if file is not None and file.head is not None:
            head = file.head
        elif node.gone and node.head is not None:
            head = node.head
        else:
            head = self.look(node)
        return head.size, head.modified_at

    def read(self, handle: int, offset: int, count: int) -> bytes:
        file = self.of(handle)
        draft = file.node.draft
        if draft is not None:
            with file.node.lock:
                if file.node.draft is draft:
                    return draft.read(offset, count)
        if file.head is None:
            file.head = self.look(file.node, within_s=0.0)
        return self._ahead.read(handle, self._tree.key(file.node), file.head, (offset, count))

    def write(self, handle: int, offset: int, data: bytes, thread: int) -> int:
        """`thread` is 0 if the kernel writes on behalf of no process in particular."""
        file = self.of(handle)
        if not file.is_writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if thread not in file.threads:
            file.threads[thread] = process_of(thread) if thread else 0
        with file.node.lock:
            draft = self._draft(file.node)
            draft.write(draft.size if file.appends else offset, data)
            draft.written_by(file.threads[thread])
        return len(data)

    def truncate(self, node: Node, size: int, *, is_open: bool) -> None:
        """Changes the size. Uploads the result at once unless the file is open for writing."""
        with node.lock:
            self._truncate(node, size)
            if not is_open and node.writers == 0:
                try:
                    self.upload(node)
                finally:
                    self._give_up_draft(node)

    def flush(self, handle: int, thread: int) -> bool:
        """A process closes the file. Returns whether the object was replaced; raises if the upload failed."""
        file = self.of(handle)
        node, draft = file.node, file.node.draft
        if draft is None or not draft.is_dirty or not file.is_writable:
            return False
        if ended_by_signal(thread):
            # The process was interrupted in the middle of its work, so the contents may be incomplete.
            draft.forsaken = True
        elif draft.may_be_closed_by(process_of(thread)):
            self.synchronize(node)
            return True
        return False

    def synchronize(self, node: Node) -> None:
        with node.lock:
            draft = node.draft
            if draft is None or not draft.is_dirty:
                return
            try:
                self.upload(node)
            except OSError:
                draft.forsaken = True
                raise

    def release(self, handle: int) -> None:
        """The last holder has closed the file. Uploads what is still dirty; failures can only be logged."""
        with self._lock:
            file = self._files.pop(handle, None)
        if file is None:
            return
        self._ahead.forget(handle)
        node = file.node
        with node.lock:
            node.writers -= file.is_writable
            if not node.writers and node.draft is not None:
                try:
                    if node.draft.is_dirty and not node.draft.forsaken:
                        self.upload(node)
                except OSError as error:
                    self._log(f"what was written to '{self._tree.key(node)}' is lost: {error}")
                finally:
                    self._give_up_draft(node)
        self._tree.closed(node)

    def upload(self, node: Node) -> None:
        """Replaces the object by the draft, unless the file has been deleted. Requires the node's lock."""
        draft = node.draft
        if draft is None or node.gone:
            return
        with self._tree.moves.held_off():
            self._bucket.put(self._tree.key(node), draft.source, draft.size)
        draft.uploaded()
        node.head = None
        with self._lock:
            readers = [file for file in self._files.values() if file.node is node]
        for file in readers:
            file.head = None

    def close(self) -> None:
        """Discards all drafts, as their processes have ended."""
        for node in self._tree.all_with_drafts():
            with node.lock:
                self._give_up_draft(node)

    def _enter(self, file: OpenFile) -> int:
        with self._lock:
            if len(self._files) >= OPEN_MAX:
                if file.node.draft is not None and not file.node.writers:
                    self._give_up_draft(file.node)
                raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
            self._last_handle += 1
            self._files[self._last_handle] = file
            handle = self._last_handle
        file.node.writers += file.is_writable
        self._tree.opened(file.node)
        return handle

    def _truncate(self, node: Node, size: int) -> Draft:
        if node.draft is None and size == 0 and not node.gone:
            # The file becomes empty, so the object need not be downloaded.
            node.draft = Draft(self._room, is_new=False)
        draft = self._draft(node)
        draft.truncate(size)
        return draft

    def _draft(self, node: Node) -> Draft:
        """Returns the node's draft, made from the object if there is none. Requires the node's lock."""
        if node.draft is None:
            if node.gone:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            head = self.look(node, within_s=0.0)
            draft = Draft(self._room, is_new=False)
            try:
                if head.size:
                    self._bucket.download(self._tree.key(node), head.etag, draft.append)
            except BaseException:
                draft.close()
                raise
            node.draft = draft
        return node.draft

    @staticmethod
    def _give_up_draft(node: Node) -> None:
        draft, node.draft = node.draft, None
        if draft is not None:
            draft.close()
