"""A follower's side of agents: its link to the writer, and the state that the writer has sent it.

A follower serves synchronous calls of the API and of HTTP functions (`agents.calls`) and moves every other request to
the writer. While there is no writer it keeps serving with the instances that it has; this is safe because the catalog
cannot change then. Built by `_follower`.
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
from sesame.agents.link import Carry, Link, taken
from sesame.agents.packages import LeasedPackages
from sesame.agents.policies import WRITER, named_instance
from sesame.agents.presence import AWAY_S, Life, Presence
from sesame.agents.questions import Questions
from sesame.agents.recorded import SentRecordings
from sesame.agents.runs import Runs, RunsEngine
from sesame.agents.served import Served
from sesame.agents.written import Written
from sesame.engine.interface import Invoke
from sesame.http.moving import Arrived
from sesame.http.request import Request
from sesame.http.server import HttpServer
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import Unavailable
from sesame.model.invocation import Invocation, Outcome

# How often the writer is told which instances are idle. Reports may lag: the writer asks before it relies on one.
TELLS_EVERY_S = 0.25
LEAVES_WITHIN_S = 5.0


class Follower:
    """Call `meet` for each writer. Once `followed` has returned, build the engine and pass it to `use`."""

    def __init__(
        self, agent: int, catalog: CatalogCopy, clocks: Clocks, life: Life | None = None, away_s: float = AWAY_S
    ) -> None:
        """`life` limits how long calls are served without hearing from a writer; None sets no limit.

        Requests that need the writer wait up to `away_s` seconds for one.
        """
        self.agent = agent
        self.life = life
        # Only in a cluster, where descriptors cannot be sent to other agents: moves a connection to another node.
        self.carry: Carry | None = None
        self.catalog = catalog
        self.answers: FollowersAnswers = WritersAnswers(self.send)
        self.packages = LeasedPackages(self.ask, self.send)
        self.trusted = ""
        self._clocks = clocks
        self._link: Link | None = None
        self.writer = Presence(away_s)
        # Whether another process is replacing this one.
        self._is_replaced = False
        self._followed = asyncio.Event()
        self._questions = Questions(self.send, self._unclaimed)
        self._tells_ends = False
        self.recorded = SentRecordings(self.ask)
        self.written = Written(lambda: self._link if self.writer.takes_requests.is_set() else None)
        self._server: HttpServer | None = None
        self._untold = Untold()
        self._timer: Timer | None = None
        # Set by `use`.
        self._own: OwnInstances | None = None
        self.calls: Calls | None = None
        self.nonces = UsedNonces(clocks.wall)
        self.runs = Runs(clocks)
        self.backlog = Backlog(self.writer.here.is_set, self._running, clocks.monotonic)

    async def followed(self) -> None:
        """Returns once the writer has sent the whole catalog."""
        await self._followed.wait()

    async def trusted_file(self) -> Path | None:
        """The file with the certificates that functions shall trust; None if the writer named none."""
        return Path(self.trusted) if self.trusted else None

    def use(self, engine: RunsEngine, credits: CreditCapacity, served: Served) -> None:
        """Connects this agent's engine, whose capacity is `credits`. From now on calls can be served."""
        pool = engine.pool
        idle = KeptIdle(pool, self._clocks.monotonic, credits)
        held = HeldInstances(pool, credits, lambda instance_id: self.send(m.Gone(instance_id)))
        own = self._own = OwnInstances(pool, credits, served, idle, held)
        self.runs.use(engine, own)
        self.calls = Calls(self, own)
        self._tick()

    def listens(self, server: HttpServer) -> None:
        """Sets the server that adopts connections passed on by other agents."""
        self._server = server

    def keeps(self, request: Request) -> bool:
        """Whether a websocket request is always served here: it runs a command in an instance of this agent."""
        named = named_instance(request.raw_path)
        return named != "" and self._own is not None and self._own.pool.instance(named) is not None

    def close(self) -> None:
        """The last step of shutting down. No call may be running."""
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
        """Closes the link, for example because the writer does not answer."""
        if self._link is not None:
            self._link.close()

    def meet(self, connected: socket.socket) -> None:
        """Takes the connection to a writer: reports what this agent holds, and leases its packages again."""
        if self._link is not None:
            self._link.close()
        link = Link(connected, self._take, lambda: self._lost(link))
        self._link = link
        self._untold.another_writer()
        pid = os.getpid() if self.carry is None else 0
        link.send(m.Hello(self.agent, () if self._own is None else self._own.held.all(), pid))
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
        """Sends `message` to the writer. Does nothing while there is none; a caller that needs an answer uses `ask`."""
        if self._link is not None:
            self._link.send(message, fds)

    async def ask(self, question: Callable[[int], m.Message]) -> m.Message:
        """Returns the writer's answer. If the writer ends first, asks the next one; `question` gets a new number then.

        Raises `Unavailable` if no writer comes within the time that requests wait.
        """
        while True:
            await self.until_followed()
            with contextlib.suppress(ConnectionResetError):
                answer: m.Message = await self._questions.ask(question)
                return answer

    async def until_followed(self) -> None:
        """Returns once there is a writer and its catalog has arrived. Raises `Unavailable` if none comes in time."""
        await self.writer.waited(self.writer.here)

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Place() | m.Looked() | m.NoncesUsed() | m.Leased() | m.NotLeased():
                self._questions.answered(message.n, message)
            case m.Request():
                self.adopt(taken(fds), message.arrived)
            case m.AreYouThere():
                self.send(m.Here())
            case m.Here():
                assert self.life is not None
                self.life.answered()
            case m.CanTake():
                # Answer after the calls that earlier messages have granted credits have resumed, so they are counted.
                asyncio.get_running_loop().call_soon(self._answer_whether, message, self._link)
            case m.GiveUp():
                given_up = () if self._own is None else self._own.held.give_up(message.instance_ids)
                self.send(m.GivenUp(message.n, given_up))
            case m.LookIdle():
                self._tell_idle()
                self.send(m.Looked(message.n))
            case m.Records():
                if has_taken(self.catalog, message, None if self.life is None else self.unlink):
                    self.send(m.Seen(message.revision))
                    self._is_here()
            case m.WriterReplaced():
                self.writer.replaced(message.within_s)
            case m.Spare():
                if self._own is not None:
                    self._own.credits.spare(message.key, message.instance_id)
            case m.Run() | m.EndRun():
                self.runs.take(message)
            case m.EndInstance():
                assert self._own is not None
                self._own.held.end(message)
            case m.Offered():
                self.answers.offered(message.inside, message.taken)
            case m.Welcome():
                self.trusted, self._tells_ends = message.trusted, message.ends
            case _:
                raise AssertionError(f"the writer sent {type(message).__name__}")

    def _unclaimed(self, answer: m.Message) -> None:
        """Returns what the writer gave in answer to a question for which nobody waits here (any more)."""
        if isinstance(answer, m.Place) and answer.instance_id:
            self.send(m.Gone(answer.instance_id))
        elif isinstance(answer, m.Leased):
            self.packages.unclaimed(answer)

    def _is_here(self) -> None:
        if not self.writer.came():
            return
        self._followed.set()
        if self._link is not None:
            self.written.send_kept(self._link)
            self.runs.tell()
        self.backlog.step()

    def be_replaced(self) -> None:
        """Another process replaces this one: from now on no calls are accepted from other agents."""
        self._is_replaced = True

    async def left(self) -> None:
        """After `be_replaced`, waits until no request from other agents is in transit to this one.

        Returns without that certainty if the writer does not confirm it within LEAVES_WITHIN_S.
        """
        if self._is_replaced and self.writer.here.is_set():
            with contextlib.suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(LEAVES_WITHIN_S):
                    await self.ask(m.Leaving)

    # Instances.

    def _running(self) -> int:
        return 0 if self._own is None else self._own.pool.calls

    def _answer_whether(self, asked: m.CanTake, link: Link | None) -> None:
        if link is not None and link.open:
            link.send(self._takes(asked))

    def _takes(self, asked: m.CanTake) -> m.Takes:
        own = self._own
        if own is None or self._is_replaced:
            return m.Takes(asked.n, False, False)
        kept, left = own.idle.keep(asked.key, asked.concurrency, room=asked.room)
        if not left:
            own.held.all_are_busy(asked.key)
        return m.Takes(asked.n, kept, left)

    def end_instances(self) -> None:
        """Ends all instances at once, including their calls. None starts again until the writer grants a credit."""
        if self._own is not None:
            self._own.held.end_all()

    def holds_any(self) -> bool:
        """Whether this agent still has any instance, even one that is ending."""
        return self._own is not None and self._own.held.any()

    def _tick(self) -> None:
        self._timer = self._clocks.call_later(TELLS_EVERY_S, self._tick)
        assert self._own is not None
        pool = self._own.pool
        self.backlog.step()
        self._tell_idle()
        if self._link is not None and (counted := self._untold.take(pool.counts, pool.calls)) is not None:
            self.send(counted)
        self.runs.tell()

    def _tell_idle(self) -> None:
        own, has_writer = self._own, self.writer.takes_requests.is_set()
        if own is not None and (changes := own.held.look(has_writer=has_writer)):
            self.send(changes)

    # Where calls go.

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None:
        """Continues a connection from another agent, or one that cannot be passed on to another agent."""
        not_here = self._is_replaced or self._server is None
        if not_here and self._link is not None and self.carry is None:
            self._link.send(m.Request(WRITER, arrived), [connected.detach()])
        elif self._server is None:
            connected.close()
        else:
            self._server.adopt(connected, arrived)

    def around(self, invoke: Invoke) -> Invoke:
        """Wraps `invoke` in `calls.Calls.serve`, which does not exist yet when the engine is built."""

        async def served(*call: Any) -> Outcome:
            assert self.calls is not None
            return await self.calls.serve(invoke, *call)

        return served

    # What is told to the writer.

    def give_back(self, instance_id: str) -> None:
        """Tells the writer that the instance is gone or will not be started: its credit is free."""
        if self._own is not None:
            self._own.held.forget(instance_id)
        self.send(m.Gone(instance_id))

    def ended(self, invocation: Invocation, outcome: Outcome | BaseException) -> None:
        """See `engine.interface.Observer.ended`."""
        if isinstance(outcome, Changed):
            # The call has not begun; `Calls.serve` tries it again.
            return
        if self._tells_ends and self._link is not None and self._own is not None:
            self._untold.tell_end(self._link, self._own.pool.counts, told(invocation, outcome))
