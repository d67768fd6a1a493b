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


def runtimes() -> list[Any]:
    """As parameters: the newest in `make test`, the oldest by `make test-all`, those between by `make torture`."""
    later = {OLDEST: pytest.mark.thorough, **dict.fromkeys(BETWEEN, pytest.mark.torture)}
    return [pytest.param(each, marks=later.get(each, ())) for each in MINOR_VERSIONS]
