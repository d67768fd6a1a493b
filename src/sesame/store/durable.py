"""Makes files outlive a crash of the machine: syncs files, folders and whole trees.

Called by every store that keeps bytes in files, and by `data_dir`.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SYNCS_AT_ONCE = 16


def sync_file(path: Path) -> None:
    """Makes the file's content survive a power cut; its name needs `sync_folder`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries (created, renamed or removed) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Syncs every file and folder below `root`, and `root` itself; files before the folders that contain them.

    Syncs several at a time, so that the file system can combine their writes. Raises the first `OSError`, once all
    syncs have ended.
    """
    files: list[Path] = []
    folders: list[Path] = []
    for folder, _folders, names in os.walk(root, topdown=False):
        folders.append(Path(folder))
        files.extend(path for path in (Path(folder, name) for name in names) if not path.is_symlink())
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as syncs:
        for _ in syncs.map(sync_file, files):
            pass
        for _ in syncs.map(sync_folder, folders):
            pass


def make_folder(folder: Path) -> None:
    """Creates `folder` and its missing parents, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Writes and syncs a new file; the caller syncs its folder."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
