"""Which Sesame this process runs: the version and commit that were installed when it started, and their location.

Another version may be installed before the process ends. Written to `endpoints.json`; used by `cli.version`.
"""

import hashlib
import sys
from pathlib import Path

from sesame import __version__

PACKAGE = Path(__file__).parent
# Written into wheels and source archives by scripts/hatch_commit.py.
COMMIT_FILE = "commit.txt"


def stamped(package: Path) -> str:
    """The commit that the package was built from; "" if it is not recorded, as in a checkout."""
    try:
        return (package / COMMIT_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def named(commit: str) -> str:
    """`0.2.0 (commit 0123456789ab)`; only the version if the commit is unknown."""
    return f"{__version__} (commit {commit})" if commit else __version__


def build_of(package: Path = PACKAGE) -> str:
    """A digest of a package's files, without bytecode; distinguishes builds of one version. Takes some 40 ms."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(package)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


VERSION = named(stamped(PACKAGE))
# The interpreter's environment, which stays the same when another version is installed into it.
ENVIRONMENT = sys.prefix
