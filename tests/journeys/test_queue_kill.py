"""Nothing that was accepted is lost through 30 kills; `make torture` has a thousand (see tests/torture/queue_kill)."""

from pathlib import Path

from tests.torture.queue_kill import Plan, run

SECONDS_MAX = 300.0


def test_on_sqlite(tmp_path: Path) -> None:
    run(tmp_path, Plan(30, seconds_max=SECONDS_MAX))
