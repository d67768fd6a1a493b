"""Has a process look for a few runtimes and no other; else `python3` would be any later Python that the system has.

Used by `few_runtimes`, in forked servers, and by tests with a whole Sesame in their own process.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from sesame.sandbox.runtimes.lookup import Runtimes

WANTED = "SESAME_TEST_RUNTIMES"


def looking_for(*wanted: str) -> Any:
    """Stands for `Runtimes.look_up`."""
    return classmethod(functools.partial(Runtimes.look_up.__func__, wanted=wanted))  # type: ignore[attr-defined]


def look_for_those_of(environ: Mapping[str, str]) -> None:
    """From here on, if the environment names any."""
    if wanted := environ.get(WANTED):
        Runtimes.look_up = looking_for(*wanted.split(","))  # type: ignore[method-assign]


@pytest.fixture
def few_runtimes(request: pytest.FixtureRequest) -> Iterator[None]:
    """A whole Sesame in this process has the runtime that the test's module names as RUNTIME, or none at all.

    Each that it has costs a zygote, or a prewarmed sandbox.
    """
    named = getattr(request.module, "RUNTIME", ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runtimes, "look_up", looking_for(*((named,) if isinstance(named, str) else named)))
        yield
