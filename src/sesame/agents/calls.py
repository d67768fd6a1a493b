"""Decides where a follower's calls run: in an instance that it has or may start, at another agent, or at the writer.

Created by `agents.follower`. The follower's endpoint uses it as its `fc.placement.Placement`; its engine wraps each
call with `serve`.
"""

import asyncio
import contextlib
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
from sesame.engine.pool import Pool
from sesame.http.interface import Exchange
from sesame.http.moving import Arrived, comes_anew, connection_of, is_proven, move
from sesame.http.request import Request
from sesame.identity.nonces import UsedNonces
from sesame.model.errors import Exhausted, Unavailable
from sesame.model.invocation import Invocation, Outcome, Target, of_version
from sesame.model.snapshot import Snapshot

TO_WRITER = m.Place(0, "", WRITER)
# The writer was lost while the call waited for its turn to ask: look for a place again.
UNKNOWN = m.Place(0, "", 0)
# How many times a call is tried if its function keeps changing before the call has begun.
CHANGES_MAX = 3
# POLICY: how long a call with a warm instance here waits for the writer to name a provisioned one instead. The answer
# normally takes well below a millisecond.
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
    """A call asked for an instance of a snapshot that, at the writer, has been replaced or deleted meanwhile."""


class OwnInstances(msgspec.Struct, frozen=True):
    """The instances that the follower has or may start, and the functions that it serves."""

    pool: Pool
    credits: CreditCapacity
    served: Served
    idle: KeptIdle
    held: HeldInstances


class Calls:
    """A follower's `fc.placement.Placement`; methods without a docstring follow that protocol."""

    def __init__(self, follower: OfFollower, own: OwnInstances) -> None:
        self.nonces = follower.nonces
        self._follower = follower
        self._writer = follower.writer
        self._backlog = follower.backlog
        self._credits, self._served, self._idle, self._held = own.credits, own.served, own.idle, own.held
        # False for a function whose instances failed to start here recently.
        self._starts = own.pool.startup.may_start
        self._nonces_of_all = NoncesOfAll(follower.ask)
        # By snapshot key, for functions whose instances serve several calls; a lock exists while calls wait for it.
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
            return asyncio.ensure_future(self.move_to(TO_WRITER, exchange, proven=True))
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
        """Moves every request except one whose path names an instance of this agent."""
        if self._follower.keeps(exchange.request):
            return None
        return asyncio.ensure_future(self.move_to(TO_WRITER, exchange, proven=False))

    async def serve(self, invoke: Invoke, invocation: Invocation, *others: Any) -> Outcome:
        """Calls `invoke`, again for the new snapshot if the function changes before the call has begun.

        Raises `Unavailable` if this agent may not serve the call, or if the function changes CHANGES_MAX times.
        """
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
                # The call has not begun, and the writer sent the change before its answer: the catalog here shows it.
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
        """For a call that has found a warm instance here: moves it to an idle provisioned instance if there is one.

        Only the writer has provisioned instances. False if the call is served here.
        """
        moves = _moves(call.exchange)
        if moves or not self._writer.takes_requests.is_set():
            return False
        try:
            async with asyncio.timeout(PROVISIONED_WITHIN_S):
                place = await self._asked(call.target, call.snapshot, moves, warm=True)
        except (TimeoutError, Unavailable):
            return False
        if place.agent != HERE:
            # A connection that cannot move is served here, by the warm instance.
            with contextlib.suppress(Unavailable):
                return await self.move_to(place, call.exchange, proven=True)
        return not self._idle.has_now(call.snapshot) and await self._find_place(call)

    async def _find_place(self, call: "_Call") -> bool:
        snapshot, exchange = call.snapshot, call.exchange
        moves = _moves(exchange)
        if moves >= MOVES_MAX:
            return await self.move_to(TO_WRITER, exchange, proven=True)

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
            return await self.move_to(place, exchange, proven=True)

    async def _place(self, call: "_Call", moves: int) -> m.Place | None:
        """Returns the place at another agent, `UNKNOWN`, or None for a place here; the call then counts as coming."""
        snapshot = call.snapshot
        if snapshot.limits.concurrency == 1:
            place = await self._asked(call.target, snapshot, moves)
        else:
            # One call asks at a time: the instance that it gets may have room for the calls that wait.
            async with self._turns.setdefault(snapshot.key, asyncio.Lock()):
                if self._idle.joins(snapshot, call.task):
                    return None
                if not self._writer.here.is_set():
                    # Asking would wait for the next writer while holding the lock, so waits would add up.
                    return UNKNOWN
                place = await self._asked(call.target, snapshot, moves)
        if place.instance_id:
            self._credits.grant(snapshot.key, place.instance_id, call.task)
        elif place.agent != HERE:
            return place
        return None

    async def _lend(self, snapshot: Snapshot) -> None:
        """Used as `credits.Ask`: another call may have taken the place that was found, or the start may have failed."""
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

    async def move_to(self, place: m.Place, exchange: Exchange, *, proven: bool) -> bool:
        """Moves the connection to `place`; returns True. Raises `Unavailable` if it cannot move."""
        follower, writer = self._follower, self._writer
        await writer.waited(writer.takes_requests if place.agent == WRITER else writer.here)
        moved = await move(exchange, proven=proven)
        if moved is None:
            raise Unavailable("this agent cannot serve the request, and the connection cannot move to another")
        if follower.link is None:
            # The writer has just ended: take the connection back; it moves again once there is a next writer.
            follower.adopt(socket.socket(fileno=moved.fd), moved.arrived)
        elif follower.carry is not None:
            follower.carry(place.address, moved)
        else:
            follower.link.send(m.Request(place.agent, moved.arrived), [moved.fd])
        return True


class _Call(msgspec.Struct, frozen=True):
    """A request for which a place is sought. `task` answers the request."""

    target: Target
    snapshot: Snapshot
    exchange: Exchange
    task: Caller


def _moves(exchange: Exchange) -> int:
    connection = connection_of(exchange)
    return MOVES_MAX if connection is None else connection.moves
