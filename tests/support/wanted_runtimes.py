"""Has a process look for a few runtimes and no other; else `python3` would be any later Python that the system has.

Used by `few_runtimes`, in forked servers, and by tests with a whole Sesame in their own process.
"""

import functools
from collections.abc import Mapping
from typing import Any

from sesame.sandbox.runtimes.lookup import Runtimes

WANTED = "SESAME_TEST_RUNTIMES"


def looking_for(*wanted: str) -> Any:
    """Stands for `Runtimes.look_up`."""
    return classmethod(functools.partial(Runtimes.look_up.__func__, wanted=wanted))  # type: ignore[attr-defined]


def look_for_those_of(environ: Mapping[str, str]) -> None:
    """From here on, if the environment names any."""
    if wanted := environ.get(WANTED):
        Runtimes.look_up = looking_for(*wanted.split(","))  # type: ignore[method-assign]
