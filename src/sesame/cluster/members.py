"""The writer's side of links to other nodes: which nodes may hold instances, and when none of theirs are left.

Built by `_node` for the writer. It takes the place of the supervisor, which introduces agents on one machine.
"""

import asyncio
import contextlib
import itertools
import socket
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import structlog

from sesame.agents import messages as m
from sesame.agents.followed import Followed
from sesame.agents.link import EarlyLink, Link
from sesame.agents.writer import Writer
from sesame.cluster.arrivals import Arrivals
from sesame.cluster.handshake import Purpose
from sesame.cluster.joining import Joined, answer, hear, other_version
from sesame.cluster.port import Address, AgentPort, address_of
from sesame.cluster.rules import HOLD_S, Holds
from sesame.cluster.sameness import difference
from sesame.cluster.seat import Seat, holder_of_follower
from sesame.engine.policies import Caps
from sesame.http.server import HttpServer
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import PlatformError
from sesame.model.seldom import Seldom

LOOKS_EVERY_S = 0.25
# How often the row of holders is read while a writer waits for holders from before its epoch.
ROWS_EVERY_S = 1.0

log = structlog.get_logger("sesame.cluster")


class _Early:
    """A link before there is a `Writer`: keeps the follower's messages, but answers its beats at once."""

    def __init__(self, connected: socket.socket, answers: Callable[[], bool]) -> None:
        self.messages: list[m.Message] = []
        self._answers = answers
        self.link = Link(connected, self._take, lambda: None)

    def _take(self, message: m.Message, _fds: list[int]) -> None:
        if not isinstance(message, m.AreYouThere):
            self.messages.append(message)
        elif self._answers():
            self.link.send(m.Here())


