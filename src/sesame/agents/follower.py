"""A follower's side of agents: its link to the writer, and what it has by the writer's word.

Serves synchronous calls by itself (`agents.calls`), of the API and of HTTP functions, and moves every other request to
the writer. While the writer is away it goes on with the instances that it has: nothing can change in the catalog then.
Built by `_follower`.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sesame.agents import messages as m
from sesame.agents.answers import FollowersAnswers, WritersAnswers
from sesame.agents.backlog import Backlog
from sesame.agents.calls import Calls, Changed, OwnInstances
from sesame.agents.catalog_copy import CatalogCopy, has_taken
from sesame.agents.counting import Untold
from sesame.agents.credits import CreditCapacity
from sesame.agents.endings import told
from sesame.agents.held import HeldInstances
from sesame.agents.kept_idle import KeptIdle
from sesame.agents.link import Carry, Link
from sesame.agents.packages import LeasedPackages
from sesame.agents.policies import WRITER, named_instance
from sesame.agents.presence import AWAY_S, Life, Presence
from sesame.agents.questions import Questions
from sesame.agents.runs import Runs, RunsEngine
from sesame.agents.served import Served
from sesame.agents.written import Written
from sesame.engine.interface import Invoke
from sesame.engine.pool import Pool
from sesame.http.moving import Arrived
from sesame.http.request import Request
from sesame.http.server import HttpServer
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import Unavailable
from sesame.model.invocation import Invocation, Outcome

# So often the writer is told which instances are idle. It need not be exact: the writer asks before it relies on it.
TELLS_EVERY_S = 0.25
LEAVES_WITHIN_S = 5.0


class Follower:
    """`meet` the writer, and each that is started in its place; `use` what was built once `followed` has returned."""

    def __init__(
        self, agent: int, catalog: CatalogCopy, clocks: Clocks, life: Life | None = None, away_s: float = AWAY_S
    ) -> None:
        """Without a `life` it serves as long as it lives. Requests wait for a writer for up to `away_s`."""
        self.agent = agent
        self.life = life
        # Where no descriptors go to other agents.
        self.carry: Carry | None = None
        self.catalog = catalog
        self.answers: FollowersAnswers = WritersAnswers(self.send)
        self.packages = LeasedPackages(self.ask, self.send)
        self.trusted = ""
        self._clocks = clocks
        self._link: Link | None = None
        self.writer = Presence(away_s)
        # Whether another process comes in the place of this one.
        self._rests = False
        self._followed = asyncio.Event()
        self._questions = Questions(self.send, self._unclaimed)
        self._tells_ends = False
        self.written = Written(lambda: self._link if self.writer.takes_requests.is_set() else None)
        self._pool: Pool | None = None
        self._credits: CreditCapacity | None = None
        self._server: HttpServer | None = None
        self._untold = Untold()
        self._held: HeldInstances | None = None
        self._timer: Timer | None = None
        self._idle: KeptIdle | None = None
        # There is one from `use` on.
        self.calls: Calls | None = None
        self.nonces = UsedNonces(clocks.wall)
        self.runs = Runs(clocks)
        self.backlog = Backlog(self.writer.here.is_set, self._running, clocks.monotonic)

    async def followed(self) -> None:
        """Returns when the catalog is there."""
        await self._followed.wait()

    async def trusted_file(self) -> Path | None:
        """The file of certificates that functions trust."""
        return Path(self.trusted) if self.trusted else None

    def use(self, engine: RunsEngine, credits: CreditCapacity, served: Served) -> None:
        self._pool, self._credits = engine.pool, credits
        self._idle = KeptIdle(engine.pool, self._clocks.monotonic, credits)
        self._held = HeldInstances(engine.pool, credits, lambda instance_id: self.send(m.Gone(instance_id)))
        own = OwnInstances(credits, served, self._idle, self._held, engine.pool.startup.may_start)
        self.runs.use(engine, own)
        self.calls = Calls(self, own)
        self._tick()

    def listens(self, server: HttpServer) -> None:
        """What takes in connections that come from other agents."""
        self._server = server

    def keeps(self, request: Request) -> bool:
        """Whether a websocket is served here: a command in an instance that is here."""
        named = named_instance(request.raw_path)
        return named != "" and self._pool is not None and self._pool.instance(named) is not None

    def close(self) -> None:
        """The last step of the end: nothing runs any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._link.close()

    # The link.

    @property
    def link(self) -> Link | None:
        return self._link

    @property
    def is_linked(self) -> bool:
        return self._link is not None

    def unlink(self) -> None:
        """The writer does not answer."""
        if self._link is not None:
            self._link.close()

    def meet(self, connected: socket.socket) -> None:
        """A writer is there."""
        if self._link is not None:
            self._link.close()
        link = Link(connected, self._take, lambda: self._lost(link))
        self._link = link
        self._untold.another_writer()
        pid = os.getpid() if self.carry is None else 0
        link.send(m.Hello(self.agent, () if self._held is None else self._held.all(), pid))
        self.runs.met(link)
        self.packages.lease_again(self.send)

    def _lost(self, link: Link) -> None:
        if self._link is not link:
            return
        self._link = None
        self.runs.lost()
        self.backlog.writer_goes()
        self.answers.writer_gone()
        self.writer.lost()
        self._questions.lost()

    def send(self, message: m.Message, fds: tuple[int, ...] = ()) -> None:
        """Nothing happens while the writer is away."""
        if self._link is not None:
            self._link.send(message, fds)

    async def ask(self, question: Callable[[int], m.Message]) -> m.Message:
        """The answer of the writer, or of the one that is started in its place. Raises `Unavailable`."""
        while True:
            await self.until_followed()
            with contextlib.suppress(ConnectionResetError):
                answer: m.Message = await self._questions.ask(question)
                return answer

    async def until_followed(self) -> None:
        """Returns when there is a writer, whose catalog is here. Raises `Unavailable`."""
        await self.writer.waited(self.writer.here)

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Place() | m.Looked() | m.NoncesUsed() | m.Leased() | m.NotLeased():
                self._questions.answered(message.n, message)
            case m.Request():
                self.adopt(socket.socket(fileno=fds[0]), message.arrived)
            case m.AreYouThere():
                self.send(m.Here())
            case m.Here():
                assert self.life is not None
                self.life.answered()
            case m.CanTake():
                # Whoever was granted a credit by a message before goes on first, and is counted in.
                asyncio.get_running_loop().call_soon(self._answer_whether, message, self._link)
            case m.GiveUp():
                given_up = () if self._held is None else self._held.give_up(message.instance_ids)
                self.send(m.GivenUp(message.n, given_up))
            case m.LookIdle():
                self._tell_rests()
                self.send(m.Looked(message.n))
            case m.Records():
                if has_taken(self.catalog, message, None if self.life is None else self.unlink):
                    self.send(m.Seen(message.revision))
                    self._is_here()
            case m.Rest():
                self.writer.rests(message.within_s)
            case m.Spare():
                if self._credits is not None:
                    self._credits.spare(message.key, message.instance_id)
            case m.Run() | m.EndRun():
                self.runs.take(message)
            case m.EndInstance():
                assert self._held is not None
                self._held.end(message)
            case m.Offered():
                self.answers.offered(message.inside, message.taken)
            case m.Welcome():
                self.trusted, self._tells_ends = message.trusted, message.ends
            case _:
                raise AssertionError(f"the writer sent {type(message).__name__}")

    def _unclaimed(self, answer: m.Message) -> None:
        """The call that asked has been cancelled: what it was given is nobody's."""
        if isinstance(answer, m.Place) and answer.instance_id:
            self.send(m.Gone(answer.instance_id))
        elif isinstance(answer, m.Leased):
            self.send(m.Release(answer.n))

    def _is_here(self) -> None:
        if not self.writer.came():
            return
        self._followed.set()
        if self._link is not None:
            self.written.send_kept(self._link)
            self.runs.tell()
        self.backlog.step()

    def rest(self) -> None:
        """Another process comes in the place of this agent: no more calls of other agents."""
        self._rests = True

    async def left(self) -> None:
        """Where it rests, returns when no request of other agents is under way to it, or the writer does not say so."""
        if self._rests and self.writer.here.is_set():
            with contextlib.suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(LEAVES_WITHIN_S):
                    await self.ask(m.Leaving)

    # Instances.

    def _running(self) -> int:
        return 0 if self._pool is None else self._pool.calls

    def _answer_whether(self, asked: m.CanTake, link: Link | None) -> None:
        if link is not None and link.open:
            link.send(self._takes(asked))

    def _takes(self, asked: m.CanTake) -> m.Takes:
        if self._idle is None or self._rests:
            return m.Takes(asked.n, False, False)
        kept, left = self._idle.keep(asked.key, asked.concurrency, room=asked.room)
        if not left and self._held is not None:
            self._held.are_busy(each.instance_id for each in self._idle.of(asked.key))
        return m.Takes(asked.n, kept, left)

    def end_instances(self) -> None:
        """At once, whatever they do, and starts none before another credit comes."""
        if self._held is not None:
            self._held.end_all()

    def holds_any(self) -> bool:
        """Whether anything is left of an instance."""
        return self._held is not None and self._held.any()

    def _tick(self) -> None:
        self._timer = self._clocks.call_later(TELLS_EVERY_S, self._tick)
        assert self._pool is not None
        self.backlog.step()
        self._tell_rests()
        if self._link is not None and (counted := self._untold.take(self._pool.counts, self._pool.calls)) is not None:
            self.send(counted)
        self.runs.tell()

    def _tell_rests(self) -> None:
        if self._held is not None and (rests := self._held.look(has_writer=self.writer.takes_requests.is_set())):
            self.send(rests)

    # Where calls go.

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Goes on with a connection of another agent, or with one that cannot go there."""
        not_here = self._rests or self._server is None
        if not_here and self._link is not None and self.carry is None:
            self._link.send(m.Request(WRITER, arrived), [connected.detach()])
        elif self._server is None:
            connected.close()
        else:
            self._server.adopt(connected, arrived)

    def around(self, invoke: Invoke) -> Invoke:
        """As `calls.Calls.serve`, which is there once the engine is."""

        async def served(*call: Any) -> Outcome:
            assert self.calls is not None
            return await self.calls.serve(invoke, *call)

        return served

    # What is told to the writer.

    def give_back(self, instance_id: str) -> None:
        if self._held is not None:
            self._held.forget(instance_id)
        self.send(m.Gone(instance_id))

    def ended(self, invocation: Invocation, outcome: Outcome | BaseException) -> None:
        """As `engine.interface.Observer.ended`."""
        if isinstance(outcome, Changed):
            # It is called again.
            return
        if self._tells_ends and self._link is not None and self._pool is not None:
            self._untold.tell_end(self._link, self._pool.counts, told(invocation, outcome))
