"""The data directory of a project under development, and whether `sesame dev` is running on it.

Used by `cli.dev`, and by commands that need a server when none was named.
"""

import hashlib
import os
import re
from pathlib import Path

from sesame.data_dir import DataDir

TEMPLATE_SUFFIXES = (".yml", ".yaml")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def data_dir_of(source: Path) -> Path:
    """In the user's cache, so that the project stays clean: one per folder or Python file."""
    project = source.parent if source.suffix in TEMPLATE_SUFFIXES else source
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = _NOT_IN_A_NAME.sub("-", project.name) or "project"
    return cache / "sesame" / "dev" / f"{name}-{hashlib.sha256(os.fsencode(project)).hexdigest()[:10]}"


def running_for(folder: Path) -> DataDir | None:
    """The data directory of a `sesame dev` running for this folder or its nearest parent that has one."""
    for project in (folder, *folder.parents):
        data_dir = DataDir(data_dir_of(project))
        if data_dir.running() is not None:
            return data_dir
    return None
