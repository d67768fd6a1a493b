"""An environment as users have it: the built wheel and what it declares, with bytecode, beside no source.

Used by the benchmarks of what people wait for. An editable installation looks for every module in one directory more,
and takes longer.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from sesame.sandbox.runtimes import places
from sesame.sandbox.runtimes.obtain.uv import find_uv

REPOSITORY = Path(__file__).parents[1]

# What would lead to another installation, or to bytecode elsewhere.
_HIDDEN = ("SESAME_", "FC_", "ACCESS_KEY", "PYTHON", "VIRTUAL_ENV", "PYTEST_")


class Installed:
    """Made in an empty folder; `also` are further packages, in the versions that this environment has."""

    def __init__(self, folder: Path, also: Sequence[str] = ()) -> None:
        venv = folder / "venv"
        self.python = venv / "bin" / "python"
        python = f"--python={self.python}"
        _uv("build", "--wheel", "--no-build-isolation", "--out-dir", str(folder))
        (wheel,) = folder.glob("*.whl")
        _uv(
            "sync", "--frozen", "--no-dev", "--extra=demo", "--extra=testing", "--no-install-project",
            "--compile-bytecode", f"--python={sys.executable}", UV_PROJECT_ENVIRONMENT=str(venv), VIRTUAL_ENV="",
        )  # fmt: skip
        _uv("pip", "install", "--no-deps", "--compile-bytecode", python, str(wheel))
        if also:
            _uv("pip", "install", "--compile-bytecode", python, *(f"{name}=={version(name)}" for name in also))
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)}
        # The packages of the runtimes are large and the same for every Sesame.
        self._environ["SESAME_RUNTIMES_DIR"] = os.environ.get("SESAME_RUNTIMES_DIR") or str(places.default_root())

    def run(self, module: str, *arguments: str) -> int:
        """Runs a module of this repository there, and gives its status; its packages are those of the environment."""
        command = [str(self.python), "-m", module, *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=self._environ, check=False).returncode


def _uv(*arguments: str, **environ: str) -> None:
    subprocess.run([find_uv(), *arguments, "--quiet"], cwd=REPOSITORY, env=os.environ | environ, check=True)
