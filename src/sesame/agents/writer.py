"""The writer's side of agents: grants credits, sends the catalog, and serves the requests that followers do not serve.

The writer is agent 1. It does everything that a single Sesame process does, and is the only agent that opens the data
directory. Built by `_agents`; must be used from its event loop only.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from sesame.agents import messages as m
from sesame.agents.catalog_copy import CatalogFeed
from sesame.agents.followed import Followed, WriterNeeds
from sesame.agents.idle_there import IdleOfAll
from sesame.agents.link import Carry, EarlyLink
from sesame.agents.stand_in import set_aside
from sesame.agents.writers_calls import WritersCalls
from sesame.http.moving import Arrived
from sesame.http.request import Request
from sesame.http.server import HttpServer
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Timer
from sesame.store.catalog import Change

# POLICY: each follower is checked once per LOOKS_EVERY_S. One that leaves LOOKS_MAX checks in a row unanswered is
# killed at the next, because catalog changes wait for it, and so does whatever needs an instance that it shall end.
LOOKS_EVERY_S = 1.0
LOOKS_MAX = 5
# How long requests wait for the next writer, in addition to the time that running calls get to end (`drain_s`).
NEXT_WITHIN_S = 60.0

log = structlog.get_logger("sesame.agents")


class Writer:
    """Call `meet` for each follower, `open` before anything else runs, and `offer` once the endpoints accept requests.

    A `stand_in` counts in the writer's pool for every instance that a follower has or may start, so the writer's caps
    apply to all agents together.
    """

    def __init__(self, needs: WriterNeeds, hangs: Callable[[int], None], held: Iterable[int] = ()) -> None:
        """`hangs` kills the follower with the given number.

        `held` are the numbers of followers that were introduced to a previous writer and so may hold instances.
        """
        self.is_web: Callable[[Request], bool] = lambda _request: False
        # Only in a cluster, where descriptors cannot be sent to followers: moves a connection to another node, and the
        # address of each follower.
        self.carry: Carry | None = None
        self.addresses: Mapping[int, str] = {}
        # Each follower's machine, numbered as in `engine.capacity`. Empty if all agents are on this machine.
        self.machines: Mapping[int, int] = {}
        # All endpoints, by the settings of their ports.
        self.servers: dict[str, HttpServer] = {}
        self._hangs = hangs
        self._timer: Timer | None = None
        self.needs = needs
        self.feed = CatalogFeed(needs.catalog)
        # By snapshot key: how many instances the followers have or hold a credit to start.
        self.held: Counter[str] = Counter()
        # The nonces that any agent has seen.
        self.nonces = UsedNonces(needs.clocks.wall)
        self.followers: dict[int, Followed] = {}
        self._awaited = set(held)
        self._changed = asyncio.Event()
        # Adopts connections that other agents pass on.
        self.server: HttpServer | None = None
        self._offers = self._is_replaced = False
        self._idle_there = IdleOfAll(self.followers)
        self.calls = WritersCalls(self, self._idle_there)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prepared: asyncio.Future[None] | None = None
        # Connections that followers passed on before the endpoints were ready.
        self._early: list[tuple[socket.socket, Arrived]] = []
        needs.pool.capacity.give_up = self._idle_there.give_up
        needs.catalog.on_change(self._tell)
        needs.catalog.confirm = self._confirmed

    async def open(self) -> None:
        """On return every instance that a follower holds is counted here, and their catalogs show all changes."""
        self.watch()
        await self.gather()
        await self._confirmed(self.needs.catalog.revision)

    def watch(self) -> None:
        """Checks the followers every LOOKS_EVERY_S until `close`, and kills those that hang."""
        self._timer = self.needs.clocks.call_later(LOOKS_EVERY_S, self.watch)
        for each in list(self.followers.values()):
            # Skip a newly started follower without the catalog: it serves nothing, and nothing waits for it.
            if not each.link.open or (not each.follows and each.agent not in self._awaited):
                continue
            hangs = each.silence.times >= LOOKS_MAX
            if hangs or each.owed.fails:
                what = "answer" if hangs else "take changes of the catalog"
                log.error(f"an agent does not {what}, and is given up", agent=each.agent)
                self._hangs(each.agent)
            each.look()

    def meet(self, agent: int, connected: socket.socket | EarlyLink, *, held: bool) -> None:
        """Takes the connection to a follower that the supervisor introduces.

        With `held`, the follower was introduced before and may hold instances; `gather` waits until it lists them.
        """
        former = self.followers.get(agent)
        if former is not None and self.needs.lives is not None:
            former.relink(connected)
            return
        if former is not None:
            former.link.close()
        if not held:
            # Its process is new since the previous writer, so it holds nothing.
            self.released(agent)
        self.followers[agent] = Followed(self, agent, connected)

    def released(self, agent: int) -> None:
        """Stops waiting for the instances that a follower held under a previous writer: they are counted, or gone."""
        self._awaited.discard(agent)
        self._changed.set()

    async def gather(self) -> None:
        """Returns when every follower that may hold instances has listed them or has ended."""
        while self._awaited:
            self._changed.clear()
            await self._changed.wait()

    def serves(self, server: HttpServer) -> None:
        """Sets the server that adopts connections passed on by other agents."""
        self.server = server

    def keeps(self, request: Request) -> bool:
        """Whether a websocket request is always served here.

        False if it names an instance of a follower or is for an HTTP function (`is_web`), which may run elsewhere.
        """
        return self.calls.holder(request) == 0 and not self.is_web(request)

    async def offer(self) -> None:
        """The endpoints accept requests now: adopts early connections, and lets followers' functions reach them."""
        self._offers = True
        for connected, arrived in self._early:
            self.adopt(connected, arrived)
        self._early.clear()
        for each in list(self.followers.values()):
            if each.follows:
                await self._offer_to(each)

    def be_replaced(self) -> None:
        """Prepares the followers for the writer's replacement: their requests wait for the next writer from now on.

        What followers report is still counted here.

        POLICY: each follower gets a credit for every function that has an instance anywhere, as long as no other
        instance must be evicted for it, so that followers can serve calls while there is no writer.
        """
        self._is_replaced = True
        self._prepared = asyncio.ensure_future(self._prepare())

    async def _prepare(self) -> None:
        there = {each.snapshot.key: each.snapshot for each in self.needs.pool.instances()}
        for each in [each for each in self.followers.values() if each.follows]:
            machine = self.machine_of(each.agent)
            for key, snapshot in there.items():
                known = not each.has(key) and self.needs.served.serves(snapshot)
                if known and self.needs.pool.capacity.has_free(snapshot, machine=machine):
                    instance = await set_aside(self.needs.pool, snapshot, machine)
                    each.hold(instance)
                    each.link.send(m.Spare(key, instance.instance_id))
            self._tell_replaced(each)
        # Messages arrive in order: once each follower has answered, no request that it passed on is in transit.
        await self._idle_there.hear()

    def _tell_replaced(self, followed: Followed) -> None:
        if self._is_replaced:
            followed.link.send(m.WriterReplaced(self.needs.drain_s + NEXT_WITHIN_S))

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._prepared is not None:
            await asyncio.wait({self._prepared})
        for each in list(self.followers.values()):
            each.link.close()
        for connected, _arrived in self._early:
            connected.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # For `Followed`.

    def arrived(self, followed: Followed) -> None:
        self._tell_replaced(followed)
        self.released(followed.agent)
        if self._offers:
            self.run(self._offer_to(followed))

    def lost(self, followed: Followed) -> None:
        if self.followers.get(followed.agent) is followed:
            del self.followers[followed.agent]
            self.released(followed.agent)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _offer_to(self, followed: Followed) -> None:
        answers = self.needs.answers
        followed.link.send(m.Offered(await answers.inside(), () if self.carry is None else answers.taken))

    # The catalog.

    def _tell(self, change: Change) -> None:
        following = [each for each in self.followers.values() if each.follows]
        if following:
            sent = m.Records((self.feed.of(change),), change.revision)
            for each in following:
                each.tell(sent)

    async def _confirmed(self, revision: int) -> None:
        """Returns when no follower serves calls by an older catalog. One that hangs is killed by `watch`."""
        for each in list(self.followers.values()):
            if each.serves:
                await each.shows(revision)

    # Where calls and connections go.

    def machine_of(self, agent: int) -> int:
        """The agent's machine, numbered as in `engine.capacity`; 0 is this machine."""
        return self.machines.get(agent, 0)

    def calls_elsewhere(self) -> int:
        """How many calls are in flight on followers, by their last reports."""
        return sum(each.calls for each in self.followers.values())

    def pass_on(self, request: m.Request, fd: int, sender: Followed) -> None:
        """Sends a follower's request to the agent it is for, or serves it here if that agent has gone.

        While this writer is being replaced, the second case returns the request to its sender instead.
        """
        to = self.followers.get(request.to)
        if self._is_replaced and (to is None or to.leaving):
            sender.link.send(request, [fd])
        else:
            self.hand_on(request, fd)

    def hand_on(self, request: m.Request, fd: int) -> None:
        followed = self.followers.get(request.to)
        if followed is not None and not followed.leaving:
            followed.link.send(request, [fd])
            return
        self.adopt(socket.socket(fileno=fd), request.arrived)

    async def place(self, asker: Followed, asked: m.Ask) -> m.Place:
        """See `WritersCalls.place`."""
        return await self.calls.place(asker, asked)

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Continues a connection from another agent, or one that cannot be passed on to another agent."""
        if self.server is None or not self._offers:
            # Followers can pass on requests before this writer's endpoints are ready.
            self._early.append((connected, arrived))
        else:
            self.server.adopt(connected, arrived)
