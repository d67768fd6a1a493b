"""Nothing that was accepted is lost through a thousand kills: see `queue_kill`.

SESAME_TORTURE_ROUNDS sets another number of kills.
"""

import os
from pathlib import Path

import pytest
from tests.support.postgresql import own_server
from tests.torture.queue_kill import Plan, run

MOMENTS = int(os.environ.get("SESAME_TORTURE_ROUNDS", "1000"))
OF_POSTGRESQL = 50

pytestmark = pytest.mark.torture


def test_on_sqlite(tmp_path: Path) -> None:
    run(tmp_path, Plan(MOMENTS))


def test_on_postgresql(tmp_path: Path) -> None:
    with own_server() as server:
        run(tmp_path, Plan(MOMENTS, OF_POSTGRESQL), server)
