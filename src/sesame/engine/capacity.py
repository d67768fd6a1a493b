"""Decides which functions may have one more instance: capacity under the caps, and slots for starting.

Used by `engine.pool`, which asks before each cold start and reports when an instance has ended. Starts and ends no
instance itself.
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
    """Counts every instance from its admission until its sandbox is gone. Their total memory never exceeds the cap.

    An instance that replaces evicted ones shares their room until they have ended: see `policies.held`.
    """

    def __init__(self, caps: Caps, shortage: Callable[[], str] = lambda: "") -> None:
        """`shortage` returns why no instance may be added, regardless of the caps; "" if one may."""
        self._caps = caps
        self._shortage = shortage
        # Called when capacity may have become free.
        self.on_free: Callable[[], None] | None = None
        # Asks other agents to end the named instances if they are still idle; returns those that were. None without
        # agents.
        self.give_up: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None
        # One future per pending request to other agents; done when the request has got its answer.
        self._asking: set[asyncio.Future[None]] = set()
        self._admitted: dict[str, Instance] = {}
        # The sum of all memory limits, and the number of instances leaving for others.
        self._memory_mb = 0
        self._leaving = 0
        # The caps of each machine by `Instance.machine`, 0 being this one; None with one machine. Function caps are
        # global.
        self.machines: Mapping[int, Caps] | None = None

    @property
    def memory_mb(self) -> int:
        """The most memory that all instances together may use by their limits, in MB."""
        return held(self.instances(), memory_mb_of) if self._leaving else self._memory_mb

    @property
    def caps(self) -> Caps:
        """The caps of this machine and of functions."""
        return self._caps

    def memory_left(self, machine: int) -> int:
        """How many MB of the machine's memory are not taken; 0 if the machine has left."""
        caps = self.caps_of(machine)
        return 0 if caps is None else caps.memory_mb - held(self.on(machine), memory_mb_of)

    def caps_of(self, machine: int) -> Caps | None:
        """None for a machine that has left."""
        return self._caps if self.machines is None else self.machines.get(machine)

    def on(self, machine: int) -> list[Instance]:
        return [instance for instance in self._admitted.values() if instance.machine == machine]

    def instances(self) -> list[Instance]:
        return list(self._admitted.values())

    def here(self) -> list[Instance]:
        """The instances on this machine."""
        if self.machines is None:
            return self.instances()
        return self.on(0)

    @property
    def memory_here_mb(self) -> int:
        return self.memory_mb if self.machines is None else held(self.here(), memory_mb_of)

    def instance(self, instance_id: str) -> Instance | None:
        return self._admitted.get(instance_id)

    def require(self, snapshot: Snapshot, *, provisioned: bool = False, machine: int = 0) -> list[Instance] | None:
        """Returns the idle instances to evict first, or None if the caller must wait for one that is ending.

        Raises `Exhausted`, naming the cap reached or the shortage.
        """
        instances = self.instances()
        found = self._victims(instances, snapshot, provisioned, machine)
        if not isinstance(found, str):
            # Asked last: it costs a system call, and most refusals are due to a cap.
            if shortage := self._shortage():
                raise Exhausted(shortage)
            return found
        # POLICY: an instance that is ending counts until it has ended, so the call waits for it instead of being
        # refused.
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
        """Like `require`, but first has other agents give up those victims that run there.

        POLICY: an agent is asked because this one may not have heard yet that the instance serves a call, for which the
        new call would then wait. While such a request is pending, a refusal may be premature: others wait for its
        result.
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
            requested = [each for each in leaving or () if each.elsewhere and each.instance_id not in given_up]
            if not requested or self.give_up is None:
                return leaving
            given_up |= await self._given_up(requested, self.give_up)

    async def _given_up(
        self, asked: list[Instance], give_up: Callable[[Collection[str]], Awaitable[Collection[str]]]
    ) -> set[str]:
        """Returns the ids that were given up. They are IDLE until the caller next awaits; the others are BUSY."""
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.add(finished)
        for each in asked:
            # BUSY, so that no other call requests this instance in the meantime.
            each.move(State.BUSY)
        try:
            given_up = set(await give_up([each.instance_id for each in asked]))
        finally:
            self._asking.discard(finished)
            finished.set_result(None)
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
        on_machine = [instance for instance in instances if instance.machine == machine]
        on_it = victims(on_machine, snapshot, caps, provisioned=provisioned)
        if isinstance(on_it, str):
            return on_it
        return [*everywhere, *(instance for instance in on_it if instance not in everywhere)]

    def name(self, snapshot: Snapshot) -> str:
        """Returns the id for a new instance."""
        return f"c-{uuid.uuid4()}"

    def has_free(self, snapshot: Snapshot, *, machine: int = 0) -> bool:
        """Whether one more instance may start without evicting another."""
        try:
            return self.require(snapshot, machine=machine) == []
        except Exhausted:
            return False

    def may_provision(self, snapshot: Snapshot) -> bool:
        """Whether one more instance may be provisioned, evicting idle ones if need be."""
        try:
            self.require(snapshot, provisioned=True)
        except Exhausted:
            return False
        return True

    def take(self, instance: Instance, leaving: Sequence[Instance] = (), *, was_there: bool = False) -> None:
        """Admits an instance, which starts once those `leaving` have ended.

        `was_there` admits a running instance regardless of the cap, because it was started under another cap.
        """
        for each in leaving:
            each.leaves_for = instance
        self._leaving += len(leaving)
        self._admitted[instance.instance_id] = instance
        self._memory_mb += instance.snapshot.limits.memory_mb
        bounded = self.machines is None and not was_there
        assert not bounded or self.memory_mb <= self._caps.memory_mb, "instances take more memory than the cap allows"

    def free(self, instance: Instance) -> None:
        """Stops counting an instance whose sandbox is gone. Idempotent."""
        if self._admitted.pop(instance.instance_id, None) is not None:
            self._memory_mb -= instance.snapshot.limits.memory_mb
            self._leaving -= instance.leaves_for is not None
            self.told_free()

    def told_free(self) -> None:
        """Reports that an instance has ended or can now be evicted."""
        if self.on_free is not None:
            self.on_free()


class StartSlots:
    """Allows at most `at_once` starts at a time.

    POLICY: functions with waiting starts take turns, so that a burst of one does not hold up the others. Starts of one
    function are served in order of arrival.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # Insertion-ordered: the first function is served next.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, function: str) -> AsyncIterator[None]:
        """Waits for a slot and holds it while the context lasts. `function` is the key of the queue to wait in."""
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
                # The slot was granted at the same moment as the cancellation: pass it on.
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
