"""A supervisor sleeps until there is something to do: one that does not takes a processor of its machine for itself."""

import pytest

from sesame.agents.supervised import APART_LOOKS_EVERY_S, sleeps_s


@pytest.mark.parametrize(
    ("due", "looks_at", "sleeps"),
    [
        ((None, None), 1000.75, 0.75),
        ((None, 1000.5), 1000.75, 0.5),
        ((1000.5, 999.0), 1000.75, 0.0),
        ((None, None), 999.0, 0.0),
        # Of agents that are apart.
        ((None, None), None, APART_LOOKS_EVERY_S),
        ((None, 1000.0625), None, 0.0625),
        ((999.0, None), None, 0.0),
    ],
)
def test_it_sleeps_until_something_is_due(due: tuple[float | None, ...], looks_at: float | None, sleeps: float) -> None:
    assert sleeps_s(1000.0, due, looks_at) == pytest.approx(sleeps)
