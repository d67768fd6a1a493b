"""One follower, as the writer sees it: what it holds, what its catalog shows, and what it asks for.

Made by `agents.writer` for each follower that the supervisor introduces.
"""

import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from sesame.agents import messages as m
from sesame.agents.catalog_copy import CatalogFeed
from sesame.agents.endings import heard
from sesame.agents.handed_over import HandedOver
from sesame.agents.idle_there import IdleThere
from sesame.agents.link import Link
from sesame.agents.nonces import NoncesOfOne
from sesame.agents.owed import Owed
from sesame.agents.packages import LentPackages
from sesame.agents.policies import LINGER_S
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
from sesame.sandbox.launch import Packages
from sesame.sandbox.network import HostAnswers
from sesame.store.catalog import Catalog
from sesame.store.logs.logstores.metric_rows import Rows

RECORDS_TOGETHER = 200

Measured = Callable[[str, Rows], None]
"""Takes rows of metrics, by their topic."""

log = structlog.get_logger("sesame.agents")


def not_measured(_topic: str, _rows: Rows) -> None:
    """As `Measured`, where nothing is written."""


class Lives(Protocol):
    """How the writer knows that nothing is left of a follower whose link has ended."""

    def answers(self, followed: "Followed") -> bool:
        """Whether a follower that asks is told that its writer is there: it may answer calls from then on."""

    def arrived(self, followed: "Followed") -> bool:
        """It has said what it holds. Whether it may answer calls already, by what it was told before."""

    def lost(self, followed: "Followed") -> None:
        """Its link has ended. Calls `shows_nothing` when it answers no call any more, and `ended` in the end."""


class EarlyLink(msgspec.Struct, frozen=True):
    """A follower that came before there was a writer, and what it has said since."""

    link: Link
    messages: tuple[m.Message, ...]


class WriterNeeds(msgspec.Struct, frozen=True):
    """What followers use of the writer. `trusted` is the file of certificates for functions, "" for none.

    Without `lives`, followers die with their link: the kernel closes it. Calls have `drain_s` to end when the writer is
    replaced.
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
        """In a task of its own."""


class Followed:
    def __init__(self, others: Others, agent: int, connected: "socket.socket | EarlyLink") -> None:
        self.agent = agent
        # By their ids: for each instance that the follower has, or may start, what counts in its place.
        self.instances: dict[str, Instance] = {}
        # In flight there.
        self.calls = 0
        # Whether its catalog has been sent, over the link that there is; and whether it may answer calls by it still.
        self.follows = False
        self.serves = False
        # Whether another process comes in its place: it takes no more requests.
        self.leaving = False
        # How often it was looked at without an answer, nor taking what is sent to it.
        self.silence = Silence()
        self._pid = 0
        self._waiting_bytes = 0
        self._others = others
        self._sandboxes: dict[str, ElsewhereSandbox] = {}
        self.owed = Owed()
        self.idle = IdleThere(
            self.instances, lambda message: self.link.send(message), others.needs.clocks,
            others.needs.pool.capacity.told_free,
        )  # fmt: skip
        self._lent = LentPackages(others.needs.packages)
        self._nonces = NoncesOfOne(others.nonces)
        self.handed_over = HandedOver(lambda message: self.link.send(message), self.idle.rests)
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
        """The same follower is there again, or another process in its place: it says what it holds."""
        former = self.link
        self._unlinked()
        self.silence.answered()
        self._linked(connected)
        former.close()

    # What the writer asks.

    def look(self) -> None:
        """Asks whether it is there."""
        if not self.silence.times:
            self.owed.looked()
            self.link.send(m.AreYouThere())
        if self.link.waiting_bytes >= self._waiting_bytes:
            self.silence.count(self._pid)
        self._waiting_bytes = self.link.waiting_bytes

    async def shows(self, revision: int) -> None:
        """Returns when its catalog shows the change, or when it answers no call by it any more."""
        if self.serves:
            await self.owed.shown(revision)

    def tell(self, changed: m.Records) -> None:
        """Its catalog is to show these."""
        self.owed.sent(changed.revision)
        self.link.send(changed)

    @property
    def open(self) -> bool:
        """Whether it can be asked, and told."""
        return self.link.open

    def takes(self, key: str) -> bool:
        """Whether it may have an idle instance for a call that is elsewhere."""
        return self.link.open and not self.leaving and self.has(key)

    def has(self, key: str) -> bool:
        return any(each.snapshot.key == key for each in self.instances.values())

    def hold(self, instance: Instance) -> None:
        """The follower has the credit for this instance from here on."""
        instance_id = instance.instance_id
        self.instances[instance_id] = instance
        instance.elsewhere = True
        self._others.held[instance.snapshot.key] += 1
        sandbox = ElsewhereSandbox(instance_id, lambda abort: self.link.send(m.EndInstance(instance_id, abort)))
        self._sandboxes[instance_id] = sandbox
        instance.started(sandbox)

    # What it says.

    def _take(self, message: m.Message, fds: list[int]) -> None:
        match message:
            case m.Wrote():
                self._others.needs.sink(message.source, message.request_id, message.data, message.more)
            case m.Ended():
                self._ended(message)
            case m.Measured():
                self._others.needs.measured(message.topic, message.rows)
            case m.Request():
                self._others.pass_on(message, fds[0], self)
            case m.Ask():
                self._others.run(self._place(message))
            case m.UseNonces():
                self.link.send(self._nonces.use(message))
            case m.Gone():
                self._gone(message.instance_id)
            case m.Rests():
                self.idle.rests(message)
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
                served = socket.socket(fileno=fds[0])
                self._inside[message.number] = self._others.needs.answers.serve(
                    message.listen, served, f"agent {self.agent}, {message.instance}"
                )
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
                # As it says next of those that are.
                instance.move(State.BUSY)
            self._sandboxes[held.instance_id].ask_again()
        if (former := self._lent.taken_out()) is not None:
            # Those that it still has are leased again by what comes behind this.
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
        """That its writer is there: from then on it may answer calls, for a while."""
        lives = self._others.needs.lives
        for _ in range(self.owed.to_answer()):
            if lives is not None and lives.answers(self):
                self.serves = self.follows
                self.link.send(m.Here())

    def _hold_again(self, held: m.Held) -> None:
        """An instance that the follower has by the word of the writer before."""
        needs = self._others.needs
        try:
            snapshot = needs.resolver.resolve(held.target)
        except CallerError:
            # It was deleted: the follower ends it when it hears so.
            return
        instance = Instance(bare_of(snapshot, held), held.instance_id, needs.sink, needs.clocks)
        instance.machine = self._others.machine_of(self.agent)
        instance.move(State.BUSY)
        needs.pool.capacity.take(instance, was_there=True)
        self.hold(instance)

    async def _place(self, asked: m.Ask) -> None:
        self.link.send(await self._others.place(self, asked))

    def _gone(self, instance_id: str) -> None:
        instance = self.instances.pop(instance_id, None)
        if instance is None:
            return
        held = self._others.held
        held[instance.snapshot.key] -= 1
        if not held[instance.snapshot.key]:
            del held[instance.snapshot.key]
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

    # Its end.

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
        """It answers no call any more."""
        self.serves = False
        self.owed.nothing()

    async def _clear(self) -> None:
        await self._others.needs.clocks.sleep(LINGER_S)
        self.ended()

    def ended(self) -> None:
        """Nothing is left of its instances."""
        for instance_id in list(self.instances):
            self._gone(instance_id)
        self.handed_over.lost()
        self._lent.release_all()
