"""Has a process look for a few runtimes and no other; else `python3` would be any later Python that the system has.

Used by `few_runtimes`, and in forked servers.
"""

import functools
from collections.abc import Mapping

from sesame.sandbox.runtimes.lookup import Runtimes

WANTED = "SESAME_TEST_RUNTIMES"


def look_for_those_of(environ: Mapping[str, str]) -> None:
    """From here on, if the environment names any."""
    if wanted := environ.get(WANTED):
        look_up = functools.partial(Runtimes.look_up.__func__, wanted=wanted.split(","))  # type: ignore[attr-defined]
        Runtimes.look_up = classmethod(look_up)  # type: ignore[assignment]
