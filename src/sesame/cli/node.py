"""`sesame node`: runs one machine of a cluster in the foreground, until SIGTERM or SIGINT.

Run by the component that places a cluster on its machines; `_node` extends a follower and a writer to a node.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import uvloop

from sesame import _agents, _follower, _node  # noqa: F401 - processes are forked from here, and find them imported
from sesame._installed import build_of
from sesame._listening import addresses
from sesame._shared_settings import shared
from sesame.agents.supervisor import Supervisor, Wanted
from sesame.agents.this_agent import ThisAgent
from sesame.cli import agents, cluster_needs, ending, output, own_log, start
from sesame.cli.cluster_needs import AGENT_PORT
from sesame.cli.delegated import is_the_program
from sesame.cli.options import settle, with_settings
from sesame.cluster.keys import KEY_FILE, read_key
from sesame.data_dir import DataDir
from sesame.http.handover import Handover
from sesame.http.listener import listening_socket
from sesame.model.clocks import SystemClocks
from sesame.model.exit_codes import EXIT_INTERRUPTED
from sesame.model.host_and_port import text_of
from sesame.settings import Settings

# The candidate, which becomes the writer, and the follower.
PROCESSES = 2
# The process id for which it is set, and the node's name in that process.
STARTED_AS = "SESAME_NODE_STARTED_AS"
_FIELDS = {
    "port": "fc", "https_port": "fc_https", "oss_port": "oss", "sls_port": "sls", "sts_port": "sts",
    "metrics_port": "metrics",
}  # fmt: skip


@click.command(hidden=True)
@click.option("--node", envvar="SESAME_NODE", default=socket.gethostname, help="Name of this machine in the cluster.")
@click.option(
    "--node-address",
    envvar="SESAME_NODE_ADDRESS",
    default="127.0.0.1",
    help="Address of this machine for the other nodes, on a private network of the nodes.",
)
@click.option(
    "--agent-port",
    envvar="SESAME_AGENT_PORT",
    type=int,
    default=AGENT_PORT,
    help="Port for the other nodes; the following port is used as well. 0 takes free ports.",
)
@click.option(
    "--cluster-key-file",
    envvar="SESAME_CLUSTER_KEY_FILE",
    type=click.Path(path_type=Path),
    help="File with the key of the cluster.",
)
@click.option(
    "--tell", is_flag=True, help="Prints the installed version and whether it could start, without starting it."
)
@with_settings()
def node(
    node: str, node_address: str, agent_port: int, cluster_key_file: Path | None, *, tell: bool, **flags: Any
) -> None:
    """Runs this machine as a node of a cluster."""
    settings = settle(flags)
    if tell:
        # Imported late: only an upgrade needs it.
        from sesame.cli.node_installed import installed
        from sesame.cli.startable import check_node

        given = click.get_current_context().params
        found = installed(
            settings.database,
            lambda: check_node(settings, given),
            lambda: shared(settings, read_key(cluster_key_file or settings.data_dir / KEY_FILE)),
        )
        output.json_document(found)
        return
    cluster_needs.require(settings, agent_port)
    cluster_needs.require_name(node)
    cluster_needs.require_address(node_address)
    key = read_key(cluster_key_file or settings.data_dir / KEY_FILE)
    # As early as possible: another version may be installed at any time.
    build = build_of()
    lock = DataDir(settings.data_dir).lock_for_node()
    own_log.configure()
    start.prepare()
    agents.step_down(settings)
    kept = agents.received()
    handover = Handover(() if kept is None else kept.handed)
    own: dict[str, socket.socket] = {}
    ports: dict[str, int] = {}
    for name, port in ((_node.AGENT_PORT, agent_port), (_node.WRITER_PORT, agent_port and agent_port + 1)):
        handed = handover.take(name)
        own[name] = socket.socket(fileno=handed.listening) if handed else listening_socket(node_address, port)
        ports[name] = own[name].getsockname()[1]
    listening, waiting = agents.listening(settings, handover)
    this = _node.Node(_name(node), node_address, key, _urls(settings, listening), ports, build)
    output.note(f"Starting node {this.name}, at {this.address(_node.AGENT_PORT)} for other nodes …")

    def run(this_agent: ThisAgent) -> int:
        # The supervisor owns the data directory.
        os.close(lock)
        return ending.run(lambda: _be(settings, this, this_agent))

    wanted = Wanted(
        PROCESSES,
        {**listening, **own},
        run,
        apart=True,
        waiting=waiting,
        anew=agents.Anew() if is_the_program() else None,
    )
    sys.exit(Supervisor(wanted, output.note).run())


def _name(node: str) -> str:
    """A new name for each start; the same name if the program restarts inside its process."""
    pid, _, kept = os.environ.get(STARTED_AS, "").partition(":")
    name = kept if pid == str(os.getpid()) else f"{node}-{secrets.token_hex(4)}"
    os.environ[STARTED_AS] = f"{os.getpid()}:{name}"
    return name


def _be(settings: Settings, this: _node.Node, this_agent: ThisAgent) -> int:
    """Runs one of the node's processes until it ends; returns the exit code."""
    clocks = SystemClocks()
    try:
        if this_agent.is_writer:
            uvloop.run(
                _node.lead(
                    settings, this, this_agent, clocks,
                    lambda members: start.serve(settings, None, this_agent, members),
                )
            )  # fmt: skip
        else:
            uvloop.run(_follow(settings, this, this_agent, clocks))
    except (start.StoppedAtOnce, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    return 0


async def _follow(settings: Settings, this: _node.Node, this_agent: ThisAgent, clocks: SystemClocks) -> None:
    await start.follow(settings, this_agent, _node.OfCluster(settings, this, this_agent, clocks))


def _urls(settings: Settings, listening: Mapping[str, socket.socket]) -> dict[str, str]:
    """The URLs of the listening sockets, by field of `data_dir.Endpoints`. Keys are the names of the addresses."""
    urls = {
        _FIELDS[each.setting]: f"{each.scheme}://{text_of(each.host, listening[each.name].getsockname()[1])}"
        for each in addresses(settings)
    }
    if "metrics" in urls:
        # Imported late: most nodes serve no metrics.
        from sesame.metrics.endpoint import PATH

        urls["metrics"] += PATH.decode()
    return urls
