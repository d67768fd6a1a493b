"""What is looked at before a cluster is upgraded, the order of its nodes, and where it stops. Ray is not there."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from sesame.model.standing import FOLLOWS, LEADS, WAITS, Standing
from sesame.on_ray.order import Installed, Ran, Report
from sesame.on_ray.policies import TURN_S, Turn
from sesame.on_ray.upgrading import ASKS, UPGRADES, Broken, Plan, Upgrade, asked, plan, standing_text

RAY = "2.60.0"
OLD, NEW = "0.2.0", "0.2.1"


def node(name: str, *, role: str = FOLLOWS, version: str = OLD, speaks: str = "one", **known: Any) -> Report:
    build = known.pop("build", "")
    standing = Standing(
        node=f"{name}-1", version=version, build=build, speaks=speaks, role=role, epoch=3, why=known.pop("why", "")
    )
    last = ord(name) - ord("a") + 1
    known = {"state": "running", "url": f"http://10.0.0.{last}:9000", **known}
    return Report(name, f"10.0.0.{last}", f"host-{name}", version=version, standing=standing, **known)


def installed(version: str = NEW, **known: Any) -> Installed:
    return Installed(
        version=version, **{"ray": RAY, "speaks": "one", "knows": ("0013", "0014"), "database": "0014", **known}
    )


THREE = [node("a", role=LEADS), node("b"), node("c")]
ALL = {"a": installed(), "b": installed(), "c": installed()}


def planned(reports: Sequence[Report] = THREE, there: dict[str, Any] | None = None, *, together: bool = False) -> Plan:
    return plan(reports, ALL if there is None else there, RAY, together=together)


def names(reports: Sequence[Report]) -> str:
    return "".join(each.machine for each in reports)


def test_those_that_follow_go_first_and_the_one_that_leads_last() -> None:
    found = planned()
    assert (names(found.upgraded), found.version, found.problems, found.notes) == ("bca", NEW, (), ())


def test_those_that_run_the_version_are_left_alone() -> None:
    found = planned([node("a", role=LEADS), node("b", version=NEW), node("c")])
    assert (names(found.upgraded), names(found.done), found.problems) == ("ca", "b", ())
    assert names(planned(there={name: installed(OLD) for name in "abc"}).upgraded) == ""


def test_a_node_of_the_same_version_and_another_build_is_upgraded() -> None:
    """As after a wheel that was built anew."""
    reports = [node("a", role=LEADS, build="1" * 64), node("b", build="2" * 64)]
    found = planned(reports, {name: installed(OLD, build="2" * 64) for name in "ab"})
    assert (names(found.upgraded), names(found.done), found.problems) == ("a", "b", ())
    assert found.step(found.upgraded[0]) == "0.2.0, build 11111111 → 0.2.0, build 22222222"
    there = {"a": installed(build="1" * 64), "b": installed(build="2" * 64), "c": installed(build="1" * 64)}
    assert planned(there=there).problems == (
        "different builds are installed: 10.0.0.1 (host-a) has 0.2.1, build 11111111; 10.0.0.2 (host-b) has 0.2.1, "
        "build 22222222; 10.0.0.3 (host-c) has 0.2.1, build 11111111. Install one build on every machine",
    )


def test_where_builds_are_not_told_the_version_decides() -> None:
    """Actors live on through an upgrade, and those of a version before leave out what they do not know."""
    there = {name: installed(build="2" * 64) for name in "abc"}
    assert names(planned(there=there).upgraded) == "bca"
    upgraded = [node("a", role=LEADS, version=NEW), node("b", version=NEW), node("c", version=NEW)]
    found = planned(upgraded, there)
    assert (names(found.upgraded), names(found.done)) == ("", "abc")
    cluster = Cluster(*upgraded)
    upgrade(cluster).carry_out(plan(cluster.reports(), there, RAY, together=False, restart=True))
    assert "".join(cluster.begun) == "bca"


def test_all_are_started_again_if_that_is_asked_for() -> None:
    reports = [node("a", role=LEADS), node("b", version=NEW), node("c", version=NEW)]
    found = plan(reports, ALL, RAY, together=False, restart=True)
    assert (names(found.upgraded), names(found.done)) == ("bca", "")
    assert [found.step(each) for each in found.upgraded] == [
        "0.2.1, starts again",
        "0.2.1, starts again",
        "0.2.0 → 0.2.1",
    ]
    assert standing_text(reports, found, [reports[1]]) == [
        "Started again: 10.0.0.2 (host-b); not yet: 10.0.0.3 (host-c), 10.0.0.1 (host-a)."
    ]
    assert found.again.startswith("run `sesame cluster upgrade --restart` again")


@pytest.mark.parametrize(
    ("reports", "there", "said"),
    [
        ([], {}, "no node answers"),
        ([*THREE, node("d", state="lost", url="")], ALL, "10.0.0.4 (host-d): nothing is heard of its actor"),
        ([*THREE, node("d", state="waiting", url="")], ALL, "10.0.0.4 (host-d): its node has ended"),
        (
            [*THREE, node("d", role=WAITS, url="", why="no node leads")],
            {**ALL, "d": installed()},
            "10.0.0.4 (host-d): serves nothing: no node leads",
        ),
        ([node("a"), *THREE[1:]], ALL, "no node leads the cluster"),
        (THREE, {**ALL, "b": "it broke"}, "10.0.0.2 (host-b): what is installed there is not known: it broke"),
        (THREE, {**ALL, "b": installed(problem="no key")}, "0.2.1, which is installed there, cannot start: no key"),
        (THREE, {**ALL, "b": installed(OLD)}, "different versions are installed"),
        (THREE, {**ALL, "b": installed(ray="2.61.0")}, "Ray 2.61.0 is installed there, and 2.60.0 runs"),
        (THREE, {name: installed(speaks="two") for name in "abc"}, "run this again with --together"),
        (
            THREE,
            {**ALL, "b": installed(differs="record is 1 on what is installed and 2 on the cluster that runs")},
            "10.0.0.2 (host-b): it would be refused, as settings that nodes must share are others: record is 1",
        ),
    ],
)
def test_what_would_go_wrong_is_found_before(reports: list[Report], there: dict[str, Any], said: str) -> None:
    assert said in "\n".join(planned(reports, there).problems)


def test_settings_of_a_node_that_is_not_upgraded_do_not_matter() -> None:
    there = {**ALL, "b": installed(differs="record is 1 on what is installed and 2 on the cluster that runs")}
    found = planned([node("a", role=LEADS), node("b", version=NEW), node("c")], there)
    assert (names(found.upgraded), found.problems) == ("ca", ())


def test_where_old_and_new_cannot_be_linked_all_go_at_once_if_calls_may_wait() -> None:
    there = {name: installed(speaks="two") for name in "abc"}
    found = planned(there=there, together=True)
    assert (found.together, names(found.upgraded), found.problems) == (True, "bca", ())
    # One went before, and waits for those that are left.
    stuck = node("b", version=NEW, speaks="two", role=WAITS, url="", why="the writer refuses this node")
    found = planned([THREE[0], stuck, THREE[2]], there, together=True)
    assert (names(found.upgraded), names(found.done), found.problems) == ("ca", "b", ())


def test_migrations_are_named_with_what_they_mean() -> None:
    (note,) = planned(there={name: installed(knows=("0014", "0015", "0016")) for name in "abc"}).notes
    assert "migrations of the database (0015, 0016)" in note
    assert "cannot lead from then on" in note


class Cluster:
    """Nodes of which each is upgraded at once, but for what a test says of them."""

    def __init__(self, *reports: Report) -> None:
        self.nodes = {each.machine: each for each in reports}
        self.begun: list[str] = []
        self.fails: dict[str, str] = {}
        self.stays: set[str] = set()
        self.refuses = ""
        self.unlinked_for = 0

    def reports(self) -> list[Report]:
        if self.unlinked_for and self.begun:
            self.unlinked_for -= 1
            machine = self.begun[-1]
            waits = msgspec.structs.replace(self.nodes[machine].standing, role=WAITS, why="no writer")
            waiting = msgspec.structs.replace(self.nodes[machine], standing=waits)
            return list({**self.nodes, machine: waiting}.values())
        return list(self.nodes.values())

    def begin(self, machine: str, arguments: Sequence[str], within_s: float) -> Any:
        assert within_s > 0
        if tuple(arguments) == ASKS:
            return Ran(0, msgspec.json.encode(installed()).decode(), "")
        assert tuple(arguments) == UPGRADES
        self.begun.append(machine)
        if why := self.fails.get(machine):
            return Ran(1, "", f'noted\n{{"error": {{"message": "{why}"}}}}\n')
        if machine not in self.stays:
            self.nodes[machine] = msgspec.structs.replace(self.nodes[machine], version=NEW)
        return Ran(0, "{}", "")

    def outcome(self, begun: Any, within_s: float) -> Ran | None:
        assert within_s > 0
        assert isinstance(begun, Ran)
        return begun

    def upgrades(self, who: str, *, ends: bool = False) -> str:
        return self.refuses


def upgrade(cluster: Cluster, stopped: bool = False) -> Upgrade:
    return Upgrade(cluster, "me", lambda _line: None, lambda: stopped, pause=lambda _s: None)


def the_plan(cluster: Cluster) -> Plan:
    reports = cluster.reports()
    return plan(reports, asked(cluster, reports), RAY, together=False)


def test_each_is_linked_again_before_the_next_begins() -> None:
    cluster = Cluster(*THREE)
    cluster.unlinked_for = 3
    under_way = upgrade(cluster)
    under_way.carry_out(the_plan(cluster))
    assert "".join(cluster.begun) == names(under_way.upgraded) == "bca"


def test_it_stops_at_the_first_that_fails_and_goes_on_when_it_is_run_again() -> None:
    cluster = Cluster(*THREE)
    cluster.fails["c"] = "Sesame goes on as it is: no such module"
    planned = the_plan(cluster)
    with pytest.raises(Broken, match=r"10.0.0.3 \(host-c\) was not upgraded: Sesame goes on as it is: no such module"):
        upgrade(cluster).carry_out(planned)
    assert standing_text(cluster.reports(), planned, []) == [
        "0.2.1 runs on 10.0.0.2 (host-b); not yet on 10.0.0.1 (host-a) (0.2.0), 10.0.0.3 (host-c) (0.2.0)."
    ]
    cluster.fails.clear()
    upgrade(cluster).carry_out(the_plan(cluster))
    assert "".join(cluster.begun) == "bcca"


class Draining(Cluster):
    """The upgrade of a node that `drains` so many looks ends two looks after it accepts no more calls."""

    def __init__(self, *reports: Report, **drains: int) -> None:
        super().__init__(*reports)
        self.drains = drains
        self.accepting: list[str] = []

    def begin(self, machine: str, arguments: Sequence[str], within_s: float) -> Any:
        if tuple(arguments) == UPGRADES and machine in self.drains and machine not in self.fails:
            self.begun.append(machine)
            return machine
        if tuple(arguments) == UPGRADES:
            self.accepting = [each.machine for each in self.reports() if each.url and each.version == OLD]
        return super().begin(machine, arguments, within_s)

    def outcome(self, begun: Any, within_s: float) -> Ran | None:
        if begun not in self.drains:
            return super().outcome(begun, within_s)
        self.look()
        return Ran(0, "{}", "") if self.drains[begun] < -1 else None

    def look(self) -> None:
        for machine in set(self.begun) & set(self.drains):
            self.drains[machine] -= 1
            if not self.drains[machine]:
                self.nodes[machine] = msgspec.structs.replace(self.nodes[machine], url="")
            if self.drains[machine] == -1:
                up = msgspec.structs.replace(self.nodes[machine], url="http://10.0.0.9:9000", version=NEW)
                self.nodes[machine] = up


def at_once(cluster: Cluster) -> None:
    there = {name: installed(speaks="two") for name in "abc"}
    upgrade(cluster).carry_out(plan(cluster.reports(), there, RAY, together=True))


def test_of_nodes_upgraded_at_once_the_leading_one_begins_when_the_others_accept_no_more_calls() -> None:
    cluster = Draining(*THREE, b=3, c=8)
    at_once(cluster)
    assert (cluster.begun, cluster.accepting) == (["b", "c", "a"], ["a"])


def test_a_node_whose_upgrade_is_refused_does_not_keep_the_leading_one_from_its_own() -> None:
    cluster = Draining(*THREE, c=8)
    cluster.fails["b"] = "Sesame goes on as it is: no such module"
    with pytest.raises(Broken, match=r"10.0.0.2 \(host-b\) was not upgraded: Sesame goes on as it is"):
        at_once(cluster)
    assert (cluster.begun, cluster.accepting) == (["b", "c", "a"], ["a", "b"])


def test_one_that_is_not_linked_again_holds_up_the_others() -> None:
    cluster = Cluster(*THREE)
    cluster.unlinked_for = 1000
    with pytest.raises(Broken, match=r"not every node serves again .* 10.0.0.2 \(host-b\): has no writer: no writer"):
        upgrade(cluster).carry_out(the_plan(cluster))
    assert cluster.begun == ["b"]


def test_one_that_says_it_was_upgraded_and_runs_the_version_before_holds_up_the_others() -> None:
    cluster = Cluster(*THREE)
    cluster.stays.add("b")
    with pytest.raises(Broken, match=r"10.0.0.2 \(host-b\): still runs 0.2.0"):
        upgrade(cluster).carry_out(the_plan(cluster))
    assert cluster.begun == ["b"]


def test_after_a_signal_and_while_the_cluster_is_stopped_no_node_begins() -> None:
    cluster = Cluster(*THREE)
    with pytest.raises(Broken, match="no further node was begun"):
        upgrade(cluster, stopped=True).carry_out(the_plan(cluster))
    cluster.refuses = "the cluster is being stopped"
    with pytest.raises(Broken, match="the cluster is being stopped"):
        upgrade(cluster).carry_out(the_plan(cluster))
    assert cluster.begun == []


def test_one_upgrades_at_a_time_and_who_says_nothing_any_more_is_forgotten() -> None:
    turn = Turn()
    assert turn.taken("one", 0.0) == turn.taken("one", 10.0) == ""
    assert turn.taken("other", 11.0) == turn.taken("other", 11.0, ends=True) == "one"
    assert turn.taken("other", 10.0 + TURN_S) == ""
    assert turn.owner(26.0) == "other"
    assert turn.taken("other", 26.0, ends=True) == turn.owner(26.0) == turn.taken("one", 26.0) == ""
