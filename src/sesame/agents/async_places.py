"""Lets followers run asynchronous calls for the writer, which keeps the invocations' leases and records their results.

Used by `engine.async_places` through `_async`, if there are several agents.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sesame.agents.followed import Followed
from sesame.agents.handed_over import CutOff, NotHere
from sesame.agents.writer import Writer
from sesame.engine.async_pace import ADJUST_EVERY_S, STALE_AFTER_S
from sesame.engine.async_work import CallEngine, CallsOfEngine, Load, MachineState, Place
from sesame.engine.instance import State
from sesame.model.errors import CallerError, Exhausted, NotStarted, PlatformError
from sesame.model.invocation import Invocation, Outcome, Target, of_version
from sesame.model.snapshot import Snapshot

# How often another machine's load is considered: slightly less often than its follower reports it
# (`follower.TELLS_EVERY_S`).
LOOKS_EVERY_S = 0.3


class AsyncPlaces:
    """Implements `engine.async_work.OtherPlaces`."""

    def __init__(self, writer: Writer, engine: CallEngine, load: Load) -> None:
        self.writer = writer
        self.engine = engine
        self.load = load
        self._states = {0: MachineState(_Calls(self, 0), _Load(self, 0), os.cpu_count() or 1, ADJUST_EVERY_S)}
        writer.needs.catalog.on_change(lambda _change: self._forget_declined())

    def may_run(self, target: Target) -> Sequence[Place]:
        snapshot = self.snapshot(target)
        if snapshot is None or self.writer.calls.has_provisioned(snapshot):
            return ()
        return [
            _Follower(self, each, snapshot) for each in self.writer.followers.values() if self._may_run(each, target)
        ]

    def _may_run(self, followed: Followed, target: Target) -> bool:
        handed_over, now = followed.handed_over, self.writer.needs.clocks.monotonic()
        declines = target in handed_over.declined or handed_over.avoided.get(target, now) > now
        return not declines and _takes_calls(followed)

    def version_drawn(self, target: Target, before: str) -> str:
        return self.writer.needs.served.version_drawn(target, before)

    def idle_here(self, target: Target) -> int:
        snapshot = self.snapshot(target)
        return 0 if snapshot is None else self.writer.calls.places(snapshot)

    def concurrency(self, target: Target) -> int:
        snapshot = self.snapshot(target)
        return 1 if snapshot is None else snapshot.limits.concurrency

    def memory_left(self, machine: int) -> int:
        capacity = self.writer.needs.pool.capacity
        return 0 if capacity.machines is None else capacity.memory_left(machine)

    def machines(self) -> Mapping[int, MachineState]:
        there = {
            self.writer.machine_of(each.agent): each for each in self.writer.followers.values() if _takes_calls(each)
        }
        for number in self._states.keys() - there.keys() - {0}:
            del self._states[number]
        for number in there.keys() - self._states.keys():
            loaded = there[number].handed_over.loaded
            if loaded is not None:
                self._states[number] = MachineState(
                    _Calls(self, number), _Load(self, number), loaded.cores, LOOKS_EVERY_S
                )
        return self._states

    def on(self, machine: int) -> list[Followed]:
        return [each for each in self.writer.followers.values() if self.writer.machine_of(each.agent) == machine]

    def snapshot(self, target: Target) -> Snapshot | None:
        """The snapshot that a call of `target` runs; None if followers do not run it."""
        return self.writer.needs.served.of(target)

    async def handed_to(self, snapshot: Snapshot, chosen: Followed, target: Target) -> tuple[Followed | None, str]:
        """See `WritersCalls.handed_to`. Considers `chosen` first, then the other followers on its machine."""
        there = self.on(self.writer.machine_of(chosen.agent))
        beside = [each for each in there if each is not chosen and self._may_run(each, target)]
        return await self.writer.calls.handed_to(snapshot, [chosen, *beside])

    def _forget_declined(self) -> None:
        for each in self.writer.followers.values():
            each.handed_over.declined.clear()
            each.handed_over.avoided.clear()


def _takes_calls(followed: Followed) -> bool:
    told = followed.handed_over.loaded is not None
    return told and followed.follows and followed.serves and followed.link.open and not followed.leaving


class _Calls(CallsOfEngine):
    """The calls of all agents on one machine. Calls that followers serve by themselves are as of their last report."""

    def __init__(self, places: AsyncPlaces, machine: int) -> None:
        self._places = places
        self._machine = machine

    @property
    def calls_in_flight(self) -> int:
        calls = 0 if self._machine else self._places.engine.calls_in_flight
        for each in self._places.on(self._machine):
            loaded = each.handed_over.loaded
            calls += each.handed_over.calls + (0 if loaded is None else loaded.others)
        return calls

    @property
    def calls_ended(self) -> int:
        ended = 0 if self._machine else self._places.engine.calls_ended
        for each in self._places.on(self._machine):
            loaded = each.handed_over.loaded
            ended += each.handed_over.ended + (0 if loaded is None else loaded.ended)
        return ended


class _Load(Load):
    """The load of one machine: the highest that its agents report. Reports older than STALE_AFTER_S are ignored."""

    def __init__(self, places: AsyncPlaces, machine: int) -> None:
        self._places = places
        self._machine = machine

    def sample(self) -> float:
        now = self._places.writer.needs.clocks.monotonic()
        told = [
            each.handed_over.loaded.load
            for each in self._places.on(self._machine)
            if each.handed_over.loaded is not None and now - each.handed_over.loaded_at <= STALE_AFTER_S
        ]
        if self._machine == 0:
            told.append(self._places.load.sample())
        return max(told, default=1.0)


class _Follower:
    """Implements `engine.async_work.Place`."""

    def __init__(self, places: AsyncPlaces, followed: Followed, snapshot: Snapshot) -> None:
        """`snapshot` is what a call would run now; `invoke` resolves it again, as the function may change meanwhile."""
        self._places = places
        self._followed = followed
        self._snapshot = snapshot
        self.agent = followed.agent
        self.machine = places.writer.machine_of(followed.agent)

    def idle(self, target: Target) -> int:
        """How many more calls the follower's instances can take.

        For instances that serve several calls this is an upper bound: only calls handed over by the writer are known.
        """
        key, concurrency = self._snapshot.key, self._snapshot.limits.concurrency
        if concurrency == 1:
            return self._idle(key)
        return max(len(self._followed.of(key)) * concurrency - self._followed.handed_over.running[key], 0)

    def _idle(self, key: str) -> int:
        return sum(each.state is State.IDLE for each in self._followed.of(key))

    async def invoke(
        self, invocation: Invocation, entered: Callable[[], None], began: Callable[[str], None]
    ) -> Outcome:
        places, here = self._places, self._places.engine.invoke
        followed: Followed | None = self._followed

        def has_begun(instance_id: str) -> None:
            entered()
            began(instance_id)

        called = of_version(invocation.target, invocation.version)
        snapshot = places.snapshot(called)
        instance_id = ""
        if snapshot is None or not _takes_calls(self._followed):
            followed = None
        elif snapshot.limits.concurrency > 1:
            followed, instance_id = await places.handed_to(snapshot, self._followed, called)
        elif self._idle(snapshot.key) <= self._followed.handed_over.promised[snapshot.key]:
            instance_id = await places.writer.calls.credit_for(self._followed, snapshot, self._followed.link)
        if snapshot is None or followed is None:
            return await self._here(here(invocation, began), entered)
        handed_over = followed.handed_over
        if instance_id or snapshot.limits.concurrency > 1:
            # A place is reserved in an instance that counts already, unless the call has a credit for another one.
            entered()
        try:
            return await handed_over.run(invocation, snapshot.key, instance_id, has_begun)
        except NotHere:
            pass
        except (Exhausted, CutOff):
            raise
        except (NotStarted, PlatformError):
            handed_over.avoid(called, places.writer.needs.clocks.monotonic())
            raise
        except CallerError:
            # Call it here, so that the writer determines the error.
            pass
        return await self._here(here(invocation, began), entered)

    async def _here(self, call: Awaitable[Outcome], entered: Callable[[], None]) -> Outcome:
        entered()
        return await call
