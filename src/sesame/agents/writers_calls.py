"""Where calls go that come to the writer, and those for which followers ask it: to an instance, or to a new one.

Made by `agents.writer`, whose endpoint asks it (`fc.placement`), and whose engine has it around each call.
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
    """A `fc.placement.Placement`."""

    def __init__(self, writer: OfWriter, idle_there: IdleOfAll) -> None:
        self._writer = writer
        self._needs = writer.needs
        self._pool = writer.needs.pool
        self._idle_there = idle_there
        self._idle = KeptIdle(writer.needs.pool, writer.needs.clocks.monotonic)
        # Of calls whose instance may serve several, by snapshot; each is there while a place is looked for.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def nonces(self) -> UsedNonces:
        """As `fc.placement.Placement`: those that any agent has seen."""
        return self._writer.nonces

    def first_use(self, _nonce: bytes) -> None:
        """As `fc.placement.Placement`."""

    def serves_calls_of(self, _target: Target) -> bool:
        """As `fc.placement.Placement`."""
        return True

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """As `fc.placement.Placement`."""
        return self._needs.served.drawn(target, exchange)

    def moves(self, called: Target, exchange: Exchange) -> "asyncio.Future[bool] | None":
        """As `fc.placement.Placement`, for a call that came to the writer."""
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
        """`invoke`, before which the call that asks for an instance is no longer one that comes."""

        def invoked(*call: Any) -> Awaitable[Outcome]:
            if self._idle.coming and (task := asyncio.current_task()) is not None:
                self._idle.coming.leaves(task)
            return invoke(*call)

        return invoked

    def proven(self, exchange: Exchange) -> bool:
        """As `fc.placement.Placement`."""
        return is_proven(exchange)

    async def opens_here(self, exchange: Exchange) -> bool:
        """As `fc.placement.Placement`."""
        return await comes_anew(exchange, self._writer.adopt)

    def came(self, target: Target, *, moved: bool) -> None:
        """As `fc.placement.Placement`."""
        with contextlib.suppress(CallerError):
            snapshot = self._needs.resolver.shares(target)[0][0]
            if moved:
                self._idle.came(snapshot.key)
            if snapshot.limits.concurrency > 1:
                self._idle.joins(snapshot, this_task())

    def to_writer(self, exchange: Exchange) -> "asyncio.Future[bool] | None":
        """As `fc.placement.Placement`: it is here already, and stays unless an instance of a follower is named."""
        connection = connection_of(exchange) if self._writer.held else None
        agent = 0 if connection is None or connection.moves >= MOVES_MAX else self.holder(exchange.request)
        return asyncio.ensure_future(self._send_to(agent, exchange)) if agent else None

    def holder(self, request: Request) -> int:
        """The follower of whose instance the path speaks; 0 for none."""
        instance_id = named_instance(request.raw_path)
        return next((each.agent for each in self._writer.followers.values() if instance_id in each.instances), 0)

    async def _send_to(self, agent: int, exchange: Exchange, *, proven: bool = False) -> bool:
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
            # One that has become idle on a follower in this moment may have to go for it.
            await self._idle_there.hear()
        return False

    async def _move_to_room(self, snapshot: Snapshot, exchange: Exchange, caller: Caller) -> bool:
        """As `_move_to_idle`, of a call whose instance may serve several. One that stays is counted in."""
        async with self._turn(snapshot.key):
            # What was looked for before may have room for it.
            if self._idle.joins(snapshot, caller):
                return False
            if await self._move_to_idle(snapshot, exchange):
                return True
            self._idle.coming.add(snapshot.key, caller)
            return False

    def _turn(self, key: str) -> asyncio.Lock:
        """One place is looked for at a time: it may have room for those who look behind."""
        return self._turns.setdefault(key, asyncio.Lock())

    async def _moved_to_idle(self, snapshot: Snapshot, exchange: Exchange, *, room: bool) -> bool:
        connection = connection_of(exchange)
        if connection is None or connection.moves >= MOVES_MAX or not self._writer.held[snapshot.key]:
            return False
        agent = await self._idle_at(WRITER, snapshot, room=room)
        return await self._send_to(agent, exchange, proven=True)

    # Of followers.

    async def place(self, asker: Followed, asked: m.Ask) -> m.Place:
        """Where a call goes that has found no idle instance on the follower that asks."""
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
            # The writer says to the caller itself what is wrong.
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
        """Which of these followers runs an asynchronous call, with the credit that it needs, "" for none.

        None for the writer itself, if it is on the same machine. Of a snapshot whose instances serve several calls:
        where there is a place, else where a new instance starts, at the first of them. Raises `Exhausted`.
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
        """Whether this agent has an idle instance that was started ahead of calls, which take it first."""
        return self._needs.served.may_be_provisioned(snapshot) and self._idle.has_provisioned(snapshot)

    def places(self, snapshot: Snapshot) -> int:
        """How many more calls the instances of this agent take, beside those that are coming."""
        return self._idle.places(snapshot)

    def _roomy(self, but: int, snapshot: Snapshot) -> int:
        there = {
            each.agent: self._writer.machine_of(each.agent) for each in self._writer.followers.values() if each.follows
        }
        return with_room(self._pool, {a: on for a, on in there.items() if on != but}, snapshot)

    async def credit_for(self, followed: Followed, snapshot: Snapshot, link: Link) -> str:
        """The id of an instance that it may start, by what is sent over this link. Raises as a call would."""
        instance = await self._set_aside(snapshot, self._writer.machine_of(followed.agent))
        if followed.link is not link or not link.open:
            self._pool.capacity.free(instance)
            raise Unavailable("the agent that was to have an instance has ended")
        followed.hold(instance)
        return instance.instance_id

    async def _set_aside(self, snapshot: Snapshot, machine: int) -> Instance:
        """As `set_aside`: one that has become idle on a follower in this moment may have to go."""
        with contextlib.suppress(Exhausted):
            return await set_aside(self._pool, snapshot, machine)
        await self._idle_there.hear()
        return await set_aside(self._pool, snapshot, machine)

    def _place_at(self, asked: m.Ask, agent: int, full: str = "") -> m.Place:
        return m.Place(asked.n, "", agent, self._writer.addresses.get(agent, ""), full)

    async def _idle_at(self, asker: int, snapshot: Snapshot, *, room: bool) -> int:
        """The agent that keeps an idle instance for a call, other than the one that asks; 0 for none."""
        key = snapshot.key
        if asker != WRITER and self._idle.keep(key, snapshot.limits.concurrency, room=room)[0]:
            return WRITER
        for each in list(self._writer.followers.values()):
            if each.agent != asker and each.takes(key) and await each.idle.keeps(snapshot, room=room):
                return each.agent
        return 0
