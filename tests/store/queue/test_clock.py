"""The queue's time: what is due now by the wall clock is due now, however times are rounded.

Run by pytest.
"""

import pytest
from tests.support.fakes import FakeClocks

from sesame.store.queue.clock import QueueClock


@pytest.mark.parametrize("back_s", [0.0, 0.1, 0.100_000_3, 12.345_678_9, -3600.000_000_7])
def test_now_is_now_and_the_past_is_past(back_s: float) -> None:
    clocks = FakeClocks(wall=1_732_835_730.123_456_7)
    clock = QueueClock(clocks)
    clocks.set_wall(clocks.wall() - back_s)
    for _ in range(2000):
        clocks.advance(0.123_456_7)
        assert clock.of_wall(clocks.wall()) == clock.now()
        assert clock.of_wall(clocks.wall() - 1) <= clock.now()
