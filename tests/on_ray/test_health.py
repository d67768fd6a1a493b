"""What is said to be wrong with a cluster's nodes, and what to do about it."""

import pytest
from tests.on_ray.test_upgrading import THREE, node

from sesame.cli.cluster_status import lines
from sesame.model.standing import LEADS, WAITS, Standing
from sesame.on_ray.health import findings, leaders
from sesame.on_ray.order import Report


def test_nothing_is_wrong_with_nodes_that_serve() -> None:
    assert findings(THREE) == []
    assert list(lines(THREE, [], 0.0))[-1] == "3 of 3 nodes serve, and nothing is wrong."


def test_an_upgrade_that_is_under_way_is_shown() -> None:
    assert list(lines(THREE, [], 0.0, "process 7 on first"))[-2] == (
        "An upgrade is under way, by process 7 on first: nodes start again one after the other."
    )


def test_builds_of_one_version_are_told_apart() -> None:
    reports = [node("a", role=LEADS, build="1" * 64), node("b", build="2" * 64), node("c", build="2" * 64)]
    (found,) = findings(reports)
    assert found.wrong == "nodes run different builds of one version: 11111111, 22222222"
    assert "`sesame cluster upgrade`" in found.step
    shown = list(lines(reports, [found], 0.0))
    assert shown[1].startswith("    Sesame 0.2.0, build 11111111, protocol one")


@pytest.mark.parametrize(
    ("report", "wrong", "step"),
    [
        (node("d", state="starting", url=""), "its actor has not begun yet", "wait"),
        (node("d", state="lost", url="", heard_s=40.0), "nothing is heard of its actor for 40 s", "ray status"),
        (node("d", state="refused", url=""), "no node is started there", "mend what it says"),
        (node("d", state="waiting", url=""), "its node has ended", "started again by itself"),
        (node("d", state="stopped", url=""), "its node was drained", "start Ray there again"),
        (node("d", url=""), "its node starts", "wait"),
        (node("d", role=WAITS, why="no node leads the cluster"), "has no writer: no node leads the cluster", "mend"),
        (
            node("d", role=WAITS, url="", speaks="two", version="0.3.0", why="the writer refuses this node"),
            "serves nothing: it runs 0.3.0, whose messages or records are not those of the node that leads",
            "`sesame cluster upgrade`",
        ),
        (node("d", short="the disk has 9 MB left"), "the disk has 9 MB left", "free space"),
        (node("d", ahead_s=-180.0), "its clock is 180 s behind that of this machine", "NTP"),
    ],
)
def test_what_is_wrong_with_a_node_is_said_with_the_next_step(report: Report, wrong: str, step: str) -> None:
    (found,) = findings([*THREE, report])
    assert (found.machine, found.wrong) == ("d", wrong)
    assert step in found.step
    shown = list(lines([*THREE, report], [found], 0.0))
    assert f"    wrong: {wrong}" in shown


def test_what_is_wrong_with_the_cluster_is_said() -> None:
    assert findings([])[0].wrong == "Ray has no machine that offers processors"
    assert findings([node("b")])[0].wrong.startswith("no node leads")
    (versions,) = findings([*THREE, node("d", version="0.2.1")])
    assert "0.2.0, 0.2.1" in versions.wrong


def test_of_two_that_say_that_they_lead_the_newer_one_does() -> None:
    newer = node("d", role=LEADS)
    newer = Report(
        **{
            **{each: getattr(newer, each) for each in newer.__struct_fields__},
            "standing": Standing(role=LEADS, epoch=4),
        }
    )
    assert leaders([*THREE, newer]) == [newer]
