"""Files of a mounted bucket that are moved or removed while something else happens to them, without FUSE.

Run by pytest; journeys/test_bucket_files.py has the whole.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import IO

import pytest

from sesame.sandbox.buckets import fuse
from sesame.sandbox.buckets.filesystem import BucketFiles
from sesame.sandbox.buckets.fuse import ROOT_ID, Opcode, Owner, Request
from sesame.sandbox.buckets.objects import Head, Page

PATIENCE_S = 60.0
# So long a put waits for a copy that is not to come before it.
OVERTAKEN_S = 0.5


class MemoryBucket:
    """As `objects.Bucket`. A put of `slow` waits until that was copied from or to, which then waits for the put."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.slow = ""
        self.began, self.copied, self.done = Event(), Event(), Event()

    def head(self, key: str) -> Head:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return Head(len(self.objects[key]), 1.0, hashlib.sha256(self.objects[key]).hexdigest())

    def list(self, prefix: str, *, flat: bool = False, marker: str = "", at_most: int = 1000) -> Page:
        assert flat
        found = {key: self.head(key) for key in sorted(self.objects) if key.startswith(prefix)}
        return Page(dict(list(found.items())[:at_most]), (), "")

    def put(self, key: str, source: IO[bytes] | None = None, size: int = 0) -> None:
        data = b"" if source is None else source.read(size)
        if key == self.slow:
            self.began.set()
            self.copied.wait(OVERTAKEN_S)
        self.objects[key] = data
        if key == self.slow:
            self.slow = ""
            self.done.set()

    def download(self, key: str, etag: str, take: Callable[[bytes], object]) -> None:
        take(self.objects[key])

    def copy(self, source: str, key: str) -> None:
        self.objects[key] = self.objects[source]
        if self.slow in (source, key):
            self.copied.set()
            assert self.done.wait(PATIENCE_S)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class Mount:
    def __init__(self, bucket: MemoryBucket, drafts: Path) -> None:
        self.files = BucketFiles(bucket, "", Owner(1, 1), drafts, print, read_only=False)  # type: ignore[arg-type]

    def ask(self, opcode: Opcode, node: int, body: bytes) -> bytes:
        return self.files.run(Request(opcode, 1, node, os.getpid(), body))

    def look_up(self, parent: int, name: str) -> int:
        return int.from_bytes(self.ask(Opcode.LOOKUP, parent, name.encode() + b"\0")[:8], "little")

    def create(self, parent: int, name: str) -> tuple[int, int]:
        """Node and handle."""
        made = self.ask(Opcode.CREATE, parent, fuse.CREATE.pack(os.O_WRONLY, 0o644, 0, 0) + name.encode() + b"\0")
        return int.from_bytes(made[:8], "little"), int.from_bytes(made[-16:-8], "little")

    def open(self, node: int) -> int:
        opened = self.ask(Opcode.OPEN, node, fuse.OPEN.pack(os.O_WRONLY, 0))
        return int.from_bytes(opened[:8], "little")

    def write(self, node: int, handle: int, data: bytes) -> None:
        self.ask(Opcode.WRITE, node, fuse.WRITE.pack(handle, 0, len(data), 0, 0, 0, 0) + data)

    def rename(self, old: tuple[int, str], new: tuple[int, str]) -> None:
        self.ask(Opcode.RENAME, old[0], fuse.RENAME.pack(new[0]) + f"{old[1]}\0{new[1]}\0".encode())

    def unlink(self, parent: int, name: str) -> None:
        self.ask(Opcode.UNLINK, parent, name.encode() + b"\0")

    def close(self, node: int, handle: int) -> None:
        self.ask(Opcode.FLUSH, node, fuse.FLUSH.pack(handle, 0, 0, 0))
        self.ask(Opcode.RELEASE, node, fuse.RELEASE.pack(handle, 0, 0, 0))

    def closing(self, bucket: MemoryBucket, node: int, handle: int) -> Thread:
        """Returns while what was written is on its way."""
        thread = Thread(target=self.close, args=(node, handle))
        thread.start()
        assert bucket.began.wait(PATIENCE_S)
        return thread


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def mount(bucket: MemoryBucket, tmp_path: Path) -> Iterator[Mount]:
    mount = Mount(bucket, tmp_path)
    yield mount
    mount.files.close()


def test_a_directory_that_is_moved_takes_along_what_is_written_just_now(bucket: MemoryBucket, mount: Mount) -> None:
    bucket.objects = {"d/": b"", "d/f": b"old"}
    directory = mount.look_up(ROOT_ID, "d")
    file = mount.look_up(directory, "f")
    handle = mount.open(file)
    mount.write(file, handle, b"new")
    bucket.slow = "d/f"
    closing = mount.closing(bucket, file, handle)
    mount.rename((ROOT_ID, "d"), (ROOT_ID, "e"))
    closing.join(PATIENCE_S)
    assert bucket.objects == {"e/": b"", "e/f": b"new"}


def test_a_file_that_takes_another_s_place_stays_there(bucket: MemoryBucket, mount: Mount) -> None:
    bucket.objects = {"f": b"old", "g": b"replacement"}
    file = mount.look_up(ROOT_ID, "f")
    mount.look_up(ROOT_ID, "g")
    handle = mount.open(file)
    mount.write(file, handle, b"new")
    bucket.slow = "f"
    closing = mount.closing(bucket, file, handle)
    mount.rename((ROOT_ID, "g"), (ROOT_ID, "f"))
    closing.join(PATIENCE_S)
    assert bucket.objects == {"f": b"replacement"}


def test_a_draft_in_the_place_of_an_object_is_removed_with_it(bucket: MemoryBucket, mount: Mount) -> None:
    bucket.objects = {"f": b"old"}
    file, handle = mount.create(ROOT_ID, "f.part")
    mount.write(file, handle, b"new")
    mount.rename((ROOT_ID, "f.part"), (ROOT_ID, "f"))
    mount.unlink(ROOT_ID, "f")
    mount.close(file, handle)
    assert bucket.objects == {}
