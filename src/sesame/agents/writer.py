"""The writer's side of agents: grants credits, sends the catalog, takes in what followers do not serve.

Agent 1 is what a Sesame of one agent is, and alone has the data directory. Built by `_agents`; belongs to its event
loop.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from sesame.agents import messages as m
from sesame.agents.catalog_copy import CatalogFeed
from sesame.agents.followed import EarlyLink, Followed, WriterNeeds
from sesame.agents.idle_there import IdleOfAll
from sesame.agents.link import Carry
from sesame.agents.stand_in import set_aside
from sesame.agents.writers_calls import WritersCalls
from sesame.http.moving import Arrived
from sesame.http.request import Request
from sesame.http.server import HttpServer
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Timer
from sesame.store.catalog import Change

# POLICY: followers are asked so often whether they are there. One that has not answered when it would be asked for the
# sixth time is killed: a change of the catalog waits for it, and so do instances that it is to end.
LOOKS_EVERY_S = 1.0
LOOKS_MAX = 5
# Requests wait so long for the next writer once the calls of this one have had their time to end.
NEXT_WITHIN_S = 60.0

log = structlog.get_logger("sesame.agents")


class Writer:
    """`meet` each follower; `open` before anything else runs, and `offer` once the endpoints are there."""

    def __init__(self, needs: WriterNeeds, hangs: Callable[[int], None], held: Iterable[int] = ()) -> None:
        """`hangs` has a follower killed. `held` are from the time of a writer before, and may hold instances."""
        self.is_web: Callable[[Request], bool] = lambda _request: False
        # Where no descriptors go to followers, and where each of them is reached.
        self.carry: Carry | None = None
        self.addresses: Mapping[int, str] = {}
        # On which of several machines each is, as `engine.capacity` counts them; all on this one where it has none.
        self.machines: Mapping[int, int] = {}
        # All endpoints, by the settings of their ports.
        self.servers: dict[str, HttpServer] = {}
        self._hangs = hangs
        self._timer: Timer | None = None
        self.needs = needs
        self.feed = CatalogFeed(needs.catalog)
        # How many instances of each snapshot followers have, or may start.
        self.held: Counter[str] = Counter()
        # Those that any agent has seen.
        self.nonces = UsedNonces(needs.clocks.wall)
        self.followers: dict[int, Followed] = {}
        self._awaited = set(held)
        self._changed = asyncio.Event()
        # What takes in connections that come from other agents.
        self.server: HttpServer | None = None
        self._offers = self._rests = False
        self._idle_there = IdleOfAll(self.followers)
        self.calls = WritersCalls(self, self._idle_there)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prepared: asyncio.Future[None] | None = None
        # Requests that have come before the endpoints are there.
        self._early: list[tuple[socket.socket, Arrived]] = []
        needs.pool.capacity.give_up = self._idle_there.give_up
        needs.catalog.on_change(self._tell)
        needs.catalog.confirm = self._confirmed

    async def open(self) -> None:
        """On return nothing is held by followers that is not counted here, and their catalogs show all changes."""
        self.watch()
        await self.gather()
        await self._confirmed(self.needs.catalog.revision)

    def watch(self) -> None:
        """Has followers that hang killed, from here until `close`."""
        self._timer = self.needs.clocks.call_later(LOOKS_EVERY_S, self.watch)
        for each in list(self.followers.values()):
            # One that was started anew serves nothing before it has the catalog, and nothing waits for it.
            if not each.link.open or (not each.follows and each.agent not in self._awaited):
                continue
            hangs = each.silence.times >= LOOKS_MAX
            if hangs or each.owed.fails:
                what = "answer" if hangs else "take changes of the catalog"
                log.error(f"an agent does not {what}, and is given up", agent=each.agent)
                self._hangs(each.agent)
            each.look()

    def meet(self, agent: int, connected: socket.socket | EarlyLink, *, held: bool) -> None:
        """A follower is there, by the supervisor's word. One that `held` instances must say which (`gather`)."""
        former = self.followers.get(agent)
        if former is not None and self.needs.lives is not None:
            former.relink(connected)
            return
        if former is not None:
            former.link.close()
        if not held:
            # Started anew since.
            self.released(agent)
        self.followers[agent] = Followed(self, agent, connected)

    def released(self, agent: int) -> None:
        """Nothing is left of what it held in the time of a writer before."""
        self._awaited.discard(agent)
        self._changed.set()

    async def gather(self) -> None:
        """Returns when every follower that may hold instances has said which, or has ended."""
        while self._awaited:
            self._changed.clear()
            await self._changed.wait()

    def serves(self, server: HttpServer) -> None:
        """What takes in connections that come from other agents."""
        self.server = server

    def keeps(self, request: Request) -> bool:
        """Whether a websocket is served here whatever runs elsewhere: not one of an HTTP function (`is_web`)."""
        return self.calls.holder(request) == 0 and not self.is_web(request)

    async def offer(self) -> None:
        """The endpoints are there: functions of followers reach them from here on."""
        self._offers = True
        for connected, arrived in self._early:
            self.adopt(connected, arrived)
        self._early.clear()
        for each in list(self.followers.values()):
            if each.follows:
                await self._offer_to(each)

    def rest(self) -> None:
        """Another writer comes in its place: requests of followers wait for that one. Theirs is still counted here.

        POLICY: each follower can start an instance of every function that has one anywhere, as far as nothing has to go
        for it: so calls are served while there is no writer.
        """
        self._rests = True
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
            self._tell_rest(each)
        # Until none of their requests is under way.
        await self._idle_there.hear()

    def _tell_rest(self, followed: Followed) -> None:
        if self._rests:
            followed.link.send(m.Rest(self.needs.drain_s + NEXT_WITHIN_S))

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
        self._tell_rest(followed)
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
        """Returns when no follower answers any more as before the change. One that hangs is killed (`watch`)."""
        for each in list(self.followers.values()):
            if each.serves:
                await each.shows(revision)

    # Where calls and connections go.

    def machine_of(self, agent: int) -> int:
        """As `engine.capacity` counts them: 0, this one, where there are no others."""
        return self.machines.get(agent, 0)

    def calls_elsewhere(self) -> int:
        """Those in flight on followers, as they told last."""
        return sum(each.calls for each in self.followers.values())

    def pass_on(self, request: m.Request, fd: int, sender: Followed) -> None:
        """To the agent that it is for; to the writer where that one has gone; back where the writer takes none."""
        to = self.followers.get(request.to)
        if self._rests and (to is None or to.leaving):
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
        """As `WritersCalls.place`."""
        return await self.calls.place(asker, asked)

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Goes on with a connection of another agent, or with one that cannot go there."""
        if self.server is None or not self._offers:
            # Followers have heard of this writer before its endpoints are there.
            self._early.append((connected, arrived))
        else:
            self.server.adopt(connected, arrived)
