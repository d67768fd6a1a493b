"""The writer's view of one follower: the instances it holds, the catalog changes it has applied, and its questions.

Created by `agents.writer` for each follower that the supervisor introduces.
"""

import socket
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from sesame.agents import messages as m
from sesame.agents.answers import reach
from sesame.agents.catalog_copy import CatalogFeed
from sesame.agents.endings import heard
from sesame.agents.handed_over import HandedOver
from sesame.agents.idle_there import IdleThere
from sesame.agents.link import EarlyLink, Link, taken
from sesame.agents.nonces import NoncesOfOne
from sesame.agents.owed import Owed
from sesame.agents.packages import LentPackages
from sesame.agents.policies import LINGER_S
from sesame.agents.recorded import Recorded, not_recorded
from sesame.agents.served import Served
from sesame.agents.silence import Silence
from sesame.agents.stand_in import ElsewhereSandbox, bare_of
from sesame.engine.instance import Instance, State
from sesame.engine.interface import Observer
from sesame.engine.invocation_log import LogSink
from sesame.engine.pool import Pool
from sesame.engine.resolver import Snapshots
from sesame.identity.nonces import UsedNonces
from sesame.model.clocks import Clocks
from sesame.model.errors import CallerError
from sesame.sandbox.launch import Images, Packages
from sesame.sandbox.network import HostAnswers
from sesame.store.catalog import Catalog
from sesame.store.logs.logstores.metric_rows import Rows

RECORDS_TOGETHER = 200

Measured = Callable[[str, Rows], None]
"""Stores rows of metrics under the given topic."""

log = structlog.get_logger("sesame.agents")


def not_measured(_topic: str, _rows: Rows) -> None:
    """A `Measured` that discards the rows."""


class Lives(Protocol):
    """Only in a cluster: decides how long a follower may serve, and when one whose link has ended is gone.

    On one machine a follower dies with its link; on another machine it may live on.
    """

    def answers(self, followed: "Followed") -> bool:
        """Whether to answer a follower that asks for its writer. The answer extends its right to serve calls."""

    def arrived(self, followed: "Followed") -> bool:
        """The follower has listed what it holds. Whether an earlier answer still permits it to serve calls."""

    def lost(self, followed: "Followed") -> None:
        """The follower's link has ended. Calls `followed.shows_nothing` once it can no longer serve calls, and
        `followed.ended` once nothing is left of its instances.
        """


class WriterNeeds(msgspec.Struct, frozen=True):
    """The parts of the writer's process that serve followers.

    `trusted` is the path of the certificates that functions trust, "" for none. Without `lives` all followers are on
    this machine, and a link ends only with its process. `drain_s` is how long (in seconds) running calls get to end
    when the writer is replaced.
    """

    catalog: Catalog
    resolver: Snapshots
    served: Served
    pool: Pool
    sink: LogSink
    observer: Observer
    packages: Packages
    answers: HostAnswers
    clocks: Clocks
    trusted: str
    lives: Lives | None = None
    drain_s: float = 0.0
    measured: Measured = not_measured
    recorded: Recorded = not_recorded
    images: Images | None = None


