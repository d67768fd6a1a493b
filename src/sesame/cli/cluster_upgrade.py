"""`sesame cluster upgrade`: restarts one node after the other with the version now installed on its machine.

`on_ray.upgrading` does the upgrade; this module has the messages, signals and exit code.
"""

import os
import socket
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from sesame.cli import output
from sesame.cli.cluster_signals import Signals
from sesame.cli.json_option import with_json
from sesame.cli.ray_option import with_ray_address
from sesame.model.errors import ConfigurationError
from sesame.model.standing import LEADS
from sesame.on_ray import upgrading
from sesame.on_ray.cluster import Cluster, Stopped, required
from sesame.on_ray.order import Report


@click.command()
@click.option("--dry-run", is_flag=True, help="Shows problems and what would be done, and changes nothing.")
@click.option(
    "--together",
    is_flag=True,
    help="Upgrades all nodes at once if old and new ones cannot communicate; calls wait meanwhile.",
)
@click.option(
    "--restart",
    is_flag=True,
    help="Also restarts nodes that run the installed version, such as after updating a library.",
)
@with_json
@with_ray_address
def upgrade(*, dry_run: bool, together: bool, restart: bool, as_json: bool, ray_address: str | None) -> None:
    """Restarts each node with the version now installed on its machine, one after the other, the leader last.

    Nodes that already run that version are skipped. Install the new version on every machine first. The command checks
    for problems before it changes anything, stops at the first node that fails, and continues from there when run
    again. Calls wait, and none fails.
    """
    with required(ray_address) as cluster:
        output.note("Asking every machine …")
        reports = cluster.reports()
        installed = upgrading.asked(cluster, reports)
        plan = upgrading.plan(reports, installed, cluster.ray_version, together=together, restart=restart)
        if plan.problems:
            raise ConfigurationError("nothing was upgraded:\n" + "\n".join(f"  * {each}" for each in plan.problems))
        for line in _planned(plan):
            output.note(line)
        upgraded: list[Report] = []
        if plan.upgraded and not dry_run:
            upgraded = _carried_out(cluster, plan)
        if as_json:
            output.json_document(_document(plan, upgraded))


def _carried_out(cluster: Cluster, plan: upgrading.Plan) -> list[Report]:
    who = f"process {os.getpid()} on {socket.gethostname()}"
    signals = Signals(
        "Stopping once this node serves again; another signal leaves at once …",
        f"Left: the node under way goes on by itself. When it serves, {plan.again}.",
    )
    under_way = upgrading.Upgrade(cluster, who, output.note, signals.stopped.is_set)
    if why := cluster.upgrades(who):
        raise ConfigurationError(f"nothing was upgraded: {why}")
    signals.heed()
    try:
        under_way.carry_out(plan)
    except upgrading.Broken as broken:
        _leave(cluster, who)
        stands = upgrading.standing_text(_reports(cluster), plan, under_way.upgraded)
        step = broken.step or f"Mend that, and {plan.again}."
        raise ConfigurationError("\n  ".join([f"{broken}.", *stands, step])) from broken
    except Stopped as stopped:
        raise ConfigurationError(f"{len(under_way.upgraded)} nodes were upgraded; then {stopped}") from stopped
    except ConfigurationError as unheard:
        _leave(cluster, who)
        raise ConfigurationError(
            f"{len(under_way.upgraded)} nodes were upgraded; then {unheard}\n  A node under way goes on by itself. "
            f"Once `sesame cluster status` tells of all nodes, {plan.again}."
        ) from unheard
    _leave(cluster, who)
    output.note(f"Every node runs {plan.shown} and serves.")
    return under_way.upgraded


def _leave(cluster: Cluster, who: str) -> None:
    try:
        cluster.upgrades(who, ends=True)
    except ConfigurationError:
        # The upgrade is nearly complete, or the cluster has ended.
        return


def _reports(cluster: Cluster) -> list[Report]:
    try:
        return cluster.reports()
    except ConfigurationError:
        return []


def _planned(plan: upgrading.Plan) -> Iterator[str]:
    yield from plan.notes
    for each in plan.done:
        yield f"{each.where}: runs {plan.shown} already"
    if not plan.upgraded:
        yield (
            f"Every node runs {plan.shown}, which is installed: there is nothing to do. To start all of them again, as "
            "after an update of a library: --restart."
        )
    for number, each in enumerate(plan.upgraded, start=1):
        when = "with the others" if plan.together else f"{number} of {len(plan.upgraded)}"
        leads = ", leads" if each.standing.role == LEADS else ""
        yield f"{each.where}: {plan.step(each)}, {when}{leads}"


def _document(plan: upgrading.Plan, upgraded: list[Report]) -> dict[str, Any]:
    def told(report: Report) -> dict[str, Any]:
        return {"machine": report.machine, "address": report.address, "host": report.host, "version": report.version}

    return {
        "version": plan.version,
        "build": plan.build,
        "together": plan.together,
        "restart": plan.restart,
        "planned": [told(each) for each in plan.upgraded],
        "upgraded": [{**told(each), "version": plan.version} for each in upgraded],
        "there_already": [told(each) for each in plan.done],
        "notes": msgspec.to_builtins(plan.notes),
    }
