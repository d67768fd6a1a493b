"""Nothing that was accepted is lost through kills; tests/torture/queue_kill has a thousand in `make torture`."""

from pathlib import Path

import pytest
from tests.support.postgresql import own_server
from tests.torture.async_callers import Pace
from tests.torture.queue_kill import Plan, run

SECONDS_MAX = 300.0
# Fewer calls than in `make torture`, which take longer: as many are under way at each kill.
PACE = Pace(between_calls_s=0.12, call_s=0.15)


@pytest.mark.parametrize("kills", [3, pytest.param(18, marks=pytest.mark.thorough)])
def test_on_sqlite(tmp_path: Path, kills: int) -> None:
    run(tmp_path, Plan(kills, seconds_max=SECONDS_MAX, pace=PACE))


@pytest.mark.parametrize(("kills", "of_postgresql"), [(3, 1), pytest.param(10, 2, marks=pytest.mark.thorough)])
def test_on_postgresql(tmp_path: Path, kills: int, of_postgresql: int) -> None:
    with own_server() as server:
        run(tmp_path, Plan(kills, of_postgresql=of_postgresql, seconds_max=SECONDS_MAX, pace=PACE), server)
