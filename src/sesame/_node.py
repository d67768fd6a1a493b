"""What a node of a cluster adds to a follower and to a writer: links to other machines, and the leadership.

Used by `cli.node` in the processes that a node's supervisor started. The node's follower announces its address.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog

from sesame._cloud import CloudTrust
from sesame._engine import memory_mb
from sesame._installed import ENVIRONMENT, VERSION
from sesame._node_packages import PackagesNeeds, open_packages
from sesame._sandbox import OpenSandbox
from sesame._shared_settings import shared
from sesame._tunnels import FollowersNeeds, OfFollower, offer_to_instances, tunnels_of_follower
from sesame.agents.follower import Follower
from sesame.agents.packages import LeasedPackages
from sesame.agents.policies import LINGER_S
from sesame.agents.this_agent import ThisAgent
from sesame.cluster.following import CONNECTS_WITHIN_S, Following, Own
from sesame.cluster.handshake import Purpose
from sesame.cluster.joining import Joins, join, speaks
from sesame.cluster.members import Members
from sesame.cluster.node_packages import NodePackages
from sesame.cluster.port import address_of, connect
from sesame.cluster.rules import BEAT_S
from sesame.cluster.sameness import Same, key_digest
from sesame.cluster.seat import OtherSettings, Seat, holder_of_writer
from sesame.data_dir import Credentials, DataDir, Endpoints, RestartRefused
from sesame.http.server import HttpServer
from sesame.model.account import AccessKey
from sesame.model.clocks import Clocks
from sesame.model.errors import PlatformError
from sesame.model.host_and_port import text_of
from sesame.model.standing import Standing
from sesame.settings import Settings
from sesame.store.blobs.ownership import require_own_directory
from sesame.store.catalog import Catalog
from sesame.store.sql.leadership import Leadership

# Names under which the supervisor passes the listening agent ports to its processes.
AGENT_PORT, WRITER_PORT = "agent port of the follower", "agent port of the writer"
# How long requests wait for a writer: until another one leads, and has heard from all others or outlived their leases.
WRITER_AWAY_S = 40.0

log = structlog.get_logger("sesame.cluster")


class Node(msgspec.Struct, frozen=True):
    """One machine. `name` is new with each start; `host` is its address for other nodes; `key` is the cluster's.

    `urls` of its endpoints, by the fields of `data_dir.Endpoints`; `ports` of the two agent ports, by their names;
    `build` of the Sesame that it runs.
    """

    name: str
    host: str
    key: bytes
    urls: Mapping[str, str]
    ports: Mapping[str, int]
    build: str = ""

    @property
    def agent_ports(self) -> frozenset[int]:
        """The agent ports of this node, which other nodes share unless configured otherwise."""
        return frozenset(self.ports.values())

    def address(self, port: str) -> str:
        return text_of(self.host, self.ports[port])


class OfCluster:
    """A follower's part in a cluster. Built in its process."""

    away_s = WRITER_AWAY_S

    def __init__(self, settings: Settings, node: Node, this_agent: ThisAgent, clocks: Clocks) -> None:
        assert settings.database is not None
        self._settings = settings
        self._node = node
        self._this_agent = this_agent
        self._clocks = clocks
        self._data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
        self._tunnels: OfFollower | None = None
        self._leadership = Leadership(settings.database, f"follower {node.name}")
        own = Own(
            node.name,
            node.address(AGENT_PORT),
            node.key,
            memory_mb(settings),
            settings.max_disk_mb,
            shared(settings, node.key),
            VERSION,
            node.build,
        )
        self.following = Following(own, self._leadership, this_agent.lives, clocks)
        self.following.stands = self._stand

    async def begin(self, follower: Follower, teardown: AsyncExitStack) -> None:
        """Starts looking for a writer."""
        self._this_agent.attend()
        needs = FollowersNeeds(
            self._settings,
            self._node.name,
            self._node.key,
            self._this_agent,
            self.following,
            AGENT_PORT,
            self.away_s,
            teardown,
        )
        # Stays open until the last tunnel has ended: a follower that stops asking for its writer is soon killed.
        teardown.push_async_callback(self._leadership.close)
        teardown.callback(self.following.close)
        self._tunnels = tunnels_of_follower(needs, follower)
        self.following.begin(follower, _ends_with)

    async def packages(
        self, writers: LeasedPackages, catalog: Catalog, sandbox: OpenSandbox, teardown: AsyncExitStack
    ) -> NodePackages:
        """Opens this node's copy of code packages."""
        needs = PackagesNeeds(self._data_dir, self._clocks, self.following, teardown)
        return await open_packages(needs, writers, catalog, sandbox)

    def _stand(self, standing: Standing) -> None:
        try:
            self._data_dir.stand(standing)
        except OSError as error:
            log.warning("this node cannot say how it is; it goes on", error=str(error))

    def answers(self, server: HttpServer) -> None:
        """Starts serving requests of other nodes."""
        assert self._tunnels is not None
        self._tunnels.arrivals.open(server)

    async def drain(self, server: HttpServer, grace_s: float) -> None:
        """As `cluster.arrivals.Arrivals.drain`."""
        assert self._tunnels is not None
        await self._tunnels.arrivals.drain(self._tunnels.port, (server,), grace_s)

    def hurry(self, server: HttpServer) -> None:
        """Ends the grace time of `drain` at once."""
        assert self._tunnels is not None
        self._tunnels.arrivals.close()
        server.hurry()

    async def trusted(self) -> Path | None:
        """The certificate file that functions trust; None if the cloud's names are disabled."""
        if self._settings.cloud_names != "on":
            return None
        folder = self._data_dir.of_follower / "authority"
        return await asyncio.to_thread(CloudTrust(folder, self._node.key).open)

    def offer(self, sandbox: OpenSandbox, teardown: AsyncExitStack) -> None:
        """Offers the services of the cluster to instances with networks of their own."""
        assert self._tunnels is not None
        offer_to_instances(self._settings, self._tunnels.answers, sandbox.driver, self._node.agent_ports, teardown)

    def announce(self, key: AccessKey, sandbox: str, teardown: AsyncExitStack) -> None:
        """Announces that the node answers."""
        endpoints = Endpoints(
            account_id=key.account_id,
            region=self._settings.region,
            **self._node.urls,
            sandbox=sandbox,
            pid=self._this_agent.config.supervisor,
            started_at=self._clocks.wall(),
            restarts=self._this_agent.config.restarts,
            restart_refused=None,
            of_cluster=True,
            version=VERSION,
            environment=ENVIRONMENT,
        )
        credentials = Credentials(key.account_id, key.access_key_id, key.secret)
        self._data_dir.announce(endpoints, credentials)
        teardown.callback(self._data_dir.withdraw)

        def refuse(why: str) -> None:
            refused = RestartRefused(self._clocks.wall(), why)
            self._data_dir.announce(msgspec.structs.replace(endpoints, restart_refused=refused), credentials)

        self._this_agent.refuse_by(refuse)


