"""Nothing that was accepted is lost through five kills; tests/torture/queue_kill has a thousand in `make torture`."""

from pathlib import Path

from tests.support.postgresql import own_server
from tests.torture.queue_kill import Plan, run

SECONDS_MAX = 300.0


def test_on_sqlite(tmp_path: Path) -> None:
    run(tmp_path, Plan(5, seconds_max=SECONDS_MAX))


def test_on_postgresql(tmp_path: Path) -> None:
    with own_server() as server:
        run(tmp_path, Plan(5, of_postgresql=1, seconds_max=SECONDS_MAX), server)
