"""Resolves a path of an unpacked image, following links only within the image.

Used by `store.images.config`. In an instance runtime/jail/image.py does the same, without Sesame's modules.
"""

import os
from pathlib import Path

LINKS_MAX = 40


def place(root: Path, path: str) -> Path | None:
    """No part of the result is a link, except the last one if links form a cycle.

    None if the path is not in the image, or cannot be examined because a name is too long or a folder not readable.
    """
    try:
        return _followed(root, path)
    except OSError:
        return None


def _followed(root: Path, path: str) -> Path | None:
    found: list[str] = []
    waiting = _parts(path)[::-1]
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del found[-1:]
            continue
        found.append(part)
        here = root.joinpath(*found)
        if here.is_symlink() and links < LINKS_MAX:
            links += 1
            target = os.readlink(here)
            del found[0 if target.startswith("/") else -1 :]
            waiting += _parts(target)[::-1]
        elif waiting and not _is_folder(here):
            return None
    return root.joinpath(*found)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
