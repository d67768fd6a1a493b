"""Makes a function of a custom runtime from an ASGI application: its folder with uvicorn and what that needs.

Used by the tests and the benchmark of custom runtimes. The packages are those of the development environment.
"""

import importlib.util
import shutil
from pathlib import Path

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
