"""Where Sesame keeps files of the runtimes: their packages, and the interpreters that it obtained.

Used by `interpreters`, `site_packages`, `obtain` and the settings.
"""

import os
import sys
from pathlib import Path


def default_root() -> Path:
    """In the virtual environment if Sesame runs in one, else in the user's data directory."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix) / "share" / "sesame" / "runtimes"
    data = Path(os.environ.get("XDG_DATA_HOME") or Path(os.path.expanduser("~")) / ".local" / "share")
    return data / "sesame" / "runtimes"


def own_interpreters(root: Path) -> Path:
    """The directory of interpreters from `sesame runtimes get`: `<kind>/cpython-<version>-<platform>/`."""
    return root / "interpreters"
