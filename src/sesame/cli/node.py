"""`sesame node`: runs one machine of a cluster, in the foreground, until SIGTERM or SIGINT.

Run by what places a cluster on its machines; `_node` has what a node adds to a follower and to a writer.
"""

import asyncio
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import click
import uvloop

from sesame import _agents, _follower, _node  # noqa: F401 - processes are forked from here, and find them imported
from sesame._endpoints import addresses
from sesame.agents.place import Place
from sesame.agents.supervisor import Supervisor, Wanted
from sesame.cli import agents, cluster_needs, ending, output, own_log, start
from sesame.cli.cluster_needs import AGENT_PORT
from sesame.cli.options import settle, with_settings
from sesame.cluster.keys import KEY_FILE, read_key
from sesame.data_dir import DataDir
from sesame.http.listener import listening_socket
from sesame.model.clocks import SystemClocks
from sesame.model.exit_codes import EXIT_INTERRUPTED
from sesame.model.host_and_port import text_of
from sesame.settings import TABLE, Settings

# The candidate, which becomes the writer, and the follower.
PROCESSES = 2
_FIELDS = {"port": "fc", "https_port": "fc_https", "oss_port": "oss", "sls_port": "sls", "sts_port": "sts"}


@click.command(hidden=True)
@click.option("--node", envvar="SESAME_NODE", default=socket.gethostname, help="Name of this machine in the cluster.")
@click.option(
    "--node-address",
    envvar="SESAME_NODE_ADDRESS",
    default="127.0.0.1",
    help="Address at which the other nodes reach this machine, on a network that is theirs alone.",
)
@click.option(
    "--agent-port",
    envvar="SESAME_AGENT_PORT",
    type=int,
    default=AGENT_PORT,
    help="Port for the other nodes; the next one is used as well. 0 takes any free ones.",
)
@click.option(
    "--cluster-key-file",
    envvar="SESAME_CLUSTER_KEY_FILE",
    type=click.Path(path_type=Path),
    help="File with the key of the cluster.",
)
@with_settings()
def node(node: str, node_address: str, agent_port: int, cluster_key_file: Path | None, **flags: Any) -> None:
    """Runs this machine as a node of a cluster."""
    settings = settle(flags)
    cluster_needs.require(settings, agent_port)
    cluster_needs.require_name(node)
    cluster_needs.require_address(node_address)
    key = read_key(cluster_key_file or settings.data_dir / KEY_FILE)
    lock = DataDir(settings.data_dir).lock_for_node()
    own_log.configure()
    start.prepare()
    agents.step_down(settings)
    listening, urls = _listen(settings)
    ports: dict[str, int] = {}
    for name, port in ((_node.AGENT_PORT, agent_port), (_node.WRITER_PORT, agent_port and agent_port + 1)):
        listening[name] = listening_socket(node_address, port)
        ports[name] = listening[name].getsockname()[1]
    this = _node.Node(f"{node}-{secrets.token_hex(4)}", node_address, key, urls, ports)
    output.note(f"Starting node {this.name}, at {this.address(_node.AGENT_PORT)} for other nodes …")

    def run(place: Place) -> int:
        # The data directory is the supervisor's.
        os.close(lock)
        return ending.run(lambda: _be(settings, this, place))

    wanted = Wanted(PROCESSES, listening, run, apart=True)
    sys.exit(Supervisor(wanted, output.note).run())


def _be(settings: Settings, this: _node.Node, place: Place) -> int:
    """The life of one of the node's processes."""
    clocks = SystemClocks()
    try:
        if place.is_writer:
            uvloop.run(
                _node.lead(
                    settings, this, place, clocks,
                    lambda members: start.serve(settings, None, place, members),
                )
            )  # fmt: skip
        else:
            uvloop.run(_follow(settings, this, place, clocks))
    except (start.StoppedAtOnce, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    return 0


async def _follow(settings: Settings, this: _node.Node, place: Place, clocks: SystemClocks) -> None:
    await start.follow(settings, place, _node.OfCluster(settings, this, place, clocks))


def _listen(settings: Settings) -> tuple[dict[str, socket.socket], dict[str, str]]:
    """What listens, by the names of `_endpoints.addresses`, and the URLs by the fields of `data_dir.Endpoints`."""
    listening = agents.listening(settings)
    named = {TABLE[setting].flag: field for setting, field in _FIELDS.items()}
    urls: dict[str, str] = {}
    for name, (host, _port) in addresses(settings).items():
        flag, _port_asked, url = name.split(" ")
        if flag in named:
            urls[named[flag]] = f"{url.partition(':')[0]}://{text_of(host, listening[name].getsockname()[1])}"
    return listening, urls
