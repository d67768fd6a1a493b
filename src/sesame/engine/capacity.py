"""Which functions may have one more instance: capacity under the caps, and slots for starting.

Used by `engine.pool`, which asks before each cold start and reports when an instance has ended. Starts and ends nothing
itself.
"""

import asyncio
import sys
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from sesame.engine.instance import Instance, State
from sesame.engine.policies import Caps, held, memory_mb_of, victims
from sesame.model.errors import Exhausted
from sesame.model.snapshot import Snapshot


class Capacity:
    """Counts every instance from its admission until nothing of it is left. Their memory never exceeds the cap.

    One that starts in the place of others, once these have ended, has no more room than they until then: see `held`.
    """

    def __init__(self, caps: Caps, shortage: Callable[[], str] = lambda: "") -> None:
        """`shortage` says why no instance may be added, whatever the caps are; "" where one may."""
        self._caps = caps
        self._shortage = shortage
        # Called when there is room for an instance that there was no room for, perhaps.
        self.on_free: Callable[[], None] | None = None
        # Where other agents have instances: has them end those of these that are idle there, and says which.
        self.give_up: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None
        # While others are asked so: for each who asks, done once it has what it asked for.
        self._asking: set[asyncio.Future[None]] = set()
        self._admitted: dict[str, Instance] = {}
        # The sum of their memory limits, and how many of them leave for others.
        self._memory_mb = 0
        self._leaving = 0
        # Of several machines, what each may have by `Instance.machine`; 0 is this one. Caps of functions hold over all.
        self.machines: Mapping[int, Caps] | None = None

    @property
    def memory_mb(self) -> int:
        """What all instances may hold by their memory limits."""
        return held(self.instances(), memory_mb_of) if self._leaving else self._memory_mb

    @property
    def caps(self) -> Caps:
        """Of this machine, and of functions."""
        return self._caps

    def memory_left(self, machine: int) -> int:
        """How many MB of a machine's no instance has."""
        caps = self.caps_of(machine)
        return 0 if caps is None else caps.memory_mb - held(self.on(machine), memory_mb_of)

    def caps_of(self, machine: int) -> Caps | None:
        """None for one that has gone."""
        return self._caps if self.machines is None else self.machines.get(machine)

    def on(self, machine: int) -> list[Instance]:
        return [instance for instance in self._admitted.values() if instance.machine == machine]

    def instances(self) -> list[Instance]:
        return list(self._admitted.values())

    def here(self) -> list[Instance]:
        """Those on this machine."""
        if self.machines is None:
            return self.instances()
        return self.on(0)

    @property
    def memory_here_mb(self) -> int:
        return self.memory_mb if self.machines is None else held(self.here(), memory_mb_of)

    def instance(self, instance_id: str) -> Instance | None:
        return self._admitted.get(instance_id)

    def require(self, snapshot: Snapshot, *, provisioned: bool = False, machine: int = 0) -> list[Instance] | None:
        """The idle instances that must be evicted first; None when the caller must wait for one that is ending.

        Raises `Exhausted` that names the cap that is reached, or the shortage.
        """
        instances = self.instances()
        found = self._victims(instances, snapshot, provisioned, machine)
        if not isinstance(found, str):
            # Asked last: it costs a system call, and most calls that are refused are refused for a cap.
            if shortage := self._shortage():
                raise Exhausted(shortage)
            return found
        # POLICY: an instance that is ending counts until it has ended, so a call waits for it and is not refused.
        staying = [instance for instance in instances if instance.state is not State.DEAD]
        if len(staying) == len(instances):
            raise Exhausted(found)
        then = self._victims(staying, snapshot, provisioned, machine)
        if isinstance(then, str):
            raise Exhausted(then)
        return None

    async def granted(
        self, snapshot: Snapshot, *, provisioned: bool = False, machine: int = 0
    ) -> list[Instance] | None:
        """As `require`, of who decides about it. What has to go on other agents has been given up there.

        POLICY: what such an instance is told idle by may be older than a call that it serves, and the caller would wait
        for that call. One that asks may get what another one wants: that one waits, and is not refused.
        """
        given_up: set[str] = set()
        while True:
            try:
                leaving = self.require(snapshot, provisioned=provisioned, machine=machine)
            except Exhausted:
                if not self._asking:
                    raise
                await asyncio.wait(self._asking, return_when=asyncio.FIRST_COMPLETED)
                continue
            asked = [each for each in leaving or () if each.elsewhere and each.instance_id not in given_up]
            if not asked or self.give_up is None:
                return leaving
            given_up |= await self._given_up(asked, self.give_up)

    async def _given_up(
        self, asked: list[Instance], give_up: Callable[[Collection[str]], Awaitable[Collection[str]]]
    ) -> set[str]:
        """Which of these have been: they are idle for whoever goes on without a pause. The others are busy."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.add(over)
        for each in asked:
            # Nobody else asks for it meanwhile.
            each.move(State.BUSY)
        try:
            given_up = set(await give_up([each.instance_id for each in asked]))
        finally:
            self._asking.discard(over)
            over.set_result(None)
        for each in asked:
            if each.instance_id in given_up and each.state is State.BUSY:
                each.move(State.IDLE)
        return given_up

    def _victims(
        self, instances: list[Instance], snapshot: Snapshot, provisioned: bool, machine: int
    ) -> list[Instance] | str:
        if self.machines is None:
            return victims(instances, snapshot, self._caps, provisioned=provisioned)
        boundless = msgspec.structs.replace(self._caps, memory_mb=sys.maxsize, disk_mb=None, instances=None)
        everywhere = victims(instances, snapshot, boundless, provisioned=provisioned)
        if isinstance(everywhere, str):
            return everywhere
        caps = self.machines.get(machine)
        if caps is None:
            return "the machine that is to have the instance has gone"
        there = [instance for instance in instances if instance.machine == machine]
        on_it = victims(there, snapshot, caps, provisioned=provisioned)
        if isinstance(on_it, str):
            return on_it
        return [*everywhere, *(instance for instance in on_it if instance not in everywhere)]

    def name(self, snapshot: Snapshot) -> str:
        """The id of an instance that is taken next."""
        return f"c-{uuid.uuid4()}"

    def has_free(self, snapshot: Snapshot, *, machine: int = 0) -> bool:
        """Whether one more may start for which no other instance has to go."""
        try:
            return self.require(snapshot, machine=machine) == []
        except Exhausted:
            return False

    def may_provision(self, snapshot: Snapshot) -> bool:
        """Whether one more may be provisioned, if need be in place of idle ones."""
        try:
            self.require(snapshot, provisioned=True)
        except Exhausted:
            return False
        return True

    def take(self, instance: Instance, leaving: Sequence[Instance] = (), *, was_there: bool = False) -> None:
        """One that starts once those that are `leaving` have ended, in their place.

        One that `was_there` counts, whatever the cap is now: it was started under another.
        """
        for each in leaving:
            each.leaves_for = instance
        self._leaving += len(leaving)
        self._admitted[instance.instance_id] = instance
        self._memory_mb += instance.snapshot.limits.memory_mb
        bounded = self.machines is None and not was_there
        assert not bounded or self.memory_mb <= self._caps.memory_mb, "instances take more memory than the cap allows"

    def free(self, instance: Instance) -> None:
        """Idempotent."""
        if self._admitted.pop(instance.instance_id, None) is not None:
            self._memory_mb -= instance.snapshot.limits.memory_mb
            self._leaving -= instance.leaves_for is not None
            self.told_free()

    def told_free(self) -> None:
        """An instance has gone, or has become one that may be evicted."""
        if self.on_free is not None:
            self.on_free()


class StartSlots:
    """At most `at_once` starts at a time.

    POLICY: functions with waiting starts are served in turn, so that a burst of one does not hold up another. Starts of
    one function are served in the order in which they came.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # The function that is served next comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, function: str) -> AsyncIterator[None]:
        """Waits for a slot and holds it."""
        await self._take(function)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, function: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(function, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._stop_waiting(function, granted)
            else:
                # The slot was granted in the moment of the cancellation: pass it on.
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            function = next(iter(self._waiting))
            queue = self._waiting.pop(function)
            granted = queue.popleft()
            if queue:
                self._waiting[function] = queue
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1

    def _stop_waiting(self, function: str, granted: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(function)
        if queue is not None and granted in queue:
            queue.remove(granted)
            if not queue:
                del self._waiting[function]
