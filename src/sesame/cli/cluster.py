"""`sesame start --cluster` and `sesame cluster`: run one Sesame on every machine of a running Ray cluster.

Ray places and monitors the nodes (`on_ray`); this process only reports on them and stops them.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from sesame.cli import cluster_status, output
from sesame.cli.cluster_order import order_of
from sesame.cli.cluster_signals import Signals
from sesame.cli.cluster_upgrade import upgrade
from sesame.cli.ending import EXIT_NOT_RUNNING
from sesame.cli.json_option import with_json
from sesame.cli.options import settle, with_settings
from sesame.cli.ray_option import with_ray_address
from sesame.cluster.keys import KEY_FILE, make_key, read_key
from sesame.cluster.sameness import key_digest
from sesame.model.clocks import SystemClocks
from sesame.model.errors import ConfigurationError
from sesame.on_ray import health
from sesame.on_ray.cluster import Elsewhere, Stopped, begun, required, running
from sesame.on_ray.order import LOST, Report
from sesame.settings import Settings


class Asked(msgspec.Struct, frozen=True):
    """Parameters of `sesame start --cluster` besides the settings."""

    ray_address: str | None
    key_file: Path | None
    agent_port: int
    detach: bool


def run(settings: Settings, asked: Asked) -> int:
    """Runs a node on every machine until a signal, which may leave them running. Returns the exit code."""
    order = order_of(settings, asked.key_file, asked.agent_port)
    signals = Signals("", "Left: the nodes go on stopping.")
    output.note("Connecting to Ray …")
    with begun(asked.ray_address, order) as cluster:
        output.note("The cluster is placed: a node on every machine of Ray that offers processors.")
        if asked.detach:
            output.note(
                "It runs on without this command: `sesame cluster status` shows it, `sesame cluster stop` ends it."
            )
            return 0
        signals.heed()
        try:
            cluster.watch(output.note, signals.stopped.wait)
        except Stopped:
            output.note("Stopped, by another command.")
            return 0
        except Elsewhere as elsewhere:
            output.note(f"Starting over: {elsewhere}.")
            sys.stdout.flush()
            sys.stderr.flush()
            # Ray's connection to a vanished head never ends. Re-executing keeps the process id that a supervisor knows.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        output.note(
            f"Stopping: no new calls; running ones get {settings.drain_s:g} s to end, or less by another signal …"
        )
        return _drained(cluster.drain())


def _drained(left: list[Report]) -> int:
    for report in left:
        output.note(f"{report.address} ({report.host}): did not report its end; no longer waiting for it.")
    output.note("Stopped.")
    return 1 if left else 0


@click.group()
def cluster() -> None:
    """Shows the state of a cluster's nodes; upgrades, drains and stops them; makes or changes the cluster's key.

    `sesame start --cluster` starts a cluster.
    """


@cluster.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@with_json
@with_settings("data_dir")
def key(path: Path | None, as_json: bool, **flags: Any) -> None:
    """Writes a new cluster key to PATH, by default `cluster.key` in the data directory."""
    settings = settle(flags)
    if path is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = settings.data_dir / KEY_FILE
    make_key(path)
    if as_json:
        output.json_document({"path": str(path)})
    output.note(f"The key is in {path}. It authenticates the cluster's nodes: keep it secret like a password.")


@cluster.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@with_json
@with_settings("data_dir", "database")
def rekey(path: Path | None, as_json: bool, **flags: Any) -> None:
    """Makes a cluster whose nodes are all stopped use the key in PATH from now on.

    PATH is `cluster.key` in the data directory by default. Every node then starts with a copy of that file.
    """
    settings = settle(flags)
    if settings.database is None or "://" not in settings.database:
        raise ConfigurationError(
            "database is not given; expected that of the cluster: --database postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    path = path or settings.data_dir / KEY_FILE
    # Needs only a database.
    from sesame.store.sql.leadership import rekey as change

    change(settings.database, key_digest(read_key(path)))
    if as_json:
        output.json_document({"path": str(path)})
    output.note(f"The key in {path} is the cluster's from here on: copy the file to every node, then start them.")


@cluster.command()
@with_json
@with_ray_address
def status(as_json: bool, ray_address: str | None) -> None:
    """Shows the state of each machine's node, what is wrong, and the next step.

    Exits with 3 if no cluster runs, and with 1 if something is wrong.
    """
    with running(ray_address) as nodes:
        reports, upgrader = (None, "") if nodes is None else (nodes.reports(), nodes.upgrader())
    found = [] if reports is None else health.findings(reports)
    if as_json:
        output.json_document(
            {
                "running": reports is not None,
                "nodes": msgspec.to_builtins(reports or []),
                "problems": msgspec.to_builtins(found),
                "upgraded_by": upgrader or None,
            }
        )
    elif reports is None:
        output.out.print("No cluster of Sesame runs on this Ray.", markup=False)
    else:
        for line in cluster_status.lines(reports, found, SystemClocks().wall(), upgrader):
            output.out.print(output.harmless(line), markup=False)
    if reports is None:
        raise SystemExit(EXIT_NOT_RUNNING)
    if found:
        raise SystemExit(1)


@cluster.command()
@click.argument("machine")
@with_json
@with_ray_address
def drain(machine: str, as_json: bool, ray_address: str | None) -> None:
    """Drains the node of one MACHINE, given by address or host name, before Ray is stopped there.

    Running calls get `--drain-s` to end; if the node is the leader, another one takes over. The machine gets a node
    again when Ray is restarted there. Exits with 1 if the node did not end in time.
    """

    with required(ray_address) as found:
        report = named(found.reports(), machine)
        output.note(f"{report.where}: no new calls; running ones get their time to end …")
        ended = found.drain_node(report.machine)
    if as_json:
        output.json_document({"machine": report.machine, "address": report.address, "ended": ended})
    output.note(f"{report.where}: {'has ended' if ended else 'did not end in time, and goes on ending'}.")
    raise SystemExit(0 if ended else 1)


def named(reports: list[Report], machine: str) -> Report:
    found = [each for each in reports if machine in (each.address, each.host, each.machine)]
    # To Ray, a machine that has come back is a new one; Ray needs some 15 s to give up the old one.
    found = [each for each in found if each.state != LOST] or found
    if len(found) != 1:
        machines = ", ".join(each.where for each in reports) or "none"
        raise ConfigurationError(
            f"{len(found) or 'no'} machines of the cluster are '{machine}'; expected the address or the host name of "
            f"one: {machines}"
        )
    return found[0]


@cluster.command()
@with_json
@with_ray_address
def stop(as_json: bool, ray_address: str | None) -> None:
    """Drains every node: running calls get `--drain-s` to end. Exits with 3 if no cluster runs."""
    output.note("Stopping: no new calls; running ones get their time to end …")
    with required(ray_address) as found:
        left = found.drain()
    if as_json:
        output.json_document({"given_up": msgspec.to_builtins(left)})
    raise SystemExit(_drained(left))


cluster.add_command(upgrade)
