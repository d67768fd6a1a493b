"""Where a follower's calls go: to an instance that it has or may start, to one of another agent, or to the writer.

Made by `agents.follower`, whose endpoint asks it (`fc.placement`), and whose engine has it around each call.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from sesame.agents import messages as m
from sesame.agents.backlog import Backlog
from sesame.agents.coming import Caller, this_task
from sesame.agents.credits import CreditCapacity
from sesame.agents.held import HeldInstances
from sesame.agents.kept_idle import KeptIdle
from sesame.agents.link import Carry, Link
from sesame.agents.nonces import NoncesOfAll
from sesame.agents.policies import HERE, MOVES_MAX, WRITER
from sesame.agents.presence import Life, Presence
from sesame.agents.served import Served
from sesame.engine.interface import Invoke
from sesame.http.interface import Exchange
from sesame.http.moving import Arrived, comes_anew, connection_of, is_proven, move
from sesame.http.request import Request
from sesame.identity.nonces import UsedNonces
from sesame.model.errors import Exhausted, Unavailable
from sesame.model.invocation import Invocation, Outcome, Target, of_version
from sesame.model.snapshot import Snapshot

TO_WRITER = m.Place(0, "", WRITER)
# The writer went while others asked it.
UNKNOWN = m.Place(0, "", 0)
# A call of a function that changes is tried so often by what it has become.
CHANGES_MAX = 3
# POLICY: a call that has a warm instance here waits so long to hear of one that is provisioned; it takes well below a
# millisecond, where the writer is there.
PROVISIONED_WITHIN_S = 0.5


class OfFollower(Protocol):
    """The part of `agents.follower.Follower` that is used here."""

    carry: Carry | None
    life: Life | None
    writer: Presence
    backlog: Backlog
    nonces: UsedNonces

    @property
    def link(self) -> Link | None: ...

    def ask(self, question: Callable[[int], m.Message]) -> Awaitable[m.Message]: ...

    def keeps(self, request: Request) -> bool: ...

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None: ...


class Changed(Unavailable):
    """The writer has a newer snapshot of the function than a call that asks for an instance, or none any more."""


class OwnInstances(msgspec.Struct, frozen=True):
    """Those that the follower has or may start, and of which functions. A function `starts` unless it failed to."""

    credits: CreditCapacity
    served: Served
    idle: KeptIdle
    held: HeldInstances
    starts: Callable[[Snapshot], bool]


class Calls:
    """A `fc.placement.Placement`."""

    def __init__(self, follower: OfFollower, own: OwnInstances) -> None:
        self.nonces = follower.nonces
        self._follower = follower
        self._writer = follower.writer
        self._backlog = follower.backlog
        self._credits, self._served, self._idle, self._held = own.credits, own.served, own.idle, own.held
        self._starts = own.starts
        self._nonces_of_all = NoncesOfAll(follower.ask)
        # Of calls whose instance may serve several, by snapshot; each is there while somebody waits.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        own.credits.ask = self._lend

    def first_use(self, nonce: bytes) -> "asyncio.Future[bool]":
        return self._nonces_of_all.first_use(nonce)

    def proven(self, exchange: Exchange) -> bool:
        return is_proven(exchange)

    def serves_calls_of(self, target: Target) -> bool:
        return self._may_serve() and self._served.serves_calls_of(target)

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        return self._served.drawn(target, exchange)

    def moves(self, called: Target, exchange: Exchange) -> "asyncio.Future[bool] | None":
        snapshot = self._served.of(called)
        if snapshot is None or not self._may_serve():
            return asyncio.ensure_future(self._move(TO_WRITER, exchange, proven=True))
        if self._idle.finds(snapshot, exchange):
            if not self._served.may_be_provisioned(snapshot):
                return None
            find = self._find_provisioned
        else:
            find = self._find_place
        return asyncio.ensure_future(find(_Call(called, snapshot, exchange, this_task())))

    async def opens_here(self, exchange: Exchange) -> bool:
        if not await comes_anew(exchange, self._follower.adopt):
            return False
        self._credits.leaves(this_task())
        return True

    def came(self, target: Target, *, moved: bool) -> None:
        snapshot = self._served.of(target)
        if snapshot is None:
            return
        if moved:
            self._idle.came(snapshot.key)
        if snapshot.limits.concurrency > 1:
            self._idle.joins(snapshot, this_task())
        elif not moved:
            self._credits.comes_for(snapshot.key, this_task())

    def to_writer(self, exchange: Exchange) -> "asyncio.Future[bool] | None":
        """All but what names an instance that is here."""
        if self._follower.keeps(exchange.request):
            return None
        return asyncio.ensure_future(self._move(TO_WRITER, exchange, proven=False))

    async def serve(self, invoke: Invoke, invocation: Invocation, *others: Any) -> Outcome:
        """`invoke`, unless the call may not be served here any more."""
        if not self._may_serve():
            raise Unavailable("this node has not heard from the writer of its cluster for too long: call again")
        target = of_version(invocation.target, invocation.version)
        for _ in range(CHANGES_MAX):
            snapshot = self._served.of(target)
            if snapshot is None:
                snapshot = self._served.changed(target)
                invocation = msgspec.structs.replace(invocation, version=snapshot.version_id)
            self._credits.begun(snapshot.key, this_task(), warm=self._idle.has_now(snapshot))
            try:
                return await invoke(invocation, *others)
            except Changed:
                # It has not begun, and the change has come here with the writer's answer.
                continue
            except BaseException:
                self._credits.not_needed(snapshot.key)
                raise
            finally:
                self._held.end_revoked()
                self._backlog.step()
        raise Changed("the function changed while it was called: call it again")

    def _may_serve(self) -> bool:
        life = self._follower.life
        return life is None or life.lasts()

    async def _find_provisioned(self, call: "_Call") -> bool:
        """For a call that has found an instance here, which may be used only where none is provisioned for it."""
        moves = _moves(call.exchange)
        if moves or not self._writer.takes_requests.is_set():
            return False
        try:
            async with asyncio.timeout(PROVISIONED_WITHIN_S):
                place = await self._asked(call.target, call.snapshot, moves, warm=True)
        except (TimeoutError, Unavailable):
            return False
        if place.agent != HERE:
            return await self._move(place, call.exchange, proven=True)
        return not self._idle.has_now(call.snapshot) and await self._find_place(call)

    async def _find_place(self, call: "_Call") -> bool:
        snapshot, exchange = call.snapshot, call.exchange
        moves = _moves(exchange)
        if moves >= MOVES_MAX:
            return await self._move(TO_WRITER, exchange, proven=True)

        def has_room() -> bool:
            spare = not self._writer.here.is_set() and self._credits.has_credit(snapshot.key)
            return spare or self._idle.has(snapshot)

        while True:
            try:
                async with self._backlog.turn(has_room, self._writer.patience_s):
                    if self._idle.joins(snapshot, call.task) or has_room():
                        return False
                    if not self._writer.here.is_set():
                        continue
                    place = await self._place(call, moves)
                    if place is None:
                        return False
                    if place is UNKNOWN:
                        continue
            except TimeoutError:
                raise self._writer.missing() from None
            return await self._move(place, exchange, proven=True)

    async def _place(self, call: "_Call", moves: int) -> m.Place | None:
        """Another agent's, or `UNKNOWN`; None for one here, which the call is counted in for."""
        snapshot = call.snapshot
        if snapshot.limits.concurrency == 1:
            place = await self._asked(call.target, snapshot, moves)
        else:
            # One call asks at a time: what it gets may have room for those behind it.
            async with self._turns.setdefault(snapshot.key, asyncio.Lock()):
                if self._idle.joins(snapshot, call.task):
                    return None
                if not self._writer.here.is_set():
                    # Whoever asks now waits for the next writer, and those behind it once more each.
                    return UNKNOWN
                place = await self._asked(call.target, snapshot, moves)
        if place.instance_id:
            self._credits.grant(snapshot.key, place.instance_id, call.task)
        elif place.agent != HERE:
            return place
        return None

    async def _lend(self, snapshot: Snapshot) -> None:
        """As `credits.Ask`: what a call has found may be taken, or have failed to start, since its place was found."""
        target = Target(snapshot.service, snapshot.version_id, snapshot.function)
        place = await self._asked(target, snapshot, MOVES_MAX)
        if place.instance_id:
            self._credits.spare(snapshot.key, place.instance_id)
        elif place.full:
            raise Exhausted(place.full)
        else:
            raise Changed("the function changed while an instance was asked for")

    async def _asked(self, target: Target, snapshot: Snapshot, moves: int, *, warm: bool = False) -> m.Place:
        starts = self._starts(snapshot)
        place = await self._follower.ask(lambda n: m.Ask(n, target, snapshot.key, moves, starts, warm))
        assert isinstance(place, m.Place)
        return place

    async def _move(self, place: m.Place, exchange: Exchange, *, proven: bool) -> bool:
        """Raises `Unavailable` where the request cannot move, and so is not answered here."""
        follower, writer = self._follower, self._writer
        await writer.waited(writer.takes_requests if place.agent == WRITER else writer.here)
        moved = await move(exchange, proven=proven)
        if moved is None:
            raise Unavailable("this agent cannot serve the request, and the connection cannot move to another")
        if follower.link is None:
            # It has ended in this moment: back here, and then to the next one.
            follower.adopt(socket.socket(fileno=moved.fd), moved.arrived)
        elif follower.carry is not None:
            follower.carry(place.address, moved)
        else:
            follower.link.send(m.Request(place.agent, moved.arrived), [moved.fd])
        return True


class _Call(msgspec.Struct, frozen=True):
    """A request that looks for its place; `task` answers it, and ends with it."""

    target: Target
    snapshot: Snapshot
    exchange: Exchange
    task: Caller


def _moves(exchange: Exchange) -> int:
    connection = connection_of(exchange)
    return MOVES_MAX if connection is None else connection.moves
