"""Decisions about provisioned instances, as tables of plain values.

Run by pytest.
"""

from hypothesis import given
from hypothesis import strategies as st

from sesame.engine.scaling import next_start_s, split


@given(count=st.integers(0, 50), weights=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4))
def test_a_split_has_every_instance_and_is_close_to_the_weights(count: int, weights: list[float]) -> None:
    parts = split(count, weights)
    assert sum(parts) == count
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - count * weight / sum(weights)) < 1


def test_what_is_left_over_goes_to_the_largest_rest() -> None:
    assert split(3, [0.2, 0.8]) == [1, 2]
    assert split(1, [0.2, 0.8]) == [0, 1]
    assert split(1, [0.5, 0.5]) == [1, 0]
    assert split(5, []) == []


def test_the_next_start_waits_longer_with_each_failure_and_each_early_death() -> None:
    assert next_start_s(0, 0) == 0
    assert [next_start_s(failures, 0) for failures in (1, 2, 3, 100)] == [1, 2, 4, 60]
    assert next_start_s(1, 3) == 4
