"""What is synced, and in which order: a crash of the machine cannot be had in a test, the calls can."""

import os
import stat
from pathlib import Path

import pytest

from sesame.store.durable import SYNCS_AT_ONCE, sync_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for number in range(3 * SYNCS_AT_ONCE):
        folder = root / str(number % 5) / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.py").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (root / "to-a-file").symlink_to(outside / "file")
    (root / "to-a-folder").symlink_to(outside)
    (root / "to-nothing").symlink_to(tmp_path / "nothing")
    return root


def test_every_file_and_then_every_folder_is_synced(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(found.st_mode), found.st_ino))

    monkeypatch.setattr("sesame.store.durable.os.fsync", fsync)
    sync_tree(tree)
    there = [path for path in (tree, *tree.rglob("*")) if not path.is_symlink()]
    assert sorted(synced) == sorted((path.is_dir(), path.stat().st_ino) for path in there)
    assert synced == sorted(synced, key=lambda each: each[0])


@pytest.mark.parametrize("of_folders", [False, True])
def test_a_failed_sync_is_raised(tree: Path, monkeypatch: pytest.MonkeyPatch, *, of_folders: bool) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("sesame.store.durable.os.fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        sync_tree(tree)
