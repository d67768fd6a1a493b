"""Finds what is wrong with the nodes of a cluster, and what to do about it, from the reports of their actors alone.

Used by `sesame cluster status`, and by `on_ray.upgrading` before it begins.
"""

from collections.abc import Iterator, Sequence

import msgspec

from sesame.model.standing import LEADS, WAITS
from sesame.on_ray.node_process import State
from sesame.on_ray.order import LOST, STARTING, Report

# Signatures are valid for 15 minutes; synchronized clocks agree within a second.
AHEAD_MAX_S = 30.0
BUILD_SHOWN = 8
_LOGS = "what it wrote is in Ray's folder there (/tmp/ray/session_latest/logs/worker-*.err)"


class Finding(msgspec.Struct, frozen=True):
    """What is wrong and the next step. `machine` is an id, or "" if it concerns the whole cluster."""

    machine: str
    wrong: str
    step: str


def findings(reports: Sequence[Report]) -> list[Finding]:
    """All findings, in the order of the reports; those about the whole cluster are last."""
    found = [finding for report in reports for finding in _of_node(report, reports)]
    return found + list(_of_cluster(reports))


def serves(report: Report) -> bool:
    """Whether the node answers requests and is linked to a node that leads."""
    return bool(report.url) and report.standing.role != WAITS


def shown_build(build: str) -> str:
    """The beginning of a build's digest, long enough to tell builds apart."""
    return build[:BUILD_SHOWN]


def leaders(reports: Sequence[Report]) -> list[Report]:
    """The nodes that report that they lead. Excludes those of an older epoch, which are about to notice their loss."""
    leading = [each for each in reports if serves(each) and each.standing.role == LEADS]
    newest = max((each.standing.epoch for each in leading), default=0)
    return [each for each in leading if each.standing.epoch == newest]


def speaks_otherwise(report: Report, reports: Sequence[Report]) -> bool:
    """Whether the node cannot be linked to the leader because its messages or records differ."""
    spoken = {each.standing.speaks for each in leaders(reports)}
    return bool(spoken and report.standing.speaks) and report.standing.speaks not in spoken


def ails(report: Report, reports: Sequence[Report]) -> Finding | None:
    """Why the node does not serve, or has no leader; None if it serves."""
    if report.state == State.RUNNING and serves(report):
        return None
    standing = report.standing
    wrong = step = ""
    match report.state:
        case "starting":
            wrong, step = "its actor has not begun yet", "wait: on a busy machine that takes more than a minute"
        case "lost":
            for_s = f" for {report.heard_s:.0f} s" if report.heard_s else ""
            wrong = f"nothing is heard of its actor{for_s}"
            step = (
                "look whether the machine is there and Ray runs on it (`ray status`); where Ray has given it up, start "
                "Ray there again, and a node is placed by itself"
            )
        case "refused":
            wrong, step = "no node is started there", "mend what it says, then start Ray there again"
        case State.WAITING:
            wrong = "its node has ended"
            step = f"mend what it says: it is started again by itself; {_LOGS}"
        case State.STOPPING:
            wrong, step = "its node is ending", "wait until its running calls have ended"
        case State.STOPPED:
            wrong, step = "its node was drained", "start Ray there again to have a node there"
        case _ if standing.why:
            wrong = f"{'has no writer' if report.url else 'serves nothing'}: {standing.why}"
            step = f"mend that: it goes on by itself; {_LOGS}"
            if speaks_otherwise(report, reports):
                wrong = f"serves nothing: it runs {report.version}, whose messages or records are not those of the node"
                wrong += " that leads"
                step = "install one version on every machine, and run `sesame cluster upgrade`"
        case _:
            wrong, step = "its node starts", f"wait; if it does not come, {_LOGS}"
    return Finding(report.machine, wrong, step)


def _of_node(report: Report, reports: Sequence[Report]) -> Iterator[Finding]:
    if (ailment := ails(report, reports)) is not None:
        yield ailment
    if report.short:
        yield Finding(report.machine, report.short, "free space there: until then no instance starts on it")
    if abs(report.ahead_s) > AHEAD_MAX_S:
        way = "ahead of" if report.ahead_s > 0 else "behind"
        yield Finding(
            report.machine,
            f"its clock is {abs(report.ahead_s):.0f} s {way} that of this machine",
            "have both follow the same time (NTP): signatures hold for 15 minutes, and timers go by the clock of the "
            "node that leads",
        )


def _of_cluster(reports: Sequence[Report]) -> Iterator[Finding]:
    if not reports:
        yield Finding("", "Ray has no machine that offers processors", "start Ray on some, with --num-cpus above 0")
        return
    leading = leaders(reports)
    if not leading and any(each.state not in (LOST, STARTING) for each in reports):
        yield Finding(
            "",
            "no node leads: calls that need the writer wait, for up to 40 s",
            "wait some seconds and look again; if none leads then, look whether the database is reached, and what the "
            "nodes say",
        )
    if len({each.standing.speaks for each in reports if each.standing.speaks}) > 1:
        return
    if len(versions := sorted({each.version for each in reports if each.version})) > 1:
        yield Finding("", f"nodes run different versions: {', '.join(versions)}", "run `sesame cluster upgrade`")
    elif len(builds := sorted({each.standing.build for each in reports if each.standing.build})) > 1:
        yield Finding(
            "",
            f"nodes run different builds of one version: {', '.join(shown_build(each) for each in builds)}",
            "install the same one on every machine, and run `sesame cluster upgrade`",
        )
