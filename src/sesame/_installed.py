"""Which Sesame this process runs: the version and commit that were installed when it began, and where.

By the end of the process another one may be installed in its place. Told in `endpoints.json`; used by `cli.version`.
"""

import hashlib
import sys
from pathlib import Path

from sesame import __version__

PACKAGE = Path(__file__).parent
# Written into wheels and source archives by scripts/hatch_commit.py.
COMMIT_FILE = "commit.txt"


def stamped(package: Path) -> str:
    """The commit that the package was built from; "" where nothing says so, as in a checkout."""
    try:
        return (package / COMMIT_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def named(commit: str) -> str:
    """`0.2.0 (commit 0123456789ab)`; without the parenthesis where the commit is unknown."""
    return f"{__version__} (commit {commit})" if commit else __version__


def build_of(package: Path = PACKAGE) -> str:
    """A digest of the files of a package, but for bytecode: tells builds of one version apart. Takes some 40 ms."""
    found = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"{path.relative_to(package)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


VERSION = named(stamped(PACKAGE))
# Of the interpreter's environment, which stays when another version is installed into it.
ENVIRONMENT = sys.prefix
