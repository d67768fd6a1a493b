"""Parts of buckets as files that need no FUSE: names and numbers, drafts, reading ahead, what /proc says.

Run by pytest; journeys/test_bucket_files.py has the whole.
"""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sesame.model.bucket_mount import prefix_of
from sesame.sandbox.buckets import drafts, fuse, nodes, read_ahead
from sesame.sandbox.buckets.drafts import Draft, Room
from sesame.sandbox.buckets.nodes import Tree
from sesame.sandbox.buckets.objects import Head
from sesame.sandbox.buckets.processes import ended_by_signal, process_of
from sesame.sandbox.buckets.read_ahead import ReadAhead


@pytest.mark.parametrize(("path", "prefix"), [("", ""), ("/", ""), ("a", "a/"), ("/a//b/", "a/b/")])
def test_the_prefix_of_a_directory(path: str, prefix: str) -> None:
    assert prefix_of(path) == prefix


def test_answers_have_the_lengths_of_the_kernel_s_structures() -> None:
    found, owner = fuse.Attributes(7, False, 600, 1.5), fuse.Owner(10_000, 10_000)
    lengths = [len(fuse.attributes(found, owner)), len(fuse.entry(found, owner)), len(fuse.opened(1))]
    assert [*lengths, len(fuse.written(1)), len(fuse.statfs(1))] == [104, 128, 16, 8, 80]
    assert len(fuse.initialized(bytes((7, 0, 0, 0, 40, 0, 0, 0)) + bytes(8)) or b"") == 64
    assert fuse.initialized(bytes((7, 0, 0, 0, 20, 0, 0, 0)) + bytes(8)) is None
    assert [len(fuse.directory_entry(1, b"n" * length, is_directory=False)) for length in (1, 8, 9)] == [32, 32, 40]
    read = fuse.request(bytes(40) + b"one\0two\0")
    assert read.names() == [b"one", b"two"]


def raises(number: int, call: Any, *arguments: Any) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        call(*arguments)
    assert caught.value.errno == number


def test_nodes_keep_their_numbers_until_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree("below/")
    directory = tree.enter(tree.root, "d", is_directory=True)
    file = tree.enter(directory, "f", is_directory=False)
    assert (tree.key(tree.root), tree.key(directory), tree.key(file)) == ("below/", "below/d/", "below/d/f")
    assert tree.enter(directory, "f", is_directory=False) is file
    tree.move(file, tree.root, "g")
    assert (tree.key(file), tree.child(directory, "f"), tree.get(file.id)) == ("below/g", None, file)
    tree.forget(file.id, 1)
    assert tree.get(file.id) is file
    tree.opened(file)
    tree.forget(file.id, 1)
    assert tree.get(file.id) is file
    tree.closed(file)
    raises(errno.ESTALE, tree.get, file.id)
    other = tree.enter(tree.root, "d", is_directory=False)
    assert (other is not directory, directory.gone) == (True, True)
    monkeypatch.setattr(nodes, "NODES_MAX", 3)
    raises(errno.ENFILE, lambda: tree.enter(tree.root, "more", is_directory=False))


def test_drafts_are_bounded_and_leave_the_disk_its_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path)
    draft = Draft(room, is_new=True)
    draft.write(3, b"abc")
    assert (draft.read(0, 10), draft.size, list(tmp_path.iterdir())) == (b"\0\0\0abc", 6, [])
    monkeypatch.setattr(drafts, "DRAFTS_BYTES_MAX", 10)
    raises(errno.ENOSPC, draft.write, 8, b"abc")
    assert draft.size == 6
    monkeypatch.setattr(drafts, "FILE_BYTES_MAX", 8)
    raises(errno.EFBIG, draft.truncate, 9)
    raises(errno.EFBIG, draft.write, 8, b"a")
    monkeypatch.setattr(drafts, "DRAFTS_MAX", 1)
    raises(errno.ENFILE, lambda: Draft(room, is_new=True))
    draft.close()
    Draft(room, is_new=True).close()
    full = Draft(Room(tmp_path, reserve_mb=1 << 40), is_new=True)
    raises(errno.ENOSPC, full.write, 0, b"a")


def test_a_file_is_ended_by_those_who_wrote_to_it(tmp_path: Path) -> None:
    draft = Draft(Room(tmp_path), is_new=True)
    assert draft.may_be_closed_by(5)
    draft.written_by(6)
    assert (draft.may_be_closed_by(5), draft.may_be_closed_by(6)) == (False, True)
    draft.written_by(0)
    assert draft.may_be_closed_by(5)


class Counting:
    """A bucket of one object that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def read(self, _key: str, start: int, length: int, _etag: str) -> bytes:
        self.asked.append((start, length))
        return self.data[start : start + length]


def test_what_is_read_in_order_is_asked_for_in_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "WINDOW_BYTES", 100)
    bucket = Counting(bytes(range(250)))
    ahead, head = ReadAhead(bucket), Head(250, 0.0, "e")  # type: ignore[arg-type]
    assert b"".join(ahead.read(1, "k", head, (start, 10)) for start in range(0, 260, 10)) == bucket.data
    assert bucket.asked == [(0, 100), (100, 100), (200, 50)]
    assert ahead.read(2, "k", head, (200, 10)) == bucket.data[200:210]
    assert bucket.asked[3:] == [(200, 10)]
    ahead.read(1, "k", Head(250, 0.0, "other"), (240, 10))
    assert bucket.asked[4:] == [(240, 10)]


def test_whether_a_signal_ends_a_process() -> None:
    assert process_of(os.getpid()) == os.getpid()
    assert not ended_by_signal(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        # Of one that has ended and is not waited for yet, /proc says as much as of one that closes its files.
        assert not ended_by_signal(process.pid)
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert ended_by_signal(process.pid)
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(9)"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not ended_by_signal(process.pid)