class Others(Protocol):
    """The part of `agents.writer.Writer` that is used here."""

    needs: WriterNeeds
    feed: CatalogFeed
    held: Counter[str]
    nonces: UsedNonces

    def machine_of(self, agent: int) -> int: ...

    def arrived(self, followed: "Followed") -> None: ...

    def lost(self, followed: "Followed") -> None: ...

    async def place(self, asker: "Followed", asked: m.Ask) -> m.Place: ...

    def pass_on(self, request: m.Request, fd: int, sender: "Followed") -> None: ...

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in a separate task."""


class Followed:
    def __init__(self, others: Others, agent: int, connected: "socket.socket | EarlyLink") -> None:
        self.agent = agent
        # By id: the stand-in for each instance that the follower has or holds a credit to start (`stand_in`).
        self.instances: dict[str, Instance] = {}
        # The same by snapshot key.
        self._by_key: dict[str, dict[str, Instance]] = {}
        # Calls in flight on the follower.
        self.calls = 0
        # `follows`: the catalog has been sent over the current link. `serves`: it may still serve calls by its catalog.
        self.follows = False
        self.serves = False
        # Whether another process is replacing the follower; it accepts no more requests then.
        self.leaving = False
        # Counts checks in a row during which it neither answered nor read what was sent to it.
        self.silence = Silence()
        self._pid = 0
        self._waiting_bytes = 0
        self._others = others
        self._sandboxes: dict[str, ElsewhereSandbox] = {}
        self.owed = Owed()
        self.idle = IdleThere(
            self.instances, self.of, lambda message: self.link.send(message), others.needs.clocks,
            others.needs.pool.capacity.told_free,
        )  # fmt: skip
        self._lent = LentPackages(others.needs.packages, others.needs.images)
        self._nonces = NoncesOfOne(others.nonces)
        self.handed_over = HandedOver(lambda message: self.link.send(message), self.idle.change)
        self._inside: dict[int, Callable[[], None]] = {}
        self.link: Link
        self._linked(connected)

    def _linked(self, connected: "socket.socket | EarlyLink") -> None:
        if isinstance(connected, socket.socket):
            link = self.link = Link(connected, self._take, lambda: self._lost(link))
        else:
            link = self.link = connected.link
            link.given_to(self._take, lambda: self._lost(link), connected.messages)

    def relink(self, connected: "socket.socket | EarlyLink") -> None:
        """Takes a new connection from the follower, or from the process that replaced it. It lists what it holds."""
        former = self.link
        self._unlinked()
        self.silence.answered()
        self._linked(connected)
        former.close()

    # Questions and messages to the follower.

    def look(self) -> None:
        """Asks whether the follower is alive, and counts a check to which it has not reacted."""
        if not self.silence.times:
            self.owed.looked()
            self.link.send(m.AreYouThere())
        if self.link.waiting_bytes >= self._waiting_bytes:
            self.silence.count(self._pid)
        self._waiting_bytes = self.link.waiting_bytes

    async def shows(self, revision: int) -> None:
        """Returns when the follower's catalog shows the change, or when it can no longer serve calls."""
        if self.serves:
            await self.owed.shown(revision)

    def tell(self, changed: m.Records) -> None:
        """Sends catalog changes that the follower must apply."""
        self.owed.sent(changed.revision)
        self.link.send(changed)

    @property
    def open(self) -> bool:
        """Whether the link is open, so that messages can be sent."""
        return self.link.open

    def takes(self, key: str) -> bool:
        """Whether a call could move to an instance of this snapshot at the follower."""
        return self.link.open and not self.leaving and self.has(key)

    def has(self, key: str) -> bool:
        return key in self._by_key

    def of(self, key: str) -> Collection[Instance]:
        """The stand-ins for instances of one snapshot."""
        return self._by_key.get(key, {}).values()

    def hold(self, instance: Instance) -> None:
        """Records that the follower holds the credit for this instance from now on."""
        instance_id = instance.instance_id
        self.instances[instance_id] = instance
        self._by_key.setdefault(instance.snapshot.key, {})[instance_id] = instance
        instance.elsewhere = True
        self._others.held[instance.snapshot.key] += 1
        sandbox = ElsewhereSandbox(instance_id, lambda abort: self.link.send(m.EndInstance(instance_id, abort)))
        self._sandboxes[instance_id] = sandbox
        instance.started(sandbox)

    # Messages from the follower.

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Wrote():
                self._others.needs.sink(message.source, message.request_id, message.data, message.more)
            case m.Ended():
                self._ended(message)
            case m.Measured():
                self._others.needs.measured(message.topic, message.rows)
            case m.Record():
                self._others.run(self._record(message))
            case m.Request():
                self._others.pass_on(message, taken(fds).detach(), self)
            case m.Ask():
                self._others.run(self._place(message))
            case m.UseNonces():
                self.link.send(self._nonces.use(message))
            case m.Gone():
                self._gone(message.instance_id)
            case m.IdleChanges():
                self.idle.change(message)
            case m.Counted():
                counts = self._others.needs.pool.counts
                self.calls = message.calls
                for name, more in message.counts.items():
                    setattr(counts, name, getattr(counts, name) + more)
            case m.Leaving():
                self.leaving = True
                self.link.send(m.Looked(message.n))
            case m.Takes() | m.Looked() | m.GivenUp():
                self.idle.answered(message)
            case m.Here():
                self.silence.answered()
                self.owed.here()
            case m.AreYouThere():
                self.owed.asked()
                self._answer()
            case m.Began() | m.Ran():
                self.handed_over.took(message)
            case m.Loaded():
                self.handed_over.has_loaded(message, self._others.needs.clocks.monotonic())
            case m.Seen():
                self.owed.seen(message.revision)
                self._answer()
            case m.LeasePackages():
                self._others.run(self._lent.lend(message, self.link))
            case m.Release():
                self._lent.release(message.n)
            case m.ServeInside():
                served = taken(fds)
                self._inside[message.number] = self._others.needs.answers.serve(
                    message.listen, served, f"agent {self.agent}, {message.instance}"
                )
            case m.ReachObjects():
                name = f"agent {self.agent}, {message.client}"
                self._others.run(reach(self._others.needs.answers, taken(fds), name))
            case m.EndInside():
                if (end := self._inside.pop(message.number, None)) is not None:
                    end()
            case m.Hello():
                self._hello(message)
            case _:
                raise AssertionError(f"a follower sent {type(message).__name__}")

    def _hello(self, hello: m.Hello) -> None:
        needs, self._pid = self._others.needs, hello.pid
        held_there = {held.instance_id for held in hello.holds}
        for instance_id in set(self.instances) - held_there:
            self._gone(instance_id)
        for held in hello.holds:
            instance = self.instances.get(held.instance_id)
            if instance is None:
                self._hold_again(held)
                continue
            if instance.state is State.IDLE:
                # Assume that it is busy; the follower reports next which of its instances are idle.
                instance.move(State.BUSY)
            self._sandboxes[held.instance_id].ask_again()
        if (former := self._lent.taken_out()) is not None:
            # The follower leases the packages that it still uses again, in its next messages.
            self._others.run(self._release_later(former))
        self.link.send(m.Welcome(needs.trusted, needs.observer.ended is not None))
        everything, revision = list(self._others.feed.everything()), needs.catalog.revision
        for at in range(0, max(len(everything), 1), RECORDS_TOGETHER):
            part = tuple(everything[at : at + RECORDS_TOGETHER])
            last = at + RECORDS_TOGETHER >= len(everything)
            self.tell(m.Records(part, revision, first=at == 0, last=last))
        self.follows = True
        self.serves = needs.lives is None or needs.lives.arrived(self)
        self._others.arrived(self)

    def _answer(self) -> None:
        """Answers the follower's questions whether its writer is there; each answer permits it to serve for a while."""
        lives = self._others.needs.lives
        for _ in range(self.owed.to_answer()):
            if lives is not None and lives.answers(self):
                self.serves = self.follows
                self.link.send(m.Here())

    def _hold_again(self, held: m.Held) -> None:
        """Counts an instance that the follower has started with a credit of a previous writer."""
        needs = self._others.needs
        try:
            snapshot = needs.resolver.resolve(held.target)
        except CallerError:
            # The function was deleted: the follower ends the instance when it receives that change.
            return
        instance = Instance(bare_of(snapshot, held), held.instance_id, needs.sink, needs.clocks)
        instance.machine = self._others.machine_of(self.agent)
        instance.move(State.BUSY)
        needs.pool.capacity.take(instance, was_there=True)
        self.hold(instance)

    async def _place(self, asked: m.Ask) -> None:
        self.link.send(await self._others.place(self, asked))

    async def _record(self, message: m.Record) -> None:
        await self._others.needs.recorded(message.recording)
        self.link.send(m.Looked(message.n))

    def _gone(self, instance_id: str) -> None:
        instance = self.instances.pop(instance_id, None)
        if instance is None:
            return
        key, held = instance.snapshot.key, self._others.held
        held[key] -= 1
        if not held[key]:
            del held[key]
        del self._by_key[key][instance_id]
        if not self._by_key[key]:
            del self._by_key[key]
        if instance.state is not State.DEAD:
            instance.move(State.DEAD)
        self._sandboxes.pop(instance_id).gone()
        self._others.needs.pool.capacity.free(instance)

    def _ended(self, message: m.Ended) -> None:
        tell = self._others.needs.observer.ended
        if tell is not None:
            tell(message.invocation, heard(message))

    async def _release_later(self, lent: LentPackages) -> None:
        await self._others.needs.clocks.sleep(LINGER_S)
        lent.release_all()

    # When the link ends.

    def _lost(self, link: Link) -> None:
        if link is not self.link:
            return
        self._unlinked()
        lives = self._others.needs.lives
        if lives is not None:
            lives.lost(self)
            return
        self.shows_nothing()
        self._others.lost(self)
        self._others.run(self._clear())

    def _unlinked(self) -> None:
        self.follows = False
        self.owed.another_link()
        self.handed_over.unlinked()
        self.idle.lost()
        for end in self._inside.values():
            end()
        self._inside.clear()

    def shows_nothing(self) -> None:
        """The follower can no longer serve calls: whoever waits for its catalog goes on."""
        self.serves = False
        self.owed.nothing()

    async def _clear(self) -> None:
        await self._others.needs.clocks.sleep(LINGER_S)
        self.ended()

    def ended(self) -> None:
        """Nothing is left of the follower's instances: frees their capacity, its calls and its packages."""
        for instance_id in list(self.instances):
            self._gone(instance_id)
        self.handed_over.lost()
        self._lent.release_all()
