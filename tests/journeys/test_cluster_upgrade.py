"""Nodes of a cluster are upgraded one after the other, in their places: calls that come meanwhile wait."""

import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.journeys.conftest import run, wait_until
from tests.support.installed import INSTALLED
from tests.support.nodes import PATIENCE_S, Node, running
from tests.torture.agents_calls import Calls

from sesame.model.standing import standing_of
from sesame.on_ray import health
from sesame.on_ray.order import Ran, Report
from sesame.on_ray.upgrading import ASKS, Upgrade, asked, plan

RUNTIME = "python3"
pytestmark = pytest.mark.thorough
CALLS_A_SECOND = 6.0
RAY = importlib.metadata.version("ray")


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


class OnOneMachine:
    """What `sesame cluster upgrade` sees of nodes, by their names, without the Ray that is between them."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {node.name: node for node in nodes}

    def reports(self) -> list[Report]:
        return [self._report(node) for node in self._nodes.values()]

    def _report(self, node: Node) -> Report:
        standing = standing_of(json.loads((node.data_dir / "node.json").read_bytes()))
        try:
            served = json.loads((node.data_dir / "endpoints.json").read_bytes())
        except FileNotFoundError:
            served = {}
        return Report(
            node.name, "127.0.0.1", node.name, "running",
            url=served.get("fc", ""), version=standing.version, since=served.get("started_at", 0.0), standing=standing,
        )  # fmt: skip

    def begin(self, machine: str, arguments: Sequence[str], within_s: float) -> "subprocess.Popen[bytes]":
        node = self._nodes[machine]
        if tuple(arguments) == ASKS:
            return node.started_by(*node.arguments(), "--tell")
        return node.started_by(*arguments, "--data-dir", str(node.data_dir))

    def outcome(self, begun: "subprocess.Popen[bytes]", within_s: float) -> Ran | None:
        try:
            out, err = begun.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            return None
        return Ran(begun.returncode, out.decode(), err.decode())

    def upgrades(self, who: str, *, ends: bool = False) -> str:
        return ""


def test_all_nodes_are_upgraded_by_one_command_under_load(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("1.0.0")
    program = ("-c", INSTALLED.format(version=version))
    with running(tmp_path, "a", "b", runtime=RUNTIME, flags=("--drain-s", "60"), program=program) as cluster:
        leader, [other] = cluster.leader(), cluster.others()
        calls, nodes = Calls(leader, "upgraded", RUNTIME), OnOneMachine(list(cluster.nodes.values()))
        reports = nodes.reports()
        assert [each.machine for each in health.leaders(reports)] == [leader.name]
        version.write_text("1.0.1")
        planned = plan(reports, asked(nodes, reports), RAY, together=False)
        assert (planned.version, planned.problems, planned.notes) == ("1.0.1", (), ())
        assert [each.machine for each in planned.upgraded] == [other.name, leader.name]
        with calls.at(CALLS_A_SECOND, other) as callers:
            Upgrade(nodes, "me", lambda _line: None, lambda: False).carry_out(planned)
            seen = callers.stop()
        assert seen.failed == {}, cluster.said()[-6000:]
        assert len(seen.waits_s) > 1
        reports = nodes.reports()
        assert [each.version for each in reports] == ["1.0.1", "1.0.1"]
        assert health.findings(reports) == []
        assert not plan(reports, asked(nodes, reports), RAY, together=False).upgraded
        calls.settled(seen.accepted)


# Nodes of two such versions cannot be linked.
SPEAKS_BY_VERSION = """
import pathlib, sesame
spoken = sesame.__version__ = pathlib.Path("{version}").read_text()
import sesame.cluster.joining as joining
joining.speaks = lambda: spoken
"""


def test_where_old_and_new_nodes_cannot_be_linked_all_are_upgraded_at_once(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("1.0.0")
    program = ("-c", (SPEAKS_BY_VERSION + INSTALLED).format(version=version))
    with running(tmp_path, "a", "b", runtime=RUNTIME, flags=("--drain-s", "60"), program=program) as cluster:
        leader, [other] = cluster.leader(), cluster.others()
        calls, nodes = Calls(leader, "upgraded", RUNTIME), OnOneMachine(list(cluster.nodes.values()))
        version.write_text("1.0.1")
        reports = nodes.reports()
        there = asked(nodes, reports)
        assert "run this again with --together" in plan(reports, there, RAY, together=False).problems[0]
        planned = plan(reports, there, RAY, together=True)
        assert (planned.problems, planned.together) == ((), True)
        with calls.at(CALLS_A_SECOND, other) as callers:
            Upgrade(nodes, "me", lambda _line: None, lambda: False).carry_out(planned)
            seen = callers.stop()
        assert seen.failed == {}, cluster.said()[-6000:]
        assert [each.standing.speaks for each in nodes.reports()] == ["1.0.1", "1.0.1"]
        calls.settled(seen.accepted)


def test_a_node_that_cannot_be_linked_says_so(tmp_path: Path) -> None:
    version = tmp_path / "version"
    version.write_text("1.0.0")
    program = ("-c", (SPEAKS_BY_VERSION + INSTALLED).format(version=version))
    with running(tmp_path, "a", runtime=RUNTIME, program=program) as cluster:
        leader = cluster.leader()
        version.write_text("1.0.1")
        newer = cluster.nodes["b"] = cluster.another("b")
        newer.begin()
        nodes = OnOneMachine([leader, newer])

        def said() -> list[str]:
            if not (newer.data_dir / "node.json").exists():
                return []
            return [each.wrong for each in health.findings(nodes.reports()) if "messages or records" in each.wrong]

        assert wait_until(said, "a word of the newer node", PATIENCE_S) == [
            "serves nothing: it runs 1.0.1, whose messages or records are not those of the node that leads"
        ]
        for node in (leader, newer):
            assert "it runs Sesame 1.0.1, whose messages or records are others than those of the writer's 1.0.0" in (
                node.said()
            )
