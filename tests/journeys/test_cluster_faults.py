"""A machine of a cluster is killed under load; tests/torture/cluster_faults has every fault in `make torture`."""

from pathlib import Path

import pytest
from tests.torture.cluster_faults import Plan, run


@pytest.mark.thorough
def test_a_machine_is_killed_under_load(tmp_path: Path) -> None:
    run(tmp_path, Plan(killed=("n2",)))
