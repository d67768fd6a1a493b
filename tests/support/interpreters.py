"""The runtimes of this machine, looked up once in each process of pytest: each interpreter is run for it.

And which of them a test tries: `runtimes` are parameters of it.
"""

from typing import Any

import pytest

from sesame.sandbox.runtimes.interpreters import MINOR_VERSIONS
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.sandbox.runtimes.places import default_root

_FOUND = Runtimes.look_up({}, default_root())
INTERPRETERS, DEBUGGERS = _FOUND.found, _FOUND.debuggers
OLDEST, *BETWEEN, NEWEST = MINOR_VERSIONS


def runtimes(*, every_run: bool = False) -> list[Any]:
    """Each runtime as a parameter: the oldest and the newest in every run, those between them by `make torture`.

    `every_run` is for what depends on the runtime: tests/runtime, and the journeys whose promise names each runtime.
    """
    later = () if every_run else (pytest.mark.torture,)
    return [pytest.param(runtime, marks=later if runtime in BETWEEN else ()) for runtime in MINOR_VERSIONS]
