"""Sesame's version and, if known, the commit that it was built from.

Printed by `sesame --version` and `sesame doctor`. Works without git, without a checkout and without installed metadata.
"""

import os
import subprocess
from pathlib import Path

from sesame import timed_programs
from sesame._installed import PACKAGE, named, stamped

GIT_TIMEOUT_S = 5
SHORT = 12


def describe(package: Path = PACKAGE) -> str:
    """`0.2.0 (commit 0123456789ab)`; without the parentheses if the commit is unknown."""
    return named(commit_of(package))


def commit_of(package: Path) -> str:
    """The commit of this package: stamped into the build, or checked out; "" if neither is known.

    A checkout with changes to committed files is marked: `0123456789ab, changed`.
    """
    return stamped(package) or (commit_checked_out(package.parents[1]) if package.parent.name == "src" else "")


def commit_checked_out(root: Path) -> str:
    """The commit checked out in `root`; "" if `root` is not a checkout or git is missing."""
    if not (root / ".git").exists():
        return ""
    revision = _git(root, "rev-parse", f"--short={SHORT}", "HEAD")
    changed = revision and _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}, changed" if changed else revision


def _git(root: Path, *arguments: str) -> str:
    # Variables such as GIT_DIR, which git sets for its hooks, would select another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = timed_programs.run(command, GIT_TIMEOUT_S, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
