"""Opens tunnels: forwards connections that another node of a cluster serves, and accepts those of other nodes.

Called by `_follower` through `_node` in a follower's process, and by `_agents` in the writer's.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack

import msgspec
import structlog

from sesame._cloud import add_trust
from sesame._listening import addresses, share_of_limits
from sesame._network import OwnNetworks, add_host, offer_network
from sesame.agents.follower import Follower
from sesame.agents.this_agent import ThisAgent
from sesame.agents.writer import Writer
from sesame.cluster.arrivals import Arrivals
from sesame.cluster.carrying import Carrier
from sesame.cluster.following import Following
from sesame.cluster.handshake import Purpose
from sesame.cluster.inside import NodeAnswers
from sesame.cluster.led_endpoint import LedEndpoint
from sesame.cluster.members import Members
from sesame.cluster.port import Address, AgentPort
from sesame.cluster.tunnels import Tunnels
from sesame.inside.bounds import for_descriptors
from sesame.inside.proxy import Take
from sesame.model.errors import PlatformError
from sesame.model.fair_rate import FairRate
from sesame.sandbox.interface import SandboxDriver
from sesame.sandbox.network import HostAnswers
from sesame.settings import Settings

# The endpoint of Function Compute, which followers serve themselves.
SERVED_HERE = "port"

log = structlog.get_logger("sesame.cluster")


class FollowersNeeds(msgspec.Struct, frozen=True):
    """`agent_port` is the name of its socket in `this_agent`. A client waits for a writer for up to `away_s`.

    `node` is the name of this node.
    """

    settings: Settings
    node: str
    key: bytes
    this_agent: ThisAgent
    following: Following
    agent_port: str
    away_s: float
    teardown: AsyncExitStack


class OfFollower(msgspec.Struct, frozen=True):
    """Open `arrivals` once the endpoint answers; complete `answers` once the sandbox exists. `port` takes them in."""

    arrivals: Arrivals
    answers: NodeAnswers
    port: AgentPort


def tunnels_of_follower(needs: FollowersNeeds, follower: Follower) -> OfFollower:
    """Starts accepting connections of other nodes, which wait for now."""
    this_agent, following, teardown = needs.this_agent, needs.following, needs.teardown
    arrivals = Arrivals()
    teardown.callback(arrivals.close)
    handed = this_agent.handover.take(needs.agent_port)
    assert handed is not None
    port = AgentPort(socket.socket(fileno=handed.listening), needs.key, {Purpose.TUNNEL: arrivals.take})
    teardown.callback(port.close)
    port.start()
    tunnels = Tunnels(needs.key, share_of_limits().connections)
    following.moved = tunnels.end

    async def writer() -> Address:
        await follower.until_followed()
        if following.writer is None:
            raise PlatformError("there is no writer")
        return following.writer

    follower.carry = Carrier(tunnels, writer, follower.adopt, needs.away_s)
    # Closed after the endpoint has stopped, which forwards requests until then.
    teardown.push_async_callback(tunnels.close, needs.settings.drain_s)
    for each in addresses(needs.settings):
        if each.setting != SERVED_HERE and (listening := this_agent.handover.take(each.name)) is not None:
            led = LedEndpoint(each.setting, socket.socket(fileno=listening.listening), tunnels, writer, needs.away_s)
            teardown.callback(led.close)
            led.start()
    answers = NodeAnswers(tunnels, writer, needs.node, FairRate(), needs.away_s)
    follower.answers = answers
    return OfFollower(arrivals, answers, port)


def offer_to_instances(
    settings: Settings, answers: NodeAnswers, driver: SandboxDriver, closed: frozenset[int], teardown: AsyncExitStack
) -> None:
    """Offers in every instance's network the writer's services, once known, and this machine's names and connections.

    `closed` are ports of nodes, which no function may reach.
    """
    bounds = for_descriptors(FairRate(), share_of_limits().connections)

    def offer_own(host: HostAnswers, cloud_ports: Mapping[int, Take]) -> None:
        add_host(host, settings.host)
        if settings.cloud_names == "on":
            add_trust(host)
        offer_network(host, settings, OwnNetworks(driver.network, driver.leads_out, closed=closed), bounds, cloud_ports)

    task = asyncio.get_running_loop().create_task(answers.complete(offer_own))
    task.add_done_callback(_say)
    teardown.callback(task.cancel)


def _say(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("networks of instances cannot be made", exc_info=error)


def tunnels_of_writer(members: Members, writer: Writer, teardown: AsyncExitStack) -> None:
    """Forwards requests to followers. Connections from them wait until `Members.open`."""
    tunnels = Tunnels(members.key, share_of_limits().connections)
    # The endpoints have drained before.
    teardown.push_async_callback(tunnels.close, 0.0)
    writer.addresses = members.addresses

    async def itself() -> Address:
        raise PlatformError("the writer leads nothing to itself")

    writer.carry = Carrier(tunnels, itself, writer.adopt)
