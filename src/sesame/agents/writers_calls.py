"""Decides where calls run: those that arrive at the writer, and those for which a follower asks the writer.

Created by `agents.writer`. The writer's endpoint uses it as its `fc.placement.Placement`; its engine wraps each call
with `around`.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from sesame.agents import messages as m
from sesame.agents.coming import Caller, this_task
from sesame.agents.followed import Followed, WriterNeeds
from sesame.agents.idle_there import IdleOfAll
from sesame.agents.kept_idle import KeptIdle
from sesame.agents.link import Carry, Link
from sesame.agents.policies import HERE, MOVES_MAX, WRITER, named_instance
from sesame.agents.stand_in import set_aside, with_room
from sesame.engine.instance import Instance
from sesame.engine.interface import Invoke
from sesame.http.interface import Exchange
from sesame.http.moving import Arrived, comes_anew, connection_of, is_proven, move
from sesame.http.request import Request
from sesame.identity.nonces import UsedNonces
from sesame.model.errors import CallerError, Exhausted, SesameError, Unavailable
from sesame.model.invocation import Outcome, Target
from sesame.model.snapshot import Snapshot


class OfWriter(Protocol):
    """The part of `agents.writer.Writer` that is used here."""

    needs: WriterNeeds
    followers: dict[int, Followed]
    held: Counter[str]
    nonces: UsedNonces
    carry: Carry | None
    addresses: Mapping[int, str]

    def machine_of(self, agent: int) -> int: ...

    async def gather(self) -> None: ...

    def hand_on(self, request: m.Request, fd: int) -> None: ...

    def adopt(self, connected: socket.socket, arrived: Arrived) -> None: ...


class WritersCalls:
    """The writer's `fc.placement.Placement`; methods without a docstring of their own follow that protocol."""

    def __init__(self, writer: OfWriter, idle_there: IdleOfAll) -> None:
        self._writer = writer
        self._needs = writer.needs
        self._pool = writer.needs.pool
        self._idle_there = idle_there
        self._idle = KeptIdle(writer.needs.pool, writer.needs.clocks.monotonic)
        # By snapshot key, for functions whose instances serve several calls; a lock exists while a place is sought.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def nonces(self) -> UsedNonces:
        """The nonces that any agent has seen."""
        return self._writer.nonces

    def first_use(self, _nonce: bytes) -> None:
        """Returns None: the writer has seen the nonces of all agents."""

    def serves_calls_of(self, _target: Target) -> bool:
        """Returns True: the writer may serve every call."""
        return True

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """See `fc.placement.Placement.drawn`."""
        return self._needs.served.drawn(target, exchange)

    def moves(self, called: Target, exchange: Exchange) -> "asyncio.Future[bool] | None":
        """Decides where a call that arrived at the writer runs. See `fc.placement.Placement.moves`."""
        served = self._needs.served.of(called)
        if served is not None and served.limits.concurrency > 1:
            if self._idle.finds(served, exchange):
                return None
            return asyncio.ensure_future(self._move_to_room(served, exchange, this_task()))
        if not self._writer.held and not self._idle.keeps_any:
            return None
        try:
            snapshot, *others = [each for each, _share in self._needs.resolver.shares(called)]
        except CallerError:
            return None
        if others or self._idle.finds(snapshot, exchange):
            return None
        if not self._writer.held[snapshot.key] and self._pool.capacity.has_free(snapshot):
            return None
        return asyncio.ensure_future(self._move_to_idle(snapshot, exchange))

    def around(self, invoke: Invoke) -> Invoke:
        """Wraps `invoke`: a call that reaches the engine asks for its instance and no longer counts as coming."""

        def invoked(*call: Any) -> Awaitable[Outcome]:
            if self._idle.coming and (task := asyncio.current_task()) is not None:
                self._idle.coming.leaves(task)
            return invoke(*call)

        return invoked

    def proven(self, exchange: Exchange) -> bool:
        """See `fc.placement.Placement.proven`."""
        return is_proven(exchange)

    async def opens_here(self, exchange: Exchange) -> bool:
        """See `fc.placement.Placement.opens_here`."""
        return await comes_anew(exchange, self._writer.adopt)

    def came(self, target: Target, *, moved: bool) -> None:
        """See `fc.placement.Placement.came`."""
        with contextlib.suppress(CallerError):
            snapshot = self._needs.resolver.shares(target)[0][0]
            if moved:
                self._idle.came(snapshot.key)
            if snapshot.limits.concurrency > 1:
                self._idle.joins(snapshot, this_task())

    def to_writer(self, exchange: Exchange) -> "asyncio.Future[bool] | None":
        """Moves the request only if its path names an instance of a follower; otherwise returns None."""
        connection = connection_of(exchange) if self._writer.held else None
        agent = 0 if connection is None or connection.moves >= MOVES_MAX else self.holder(exchange.request)
        return asyncio.ensure_future(self.move_to(agent, exchange)) if agent else None

    def holder(self, request: Request) -> int:
        """The number of the follower that has the instance named in the request's path; 0 if there is none."""
        instance_id = named_instance(request.raw_path)
        return next((each.agent for each in self._writer.followers.values() if instance_id in each.instances), 0)

    async def move_to(self, agent: int, exchange: Exchange, *, proven: bool = False) -> bool:
        if agent not in self._writer.followers or (moved := await move(exchange, proven=proven)) is None:
            return False
        address = self._writer.addresses.get(agent)
        if self._writer.carry is None:
            self._writer.hand_on(m.Request(agent, moved.arrived), moved.fd)
        elif address is not None:
            self._writer.carry(address, moved)
        else:
            self._writer.adopt(socket.socket(fileno=moved.fd), moved.arrived)
        return True

    async def _move_to_idle(self, snapshot: Snapshot, exchange: Exchange) -> bool:
        room = self._pool.capacity.has_free(snapshot)
        if await self._moved_to_idle(snapshot, exchange, room=room):
            return True
        if not room:
            # The call needs another instance evicted: learn which instances of followers have become idle just now.
            await self._idle_there.hear()
        return False

    async def _move_to_room(self, snapshot: Snapshot, exchange: Exchange, caller: Caller) -> bool:
        """Like `_move_to_idle`, for instances that serve several calls. A call that stays here counts as coming."""
        async with self._turn(snapshot.key):
            # The instance that the previous call is about to start may have room for this one.
            if self._idle.joins(snapshot, caller):
                return False
            if await self._move_to_idle(snapshot, exchange):
                return True
            self._idle.coming.add(snapshot.key, caller)
            return False

    def _turn(self, key: str) -> asyncio.Lock:
        """Serializes the search for places of one snapshot: an instance found for one call may serve the next too."""
        return self._turns.setdefault(key, asyncio.Lock())

    async def _moved_to_idle(self, snapshot: Snapshot, exchange: Exchange, *, room: bool) -> bool:
        connection = connection_of(exchange)
        if connection is None or connection.moves >= MOVES_MAX or not self._writer.held[snapshot.key]:
            return False
        agent = await self._idle_at(WRITER, snapshot, room=room)
        return await self.move_to(agent, exchange, proven=True)

    # For followers.

    async def place(self, asker: Followed, asked: m.Ask) -> m.Place:
        """Answers a follower that asks where a call shall run. Never raises a `SesameError`: such calls come here."""
        nowhere = m.Place(asked.n, "", WRITER)
        link = asker.link
        await self._writer.gather()
        try:
            snapshot = self._needs.resolver.resolve(asked.target)
            if snapshot.key != asked.key:
                return nowhere
            if asked.warm:
                return self._place_at(asked, WRITER if self._idle.keeps_provisioned(snapshot) else HERE)
            if snapshot.limits.concurrency == 1:
                return await self._placed(asker, asked, snapshot, link)
            async with self._turn(snapshot.key):
                return await self._placed(asker, asked, snapshot, link)
        except SesameError:
            # Send the call to the writer, which then answers the caller with the error.
            return nowhere

    async def _placed(self, asker: Followed, asked: m.Ask, snapshot: Snapshot, link: Link) -> m.Place:
        machine = self._writer.machine_of(asker.agent)
        room = asked.starts and self._pool.capacity.has_free(snapshot, machine=machine)
        may_move = asked.moves < MOVES_MAX
        if may_move and (agent := await self._idle_at(asker.agent, snapshot, room=room)):
            return self._place_at(asked, agent)
        if not asked.starts:
            asker.handed_over.avoid(asked.target, self._needs.clocks.monotonic())
            return m.Place(asked.n, "", HERE)
        if may_move and self._idle.starts(snapshot):
            return self._place_at(asked, WRITER)
        try:
            instance_id = await self.credit_for(asker, snapshot, link)
        except Exhausted as full:
            agent = await self._idle_at(asker.agent, snapshot, room=False) if may_move else WRITER
            return self._place_at(asked, agent or self._roomy(machine, snapshot) or WRITER, str(full))
        return m.Place(asked.n, instance_id, asker.agent)

    async def handed_to(self, snapshot: Snapshot, able: Sequence[Followed]) -> tuple[Followed | None, str]:
        """Chooses which follower of `able` runs an asynchronous call; for instances that serve several calls.

        Returns the follower and the id of its credit; the id is "" if one of its instances has a free place. Without
        any free place the first follower gets a credit for a new instance. Returns None and "" if the writer itself
        shall run the call, which it does only if it is on the same machine. Raises `Exhausted` without capacity.
        """
        async with self._turn(snapshot.key):
            first = able[0]
            for each in able:
                if each.takes(snapshot.key) and await each.idle.keeps(snapshot, room=False):
                    return each, ""
            here = self._writer.machine_of(first.agent) == self._writer.machine_of(WRITER)
            if here and (self._idle.has(snapshot) or self._idle.starts(snapshot)):
                return None, ""
            return first, await self.credit_for(first, snapshot, first.link)

    def has_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether this agent has an idle provisioned instance of the snapshot; calls use it before any other."""
        return self._needs.served.may_be_provisioned(snapshot) and self._idle.has_provisioned(snapshot)

    def places(self, snapshot: Snapshot) -> int:
        """How many more calls the instances of this agent can take, not counting places for calls that are coming."""
        return self._idle.places(snapshot)

    def _roomy(self, but: int, snapshot: Snapshot) -> int:
        there = {
            each.agent: self._writer.machine_of(each.agent) for each in self._writer.followers.values() if each.follows
        }
        return with_room(self._pool, {a: on for a, on in there.items() if on != but}, snapshot)

    async def credit_for(self, followed: Followed, snapshot: Snapshot, link: Link) -> str:
        """Grants the follower a credit and returns the instance's id, for a message over `link`.

        Raises `Exhausted` without capacity, and `Unavailable` if `link` has ended meanwhile.
        """
        instance = await self._set_aside(snapshot, self._writer.machine_of(followed.agent))
        if followed.link is not link or not link.open:
            self._pool.capacity.free(instance)
            raise Unavailable("the agent that was to have an instance has ended")
        followed.hold(instance)
        return instance.instance_id

    async def _set_aside(self, snapshot: Snapshot, machine: int) -> Instance:
        """Like `set_aside`, but before failing asks followers which instances are idle now and could be evicted."""
        with contextlib.suppress(Exhausted):
            return await set_aside(self._pool, snapshot, machine)
        await self._idle_there.hear()
        return await set_aside(self._pool, snapshot, machine)

    def _place_at(self, asked: m.Ask, agent: int, full: str = "") -> m.Place:
        return m.Place(asked.n, "", agent, self._writer.addresses.get(agent, ""), full)

    async def _idle_at(self, asker: int, snapshot: Snapshot, *, room: bool) -> int:
        """Reserves an idle instance for a call at an agent other than `asker`. Returns its number, or 0 for none."""
        key = snapshot.key
        if asker != WRITER and self._idle.keep(key, snapshot.limits.concurrency, room=room)[0]:
            return WRITER
        for each in list(self._writer.followers.values()):
            if each.agent != asker and each.takes(key) and await each.idle.keeps(snapshot, room=room):
                return each.agent
        return 0
