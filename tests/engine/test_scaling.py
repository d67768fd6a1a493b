"""Decisions about provisioned instances, as tables of plain values.

Run by pytest.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.engine.scaling import next_start_s, split, tracked
from sesame.model.configs import TargetTrackingPolicy


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


@pytest.mark.parametrize(
    ("count", "utilization", "wanted"),
    [
        (10, 0.6, 10),
        (10, 1.0, 17),
        (10, 0.9, 15),
        (10, 0.55, 10),
        (10, 0.0, 8),
        (100, 0.5, 84),
        (100, 0.1, 75),
        (1, 0.0, 0),
    ],
)
def test_tracking_goes_out_at_once_and_in_step_by_step(count: int, utilization: float, wanted: int) -> None:
    assert tracked(count, utilization, TargetTrackingPolicy(metric_target=0.6)) == wanted
