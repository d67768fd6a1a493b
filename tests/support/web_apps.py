"""Makes a function of a custom runtime from an ASGI application: its folder with uvicorn and what that needs.

Used by the tests and the benchmark of custom runtimes. The packages are those of the development environment.
"""

import importlib.util
import shutil
from pathlib import Path

from tests.support import zips

# Pure Python, or with a fallback that is.
PACKAGES = ("uvicorn", "click", "h11", "websockets")


def with_uvicorn(source: Path, folder: Path) -> Path:
    """Copies `source` and the packages into the new `folder`, which is the function's code."""
    shutil.copytree(source, folder)
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        assert found is not None, f"{name} is a package of the development environment"
        assert found.origin is not None
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "*.so")
        shutil.copytree(Path(found.origin).parent, folder / name, ignore=ignored)
    return folder


def zipped(folder: Path) -> bytes:
    """The files of `folder` as an archive of code."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    contents: dict[str, bytes | str] = {name: path.read_bytes() for name, path in files.items()}
    return zips.zip_of(contents, modes={name: path.stat().st_mode for name, path in files.items()})