class Members:
    """Implements `agents.followed.Lives`. Call `begin` once the seat is taken, `serve` once there is a `Writer`."""

    def __init__(
        self,
        seat: Seat,
        listening: socket.socket,
        key: bytes,
        clocks: Clocks,
        agent_ports: frozenset[int] = frozenset(),
    ) -> None:
        """`listening` accepts links from other nodes. `agent_ports` are the two port numbers of this node."""
        self.key = key
        self.agent_ports = agent_ports
        self._arrivals = Arrivals()
        self._answering: frozenset[HttpServer] = frozenset()
        takers = {Purpose.LINK: self.take, Purpose.TUNNEL: self._arrivals.take}
        self.port = AgentPort(listening, key, takers)
        self._seat = seat
        self._clocks = clocks
        self._numbers = itertools.count(2)
        self._agents: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._linked: dict[str, Followed] = {}
        self._heard_at: dict[str, float] = {}
        self._linked_at: dict[str, float] = {}
        # Nodes whose instances have all ended and whose beats have not been answered since.
        self._without_right: set[str] = set()
        self._early: dict[str, _Early] = {}
        self._holds = Holds(seat.inherited, clocks.monotonic())
        self._writer: Writer | None = None
        self._timer: Timer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._joining: Counter[str] = Counter()
        self._says = Seldom(clocks.monotonic)
        self._rows_at = clocks.monotonic()
        self._reads_rows = False
        # The address of each follower's agent port, by the follower's number.
        self.addresses: dict[int, str] = {}
        # Each follower's machine, 0 for the writer's own, and the caps of each machine.
        self.machines: dict[int, int] = {}
        self._caps: dict[int, Caps] = {}
        self.awaited = tuple(self._agent(each) for each in seat.inherited)

    @property
    def epoch(self) -> int:
        return self._seat.epoch

    @property
    def leader(self) -> tuple[str, str, str]:
        """This node's name, the address where others reach it, and the epoch."""
        return self._seat.node, self._seat.address, str(self.epoch)

    def begin(self) -> None:
        """Starts linking other nodes and answering their beats: they keep serving while the writer starts."""
        self.port.start()

    def serve(self, writer: Writer) -> None:
        """Hands the links, with the messages received so far, to the writer."""
        self._writer = writer
        capacity = writer.needs.pool.capacity
        self._caps[0], capacity.machines, writer.machines = capacity.caps, self._caps, self.machines
        early, self._early = self._early, {}
        for name, each in early.items():
            if each.link.open:
                writer.meet(self._agents[name], EarlyLink(each.link, tuple(each.messages)), held=True)
        self._look()

    def open(self, writer: Writer) -> None:
        """The endpoints are ready: accepts connections that other nodes tunnel here."""
        assert writer.server is not None
        self._answering = frozenset({writer.server, *writer.servers.values()})
        self._arrivals.open(writer.server, writer.servers, writer.needs.answers.take)

    async def drain(self, grace_s: float) -> None:
        """See `Arrivals.drain`."""
        await self._arrivals.drain(self.port, self._answering, grace_s)

    def hurry(self) -> None:
        """Ends the grace time of `drain` at once."""
        self._arrivals.close()
        for server in self._answering:
            server.hurry()

    def close(self) -> None:
        self.port.close()
        self._arrivals.close()
        for each in self._early.values():
            each.link.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def give_up(self, agent: int) -> None:
        """Closes the link to a follower that does not answer."""
        followed = self._linked.get(self._names[agent])
        if followed is not None:
            followed.link.close()

    def take(self, connected: socket.socket, _address: Address) -> None:
        """A `cluster.port.Take` for nodes that want a link."""
        self._run(self._joined(connected))

    async def _joined(self, connected: socket.socket) -> None:
        with contextlib.ExitStack() as joining:
            await self._join(connected, joining)

    @contextlib.contextmanager
    def _joins(self, name: str) -> Iterator[None]:
        """While a holder joins, its row is not removed on account of what it held before."""
        self._joining[name] += 1
        try:
            yield
        finally:
            self._joining[name] -= 1
            if not self._joining[name]:
                del self._joining[name]

    async def _join(self, connected: socket.socket, joining: contextlib.ExitStack) -> None:
        try:
            joins = await hear(connected)
            why = other_version(joins) or difference(joins.settings, self._seat.same, joins.node, self._seat.node)
            if why or joins.only_asks:
                await answer(connected, Joined(0, why))
                raise PlatformError(f"{joins.node} at {joins.address}: {why or 'it only asks'}")
            address_of(joins.address)
            if joins.epoch != self._seat.epoch or not self._seat.leads():
                why = "its right to lead has ended" if joins.epoch == self.epoch else f"its epoch is {self.epoch}"
                await answer(connected, Joined(0, why))
                connected.close()
                return
            # Write the row before answering: from now on, a later writer waits for this node.
            name = holder_of_follower(joins.node)
            joining.enter_context(self._joins(name))
            if not await self._seat.leadership.hold(self._seat.epoch, name):
                raise PlatformError("another node leads the cluster")
            agent = self._agent(name)
            await answer(connected, Joined(agent))
        except (OSError, PlatformError) as error:
            if self._says.may():
                log.warning("a node could not be linked", error=str(error) or type(error).__name__)
            connected.close()
            return
        self.addresses[agent] = joins.address
        machine = self.machines[agent] = 0 if joins.node == self._seat.node else agent
        if machine:
            self._caps[machine] = Caps(
                sys.maxsize, joins.memory_mb, starts_at_once=1, keep_alive_s=0.0, disk_mb=joins.disk_mb
            )
        self._heard_at.setdefault(name, self._clocks.monotonic())
        log.info("a node is linked", node=joins.node, agent=agent, address=joins.address)
        if self._writer is not None:
            self._writer.meet(agent, connected, held=True)
            return
        if (former := self._early.pop(name, None)) is not None:
            former.link.close()
        self._early[name] = _Early(connected, lambda: self._answers_early(name))

    def _answers_early(self, name: str) -> bool:
        """Whether to answer a beat before there is a `Writer`. If so, the node may use its instances longer.

        Accordingly the writer waits longer for it.
        """
        if not self._seat.leads():
            return False
        now = self._heard_at[name] = self._clocks.monotonic()
        self._holds.silent(name, now)
        return True

    # See `agents.followed.Lives`.

    def answers(self, followed: Followed) -> bool:
        if not self._seat.leads():
            return False
        name = self._names[followed.agent]
        self._heard_at[name] = self._clocks.monotonic()
        self._without_right.discard(name)
        return True

    def arrived(self, followed: Followed) -> bool:
        name = self._names[followed.agent]
        self._linked[name] = followed
        self._linked_at[name] = self._clocks.monotonic()
        self._holds.told(name)
        return name not in self._without_right

    def lost(self, followed: Followed) -> None:
        name = self._names[followed.agent]
        self._linked[name] = followed
        log.warning("a node is not linked any more", node=name, agent=followed.agent)
        self._holds.silent(name, self._heard_at[name])

    # What happens as time passes.

    def _look(self) -> None:
        now = self._clocks.monotonic()
        for name, followed in self._linked.items():
            # The node is linked but its beats are not answered, because it does not apply what it is sent.
            if followed.link.open and now - max(self._linked_at[name], self._heard_at[name]) >= HOLD_S:
                self._holds.silent(name, self._heard_at[name])
        for name in self._holds.over(now):
            self._ended(name)
        if self._holds.awaited and now - self._rows_at >= ROWS_EVERY_S and not self._reads_rows:
            self._reads_rows = True
            self._run(self._read_rows())
        self._timer = self._clocks.call_later(LOOKS_EVERY_S, self._look)

    async def _read_rows(self) -> None:
        """Stops waiting for holders that are no longer in the database: a restarted node removes those that ended."""
        try:
            rows = await self._seat.leadership.holders()
        except PlatformError as error:
            log.warning("who holds instances cannot be read; trying again", error=str(error))
            return
        finally:
            self._rows_at, self._reads_rows = self._clocks.monotonic(), False
        for name in self._holds.awaited.difference(rows) - self._linked.keys():
            self._holds.told(name)
            self._ended(name)

    def _ended(self, name: str) -> None:
        assert self._writer is not None
        self._without_right.add(name)
        followed = self._linked.pop(name, None)
        if followed is None:
            self._writer.released(self._agents[name])
        else:
            # A node that has come back may be linked again; drop that link, it has not listed what it holds yet.
            followed.link.close()
            self._holds.told(name)
            followed.shows_nothing()
            followed.ended()
            self._writer.lost(followed)
            if machine := self.machines.pop(followed.agent, 0):
                del self._caps[machine]
        log.info("nothing is left of a node's instances", node=name)
        self._run(self._release(name))

    async def _release(self, name: str) -> None:
        try:
            if name not in self._linked and name not in self._joining:
                await self._seat.leadership.release(self._seat.epoch, name)
        except PlatformError as error:
            # Harmless: the next writer waits for this node in vain, for a bounded time.
            log.warning("a node that has gone is still named as a member", node=name, error=str(error))

    def _agent(self, name: str) -> int:
        if name not in self._agents:
            number = self._agents[name] = next(self._numbers)
            self._names[number] = name
        return self._agents[name]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
