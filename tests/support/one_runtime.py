"""Lets a `sesame start` find one runtime's interpreter and few others: each costs a zygote and prewarmed sandboxes.

Used by tests whose functions all have the same runtime.
"""

import os

from sesame.sandbox.runtimes.interpreters import discover

NOWHERE = "/nowhere"


def flags(runtime: str) -> tuple[str, ...]:
    """Flags of `sesame start`; none where this runtime has no interpreter, so that the test tells what is missing."""
    found = discover(wanted=[runtime])
    return ("--interpreters", f"{runtime}={found[runtime].path}") if found else ()


def environ() -> dict[str, str]:
    """This process's, without the places where pyenv and uv keep interpreters."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = os.pathsep.join(folder for folder in folders if "pyenv" not in folder)
    return {**os.environ, "PATH": kept, "PYENV_ROOT": NOWHERE, "UV_PYTHON_INSTALL_DIR": NOWHERE}
