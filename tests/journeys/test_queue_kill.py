"""Nothing that was accepted is lost through 30 kills; tests/torture/queue_kill has a thousand in `make torture`."""

from pathlib import Path

from tests.support.postgresql import own_server
from tests.torture.async_callers import Pace
from tests.torture.queue_kill import Plan, run

SECONDS_MAX = 300.0
# Fewer calls than in `make torture`, which take longer: as many are under way at each kill.
PACE = Pace(between_calls_s=0.12, call_s=0.15)


def test_on_sqlite(tmp_path: Path) -> None:
    run(tmp_path, Plan(18, seconds_max=SECONDS_MAX, pace=PACE))


def test_on_postgresql(tmp_path: Path) -> None:
    with own_server() as server:
        run(tmp_path, Plan(10, of_postgresql=2, seconds_max=SECONDS_MAX, pace=PACE), server)
