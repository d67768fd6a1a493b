"""Plans and carries out a rolling upgrade of a cluster's nodes.

Used by `sesame cluster upgrade`. Each node is upgraded by `sesame upgrade` on its machine, run by the machine's actor.
No state is kept here, so an interrupted upgrade continues from what the nodes report.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from sesame.on_ray import health
from sesame.on_ray.node_process import State
from sesame.on_ray.order import Installed, Ran, Report

# The commands run on each machine, with the Sesame installed there now: one describes it, one upgrades the node.
ASKS, ASKED_S = ("node", "--tell"), 180.0
UPGRADES = ("upgrade", "--json")
# Longer than `sesame upgrade` itself waits.
UPGRADED_S = 660.0
# How often to check whether a node's upgrade has ended, and how long all nodes may take to serve again after it.
LOOKS_EVERY_S, SERVES_S = 1.0, 120.0
# For how long the leading node is left as it is until the others, which are upgraded at once with it, accept no call. A
# command takes seconds to start on a busy machine.
TRIED_S = 60.0
# How long to wait for the outcome of an upgrade that has probably not ended.
OUTCOME_S = 0.1

AGAIN = "run `sesame cluster upgrade` again: it goes on with the nodes that are left"
AGAIN_ALL = "run `sesame cluster upgrade --restart` again: it begins with all nodes"
_OVER = "Nodes start with what is installed: those that were not upgraded run it after the next start of the cluster."


class Nodes(Protocol):
    """The part of `on_ray.cluster.Cluster` that is used here."""

    def reports(self) -> list[Report]: ...

    def begin(self, machine: str, arguments: Sequence[str], within_s: float) -> Any: ...

    def outcome(self, begun: Any, within_s: float) -> Ran | None: ...

    def upgrades(self, who: str, *, ends: bool = False) -> str: ...


class Plan(msgspec.Struct, frozen=True):
    """What to upgrade. `upgraded` are the nodes that run another `version` or `build` than installed, in their order.

    With `restart` they are all nodes. With `together` they are upgraded at once, otherwise one after the other. If
    there are `problems`, nothing may be upgraded.
    """

    version: str
    build: str = ""
    upgraded: tuple[Report, ...] = ()
    done: tuple[Report, ...] = ()
    together: bool = False
    restart: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return _shown(self.version, self.build)

    @property
    def again(self) -> str:
        """The next step after an upgrade that stopped."""
        return AGAIN_ALL if self.restart else AGAIN

    def runs_on(self, report: Report) -> bool:
        return _runs_what(report, self.version, self.build)

    def step(self, report: Report) -> str:
        """Describes what changes for one of `upgraded`."""
        if self.runs_on(report):
            return f"{self.shown}, starts again"
        if report.version != self.version:
            return f"{report.version} → {self.version}"
        return f"{_shown(report.version, report.standing.build)} → {self.shown}"


class Broken(Exception):
    """The upgrade stopped: what happened, and the next `step` if that is not simply to repair it."""

    def __init__(self, what: str, step: str = "") -> None:
        super().__init__(what.rstrip("."))
        self.step = step


def asked(nodes: Nodes, reports: Sequence[Report]) -> dict[str, Installed | str]:
    """What is installed on each machine, by its id; a text that says why if that is unknown."""
    begun = {each.machine: nodes.begin(each.machine, ASKS, ASKED_S) for each in reports if _runs(each)}
    return {machine: _told(nodes.outcome(each, ASKED_S)) for machine, each in begun.items()}


def plan(
    reports: Sequence[Report], installed: Mapping[str, Installed | str], ray: str, *, together: bool,
    restart: bool = False,
) -> Plan:  # fmt: skip
    """Plans the upgrade. `ray` is the version of Ray that runs.

    `together` is whether calls may wait. With `restart` all nodes are restarted.
    """
    problems = list(_of_machines(reports, installed, ray))
    found = {machine: each for machine, each in installed.items() if isinstance(each, Installed)}
    kinds = {(each.version, each.build) for each in found.values()}
    if len(kinds) > 1:
        of_versions = len({version for version, _build in kinds}) > 1
        shown = {
            name: each.version if of_versions else _shown(each.version, each.build) for name, each in found.items()
        }
        where = "; ".join(f"{each.where} has {shown[each.machine]}" for each in reports if each.machine in found)
        what = "version" if of_versions else "build"
        problems.append(f"different {what}s are installed: {where}. Install one {what} on every machine")
    if not kinds:
        return Plan("", problems=tuple(problems or ["no node answers"]))
    new = next(iter(found.values()))
    left = [each for each in reports if restart or not _runs_what(each, new.version, new.build)]
    others = [each for each in reports if each not in left]
    differs = any(each.standing.speaks not in ("", new.speaks) for each in left)
    for each in reports:
        ailment = health.ails(each, reports)
        # Except for a node that was upgraded before the others and waits until a node of its own version leads.
        if ailment and not (differs and each in others and health.speaks_otherwise(each, reports)):
            problems.append(f"{each.where}: {ailment.wrong}. {_sentence(ailment.step)}")
    problems += _of_settings(left, found)
    leading = health.leaders(reports)
    if not leading:
        problems.append("no node leads the cluster: wait until one does (`sesame cluster status`), and run this again")
    if left and differs and not together:
        problems.append(
            f"nodes of {new.version} and those that run now cannot be linked, as their messages or records differ: all "
            "of them are to be upgraded at once, and calls wait meanwhile, as long as running ones take to end and a "
            "start takes. Choose a quiet moment, and run this again with --together"
        )
    leads = {each.machine for each in leading}
    order = sorted(left, key=lambda each: (each.machine in leads, each.address))
    notes = _of_database(new, left)
    return Plan(new.version, new.build, tuple(order), tuple(others), differs, restart, tuple(problems), tuple(notes))


class Upgrade:
    """Call `carry_out` once. `stops` returns whether no further node shall begin; `note` is called with progress."""

    def __init__(
        self, nodes: Nodes, who: str, note: Callable[[str], None], stops: Callable[[], bool],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._pause = pause
        self._nodes = nodes
        self._who = who
        self._note = note
        self._stops = stops
        self.upgraded: list[Report] = []

    def carry_out(self, plan: Plan) -> None:
        """On return every node runs what is installed, and serves. Raises `Broken`."""
        if plan.together:
            self._all(plan)
            return
        for number, each in enumerate(plan.upgraded, start=1):
            if self._stops():
                raise Broken("stopped by a signal: no further node was begun", f"{_sentence(plan.again)}.")
            self._keep_turn()
            self._note(f"{number} of {len(plan.upgraded)}: {each.where} …")
            self._judge(each, self._ended(self._begin(each)))
            self._until_all_serve(plan, plan.upgraded[:number])
            self.upgraded.append(each)

    def _begin(self, report: Report) -> Any:
        return self._nodes.begin(report.machine, UPGRADES, UPGRADED_S)

    def _all(self, plan: Plan) -> None:
        self._keep_turn()
        self._note(f"{len(plan.upgraded)} nodes at once: calls wait …")
        # The leading node is the last of the plan. If it ended first, calls that the others still accept would find no
        # node that leads, and be refused.
        *others, last = plan.upgraded
        begun = [(each, self._begin(each)) for each in others]
        self._until_none_accepts(begun)
        begun.append((last, self._begin(last)))
        ended = [(each, self._ended(each_begun)) for each, each_begun in begun]
        for each, ran in ended:
            self._judge(each, ran)
            self.upgraded.append(each)
        self._until_all_serve(plan, plan.upgraded)

    def _until_none_accepts(self, begun: Sequence[tuple[Report, Any]]) -> None:
        """Waits until no node of `begun` accepts calls with what it ran before, for at most TRIED_S.

        One whose upgrade has ended, for example as it was refused, is not waited for.
        """
        for _look in range(int(TRIED_S / LOOKS_EVERY_S)):
            accepts = {(each.machine, each.since) for each in self._nodes.reports() if each.url}
            begun = [
                (each, upgrade)
                for each, upgrade in begun
                if (each.machine, each.since) in accepts and self._nodes.outcome(upgrade, OUTCOME_S) is None
            ]
            if not begun:
                return
            self._keep_turn()
            self._pause(LOOKS_EVERY_S)

    def _ended(self, begun: Any) -> Ran:
        while (ran := self._nodes.outcome(begun, LOOKS_EVERY_S)) is None:
            self._keep_turn()
        return ran

    def _judge(self, report: Report, ran: Ran) -> None:
        if not ran.code:
            return
        if why := self._nodes.upgrades(self._who):
            raise Broken(f"{report.where} was not upgraded, as {why}", _OVER)
        raise Broken(f"{report.where} was not upgraded: {_problem(ran)}")

    def _keep_turn(self) -> None:
        if why := self._nodes.upgrades(self._who):
            raise Broken(why, _OVER)

    def _until_all_serve(self, plan: Plan, begun: Sequence[Report]) -> None:
        """Waits until every reported node serves and the `begun` ones run what is installed. Raises `Broken`."""
        machines = {each.machine for each in begun}
        looks = int(SERVES_S / LOOKS_EVERY_S)
        for look in range(looks + 1):
            reports = self._nodes.reports()
            left = [each for each in reports if not health.serves(each)]
            others = [each for each in reports if each.machine in machines and not plan.runs_on(each)]
            if not left and not others and health.leaders(reports):
                return
            if look < looks:
                self._keep_turn()
                self._pause(LOOKS_EVERY_S)
        ailing = [(each, health.ails(each, reports)) for each in left]
        wrong = [f"{each.where}: {ailment.wrong}" for each, ailment in ailing if ailment]
        wrong += [f"{each.where}: still runs {_runs_now(each)}" for each in others if each not in left]
        raise Broken(f"not every node serves again after {SERVES_S:g} s: {'; '.join(wrong) or 'no node leads'}")


def standing_text(reports: Sequence[Report], plan: Plan, begun: Sequence[Report]) -> list[str]:
    """Lines that describe the state after an upgrade stopped: which nodes run what is installed.

    For a restart, which nodes (`begun`) have started again.
    """
    if not reports:
        return []
    if plan.restart:
        names = {each.machine for each in begun}
        again = [each.where for each in plan.upgraded if each.machine in names]
        left = [each.where for each in plan.upgraded if each.machine not in names]
        return [f"Started again: {', '.join(again) or 'no node'}; not yet: {', '.join(left) or 'none'}."]
    runs = [each.where for each in reports if plan.runs_on(each)]
    others = [f"{each.where} ({_runs_now(each)})" for each in reports if not plan.runs_on(each)]
    return [f"{plan.shown} runs on {', '.join(runs) or 'no node'}; not yet on {', '.join(others) or 'none'}."]


def _runs_what(report: Report, version: str, build: str) -> bool:
    """Compares by version alone if a build is unknown: actors of older versions do not report it."""
    return report.version == version and (report.standing.build == build or "" in (report.standing.build, build))


def _runs_now(report: Report) -> str:
    return _shown(report.version, report.standing.build) if report.version else report.state


def _shown(version: str, build: str) -> str:
    return f"{version}, build {health.shown_build(build)}" if build else version


def _runs(report: Report) -> bool:
    return report.state == State.RUNNING


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _told(ran: Ran | None) -> Installed | str:
    if ran is None:
        return f"it does not answer within {ASKED_S:g} s"
    if ran.code:
        return _problem(ran)
    try:
        return msgspec.json.decode(ran.out.encode(), type=Installed)
    except msgspec.DecodeError:
        return f"what is installed there does not say what it is: it is older than this command. It said {ran.out!r}"


def _problem(ran: Ran) -> str:
    last = ran.err.strip().rpartition("\n")[2]
    try:
        return str(msgspec.json.decode(last.encode())["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return last.removeprefix("error: ") or f"ended with exit code {ran.code}"


def _of_machines(reports: Sequence[Report], installed: Mapping[str, Installed | str], ray: str) -> list[str]:
    found = []
    for each in reports:
        if not _runs(each):
            continue
        told = installed.get(each.machine, "it was not asked")
        if isinstance(told, str):
            found.append(f"{each.where}: what is installed there is not known: {told}")
            continue
        if told.problem:
            found.append(f"{each.where}: {told.version}, which is installed there, cannot start: {told.problem}")
        if told.ray not in ("", ray):
            found.append(
                f"{each.where}: Ray {told.ray} is installed there, and {ray} runs: this command upgrades Sesame alone. "
                f"Install ray=={ray} there again"
            )
    return found


def _of_settings(left: Sequence[Report], installed: Mapping[str, Installed]) -> Iterator[str]:
    """Nodes compare these settings when they start, with those of the node that led last, however many start."""
    for each in left:
        told = installed.get(each.machine)
        if told is not None and told.differs:
            yield (
                f"{each.where}: it would be refused, as settings that nodes must share are others: {told.differs}. An "
                "upgrade cannot change them, also not with --together. Either set them to what the cluster has, or end "
                "it by `sesame cluster stop` and start it with the new ones by `sesame start --cluster`"
            )


def _of_database(new: Installed, left: Sequence[Report]) -> list[str]:
    if not left or not new.knows or not new.database or new.database not in new.knows:
        return []
    brings = [each for each in sorted(new.knows) if each > new.database]
    if not brings:
        return []
    return [
        f"{new.version} brings migrations of the database ({', '.join(brings)}), which the first node that leads with "
        "it makes. Nodes of the version before serve on, but cannot lead from then on, and there is no way back but a "
        "copy of the database: make one first (pg_dump)"
    ]
