"""What counts as load: the process's threads together, and the machine."""

import pytest

from sesame.engine.host_load import Counters, HostLoad, load_between

BEFORE = Counters(at=100.0, process=7.0, total=400.0, idle=300.0)


@pytest.mark.parametrize(
    ("process_s", "idle_s", "load"),
    [(0.0, 0.2, 0.0), (0.03, 0.17, 0.3), (0.02, 0.02, 0.9), (0.13, 0.07, 1.0)],
    ids=["idle", "the process", "other processes", "event loop and database, which share one lock"],
)
def test_the_busier_of_process_and_machine_counts(process_s: float, idle_s: float, load: float) -> None:
    """0.1 s of a machine with two processors."""
    after = Counters(
        at=BEFORE.at + 0.1, process=BEFORE.process + process_s, total=BEFORE.total + 0.2, idle=BEFORE.idle + idle_s
    )
    assert load_between(BEFORE, after) == pytest.approx(load)


def test_two_samples_in_one_moment_are_no_error() -> None:
    assert load_between(BEFORE, BEFORE) == 1.0, "what is not known counts as busy"
    load = HostLoad()
    assert all(0.0 <= load.sample() <= 1.0 for _ in range(3))
