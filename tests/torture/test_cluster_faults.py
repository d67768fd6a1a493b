"""Whichever part of a cluster is lost, nothing accepted is, and no cap is exceeded: see `cluster_faults`."""

from pathlib import Path

import pytest
from tests.torture.cluster_faults import NAMES, Plan, run

NODE_BACK_S, AGENT_BACK_S = 30.0, 2.0

pytestmark = pytest.mark.torture


def test_each_machine_is_killed_and_cut_off_and_then_an_agent_and_the_head_of_ray(tmp_path: Path) -> None:
    verdict = run(tmp_path, Plan(killed=NAMES, cut=NAMES, agent=True, head=True))
    late = {
        what: first
        for what, (first, _last) in verdict.recovered_s.items()
        if first > (AGENT_BACK_S if what == "agent" else NODE_BACK_S)
    }
    assert not late, str(verdict)
