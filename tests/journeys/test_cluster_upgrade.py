"""Nodes of a cluster are upgraded one after the other, in their places: calls that come meanwhile wait."""

from pathlib import Path

import pytest
from tests.journeys.conftest import run
from tests.support.installed import INSTALLED
from tests.support.nodes import Node, running
from tests.torture.agents_calls import Calls

RUNTIME = "python3"
pytestmark = pytest.mark.thorough
CALLS_A_SECOND = 6.0


def test_each_node_is_upgraded_in_its_place_and_calls_at_it_wait(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("1.0.0")
    program = ("-c", INSTALLED.format(version=version))
    with running(tmp_path, "a", "b", runtime=RUNTIME, flags=("--drain-s", "60"), program=program) as cluster:
        leader, [other] = cluster.leader(), cluster.others()
        calls, epoch = Calls(leader, "upgraded", RUNTIME), cluster.epoch()
        version.write_text("1.0.1")
        with calls.at(CALLS_A_SECOND, other) as callers:
            upgraded(other)
            seen = callers.stop()
        assert (seen.failed, cluster.epoch()) == ({}, epoch), cluster.said()[-6000:]
        assert len(seen.waits_s) > 1
        upgraded(leader)
        assert cluster.epoch() > epoch
        calls.settled(seen.accepted)


def upgraded(node: Node) -> None:
    pid, before = node.pid, node.agents()
    assert "Sesame 1.0.0 ran, Sesame 1.0.1 runs now." in run(node, "upgrade").stderr
    assert node.pid == pid
    assert not set(before) & set(node.agents())


def test_a_node_that_cannot_start_again_goes_on_and_says_why(tmp_path: Path) -> None:
    with running(tmp_path, "a", runtime=RUNTIME, program=("-m", "sesame")) as cluster:
        node = cluster.leader()
        before = node.agents()
        key = tmp_path / "cluster.key"
        key.chmod(0o644)
        assert "goes on as it is" in run(node, "upgrade", expect=1).stderr
        key.chmod(0o600)
        assert node.agents() == before
