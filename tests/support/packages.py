"""Installs packages for functions of tests, as pip or uv does, or skips the test and says why.

Used by the journeys of frameworks.
"""

import subprocess
import sys
from pathlib import Path

import pytest

INSTALL_TIMEOUT_S = 300


def install(python: str, packages: list[str], folder: Path, *, uv_knows: bool = True) -> None:
    """Into `folder`, for this interpreter; `uv_knows` whether it is none that is too old for uv."""
    uv = Path(sys.executable).with_name("uv")
    if uv.exists() and uv_knows:
        # A tenth of what pip takes.
        command = [str(uv), "pip", "install", "--quiet", "--python", python]
    else:
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    done = subprocess.run(
        [*command, "--target", str(folder), *packages],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"{packages[0]} cannot be installed for {python}: {done.stderr.strip()[-200:]}")
