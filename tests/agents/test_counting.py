"""What a follower tells its writer of calls: each only once, and those in flight again to another writer."""

from sesame.agents.counting import Untold
from sesame.agents.messages import Counted
from sesame.engine.pool_parts import Counts


def test_what_has_happened_is_told_once() -> None:
    counts, untold = Counts(cold=1), Untold()
    assert untold.take(counts) == Counted({"cold": 1}, 0)
    assert untold.take(counts) is None
    counts.warm, counts.cold = 3, 2
    assert untold.take(counts) == Counted({"warm": 3, "cold": 1}, 0)


def test_calls_in_flight_are_told_when_they_change_and_to_another_writer() -> None:
    counts, untold = Counts(), Untold()
    assert untold.take(counts, 2) == Counted({}, 2)
    assert untold.take(counts, 2) is None
    untold.another_writer()
    assert untold.take(counts, 2) == Counted({}, 2)
    # Where only counts are looked at, the calls stay what was told of them.
    counts.warm = 1
    assert untold.take(counts) == Counted({"warm": 1}, 2)
    assert untold.take(counts, 0) == Counted({}, 0)
