"""Makes what was written to files outlive a crash of the machine: syncs files, folders and whole trees.

Called by whatever in this room keeps bytes in files.
Never opens a file for writing and never follows a link.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SYNCS_AT_ONCE = 16


def sync_folder(folder: Path) -> None:
    """From here on the folder's entries (created, renamed or removed) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Syncs every file and folder below `root`, and `root` itself; files before the folders that name them.

    Several at a time: the file system takes their waits together, which for thousands of files is most of the time.
    Raises the `OSError` of whichever could not be synced; by then no other is under way.
    """
    files: list[Path] = []
    folders: list[Path] = []
    for folder, _folders, names in os.walk(root, topdown=False):
        folders.append(Path(folder))
        files.extend(path for path in (Path(folder, name) for name in names) if not path.is_symlink())
    with ThreadPoolExecutor(SYNCS_AT_ONCE) as syncs:
        for _ in syncs.map(_sync_file, files):
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
    """Writes and syncs a file that is not there yet; its folder is the caller's to sync."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