async def lead(
    settings: Settings, node: Node, this_agent: ThisAgent, clocks: Clocks, serve: Callable[[Members], Awaitable[None]]
) -> None:
    """Runs a candidate: waits until it leads, then becomes the writer, whose whole life is `serve`."""
    assert settings.database is not None
    stopping = asyncio.Event()
    this_agent.attend()
    this_agent.stop_by(stopping.set)
    database, same = settings.database, shared(settings, node.key)
    seat = Seat(
        lambda: Leadership(database, f"candidate {node.name}"), node.name, node.address(WRITER_PORT), clocks, same
    )
    try:
        await seat.leadership.open()
        number = await seat.leadership.number()
        await asyncio.to_thread(require_own_directory, settings.data_dir, number, seat.leadership.shown)
        try:
            await seat.belong(key_digest(node.key))
        except OtherSettings as refused:
            await _tell_leader(refused, node, same)
            raise
        this_agent.ready()
        # The process before this one may have led; its instances have ended after this time.
        await clocks.sleep(LINGER_S)
        waiting = asyncio.ensure_future(_wait(seat, this_agent, clocks))
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})
            return
        waiting.result()
        handed = this_agent.handover.take(WRITER_PORT)
        assert handed is not None
        members = Members(seat, socket.socket(fileno=handed.listening), node.key, clocks, node.agent_ports)
        members.begin()
        if not stopping.is_set():
            await serve(members)
    finally:
        await seat.leave()


async def _wait(seat: Seat, this_agent: ThisAgent, clocks: Clocks) -> None:
    while True:
        try:
            await seat.leadership.ended(holder_of_writer(seat.node))
            break
        except PlatformError as error:
            log.warning("the database of the cluster does not answer; trying again", error=str(error))
            await clocks.sleep(BEAT_S)
    await seat.wait(_end, this_agent.lives)


async def _tell_leader(refused: OtherSettings, node: Node, same: Same) -> None:
    """Reports different settings to the leader, so that its log contains them too."""
    leader = refused.leader
    asks = Joins(
        node.name, node.address(AGENT_PORT), leader.epoch, 0, None,
        settings=dict(same), only_asks=True, speaks=speaks(),
    )  # fmt: skip
    try:
        with await connect(address_of(leader.address), node.key, Purpose.LINK, within_s=CONNECTS_WITHIN_S) as connected:
            await join(connected, asks)
    except (OSError, PlatformError) as answer:
        log.info("the node that leads was told why this one does not join", leader=leader.node, answer=str(answer))


def _end(why: str) -> None:
    """Kills this process at once, because another one leads or soon will. The supervisor restarts it as a candidate."""
    log.error("this node's writer ends", why=why)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _ends_with(task: "asyncio.Task[None]") -> None:
    """Ends the process when `task` fails: a follower that no longer looks for its writer can serve nobody."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("this node's follower ends", exc_info=error)
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
