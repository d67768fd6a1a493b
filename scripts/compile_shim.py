"""Compiles what functions' interpreters run of Sesame, by each interpreter of this machine. Called by make.

Tests start hundreds of zygotes, and none of these can write what it has compiled: the folder is read-only for them.
"""

import subprocess
import sys
from pathlib import Path

from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root

SHIM = Path(__file__).parents[1] / "src/sesame/runtime"
FOLDERS = [str(SHIM / name) for name in ("jail", "python", "custom")]


def main() -> None:
    """Python 2.7 writes beside the sources, the others into `__pycache__`; git and the wheel have neither."""
    found = Runtimes.look_up({}, default_root()).found
    for path in {Path(sys.executable), *(each.path for each in found.values())}:
        subprocess.run([path, "-E", "-m", "compileall", "-q", *FOLDERS], check=True)


if __name__ == "__main__":
    main()
