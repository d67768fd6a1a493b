"""The kernel's FUSE protocol, version 7.31: parses requests and builds answers (include/uapi/linux/fuse.h).

Used by `buckets.connection` and `buckets.filesystem`. Does no I/O and keeps no state.
"""

import enum
import stat
import struct
from typing import NamedTuple

MAJOR, MINOR = 7, 31
HEADER_BYTES = 40
# The maximum of one READ or WRITE; the kernel's own limit is 256 pages.
DATA_BYTES_MAX = 1024 * 1024
REQUEST_BYTES_MAX = DATA_BYTES_MAX + 4096
ROOT_ID = 1
BLOCK_BYTES = 128 * 1024
WRITTEN_BACK = 1  # write_flags: written by the kernel from its cache, on behalf of no process

_ASYNC_READ, _ATOMIC_O_TRUNC, _BIG_WRITES, _PARALLEL_DIROPS, _MAX_PAGES = 1 << 0, 1 << 3, 1 << 5, 1 << 18, 1 << 22
_FEATURES = _ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES | _PARALLEL_DIROPS | _MAX_PAGES
# How many requests that no process waits for, such as read-ahead, the kernel may send at a time.
_BACKGROUND, _CONGESTION = 12, 9

_HEADER = struct.Struct("=IIQQIIIHH")
_ANSWER = struct.Struct("=IiQ")
_INIT = struct.Struct("=IIII")
_INITIALIZED = struct.Struct("=IIIIHHIIHHI7I")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_ATTRIBUTES_HEAD = struct.Struct("=QII")
_OPENED = struct.Struct("=QII")
_WRITTEN = struct.Struct("=II")
_STATFS = struct.Struct("=QQQQQIIII6I")
_DIRENT = struct.Struct("=QQII")

FORGET = struct.Struct("=Q")
BATCH = struct.Struct("=II")
BATCH_ONE = struct.Struct("=QQ")
GETATTR = struct.Struct("=IIQ")
SETATTR = struct.Struct("=IIQQQQQQIIIIIIII")
MKNOD = struct.Struct("=IIII")
MKDIR = struct.Struct("=II")
RENAME = struct.Struct("=Q")
RENAME2 = struct.Struct("=QII")
OPEN = struct.Struct("=II")
CREATE = struct.Struct("=IIII")
READ = struct.Struct("=QQIIQII")
WRITE = struct.Struct("=QQIIQII")
RELEASE = struct.Struct("=QIIQ")
FLUSH = struct.Struct("=QIIQ")
FSYNC = struct.Struct("=QII")

SETS_SIZE, SETS_BY_HANDLE = 1 << 3, 1 << 6
GETS_BY_HANDLE = 1


class Opcode(enum.IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    RENAME2 = 45


class Request(NamedTuple):
    """`opcode` may be missing from `Opcode`. `pid` is the thread that made the request, 0 for the kernel itself."""

    opcode: int
    unique: int
    node: int
    pid: int
    body: bytes

    def fields(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack_from(self.body)

    def names(self, form: struct.Struct | None = None) -> list[bytes]:
        """The names that follow the fields of `form`, or make up the whole body."""
        return self.body[form.size if form else 0 :].split(b"\0")[:-1]


class Attributes(NamedTuple):
    """The attributes of a file or a directory; `modified_at` is in Unix seconds."""

    node: int
    is_directory: bool
    size: int
    modified_at: float


class Owner(NamedTuple):
    """The owner shown for every file; the file system stores none."""

    user_id: int
    group_id: int


def request(data: bytes) -> Request:
    _length, opcode, unique, node, _uid, _gid, pid, _extension, _padding = _HEADER.unpack_from(data)
    return Request(opcode, unique, node, pid, data[HEADER_BYTES:])


def answer(unique: int, body: bytes = b"", error: int = 0) -> bytes:
    """`error` is a positive errno; the answer then has no body."""
    return _ANSWER.pack(_ANSWER.size + len(body), -error, unique) + body


def initialized(body: bytes) -> bytes | None:
    """The answer to INIT; None if the kernel is too old."""
    major, minor, read_ahead, features = _INIT.unpack_from(body)
    if major != MAJOR or minor < MINOR:
        return None
    pages = DATA_BYTES_MAX // 4096
    return _INITIALIZED.pack(
        MAJOR, MINOR, read_ahead, features & _FEATURES, _BACKGROUND, _CONGESTION, DATA_BYTES_MAX, 1, pages, 0, 0,
        *[0] * 7,
    )  # fmt: skip


def entry(found: Attributes, owner: Owner) -> bytes:
    """The answer to LOOKUP, MKDIR and MKNOD. Lets the kernel cache nothing, so that it always asks again."""
    return _ENTRY.pack(found.node, 0, 0, 0, 0, 0) + _attributes(found, owner)


def attributes(found: Attributes, owner: Owner) -> bytes:
    return _ATTRIBUTES_HEAD.pack(0, 0, 0) + _attributes(found, owner)


def opened(handle: int) -> bytes:
    return _OPENED.pack(handle, 0, 0)


def written(count: int) -> bytes:
    return _WRITTEN.pack(count, 0)


def statfs(blocks: int) -> bytes:
    """Reports `blocks` blocks, all of them free."""
    return _STATFS.pack(blocks, blocks, blocks, blocks, blocks, BLOCK_BYTES, 1023, BLOCK_BYTES, 0, *[0] * 6)


def directory_entry(number: int, name: bytes, *, is_directory: bool) -> bytes:
    """`number` is the offset of the next entry. The inode number is omitted: the kernel looks the name up."""
    kind = (stat.S_IFDIR if is_directory else stat.S_IFREG) >> 12
    packed = _DIRENT.pack(number + 1, number, len(name), kind) + name
    return packed + bytes(-len(packed) % 8)


def _attributes(found: Attributes, owner: Owner) -> bytes:
    seconds = max(int(found.modified_at), 0)
    nanoseconds = int((found.modified_at - seconds) * 1e9) if found.modified_at > 0 else 0
    mode = (stat.S_IFDIR if found.is_directory else stat.S_IFREG) | 0o777
    return _ATTRIBUTES.pack(
        found.node, found.size, -(-found.size // 512), seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        mode, 2 if found.is_directory else 1, owner.user_id, owner.group_id, 0, BLOCK_BYTES, 0,
    )  # fmt: skip
