"""Lets a `sesame start` find a few runtimes' interpreters and no other: each costs a zygote and prewarmed sandboxes.

Used by tests whose functions have no other runtime.
"""

import os

from tests.support.interpreters import INTERPRETERS
from tests.support.wanted_runtimes import WANTED

NOWHERE = "/nowhere"


def flags(*runtimes: str) -> tuple[str, ...]:
    """Flags of `sesame start`; none where one of them has no interpreter, so that the test tells what is missing."""
    if not INTERPRETERS.keys() >= set(runtimes):
        return ()
    return ("--interpreters", ",".join(f"{runtime}={INTERPRETERS[runtime].path}" for runtime in runtimes))


def environ(*runtimes: str) -> dict[str, str]:
    """This process's, without the places where pyenv and uv keep interpreters."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = os.pathsep.join(folder for folder in folders if "pyenv" not in folder)
    hidden = {"PATH": kept, "PYENV_ROOT": NOWHERE, "UV_PYTHON_INSTALL_DIR": NOWHERE}
    return {**os.environ, **hidden, WANTED: ",".join(runtimes)}
