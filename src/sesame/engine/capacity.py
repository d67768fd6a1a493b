"""Who may have an instance: places under the caps, and turns at starting one.

Used by `engine.pool`, which asks before each cold start and tells when an instance is gone.
Never starts, ends or waits for an instance itself.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sesame.engine.instance import Instance, State
from sesame.engine.policies import Caps, victims
from sesame.model.errors import ResourceExhausted
from sesame.model.invocation import Snapshot


class Places:
    """Every instance from its admission until nothing of it is left; the sum of their memory stays in the budget."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._taken: dict[str, Instance] = {}
        self._memory_mb = 0

    @property
    def memory_mb(self) -> int:
        return self._memory_mb

    def instances(self) -> list[Instance]:
        return list(self._taken.values())

    def room(self, snapshot: Snapshot) -> list[Instance] | None:
        """The idle instances that must go first; None when there will be room once those that are ending are gone.

        Raises `ResourceExhausted` with the cap that is reached.
        """
        instances = self.instances()
        found = victims(instances, snapshot, self._caps, self._memory_mb)
        if not isinstance(found, str):
            return found
        # POLICY: what is ending takes its place until it is gone; only what will be left then is a reason to refuse.
        staying = [instance for instance in instances if instance.state is not State.DEAD]
        staying_mb = sum(instance.snapshot.function.memory_size for instance in staying)
        then = victims(staying, snapshot, self._caps, staying_mb)
        if isinstance(then, str):
            raise ResourceExhausted(then)
        return None

    def enter(self, instance: Instance) -> None:
        self._taken[instance.instance_id] = instance
        self._memory_mb += instance.snapshot.function.memory_size
        assert self._memory_mb <= self._caps.memory_mb, "instances take more memory than there is for them"

    def leave(self, instance: Instance) -> None:
        """Idempotent."""
        if self._taken.pop(instance.instance_id, None) is not None:
            self._memory_mb -= instance.snapshot.function.memory_size


class Turns:
    """At most `at_once` starts at a time.

    POLICY: functions take turns, so that a burst of one does not hold up another; calls of one function are served as
    they came.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # The function whose turn it is comes first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, function: str) -> AsyncIterator[None]:
        await self._take(function)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, function: str) -> None:
        if self._free > 0:
            self._free -= 1
            return
        handed_over = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(function, deque()).append(handed_over)
        try:
            await handed_over
        except asyncio.CancelledError:
            if handed_over.cancelled():
                self._leave(function, handed_over)
            else:
                # The turn came in the moment of the cancellation; the next in line has it.
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            function = next(iter(self._waiting))
            queue = self._waiting.pop(function)
            handed_over = queue.popleft()
            if queue:
                self._waiting[function] = queue
            if not handed_over.done():
                handed_over.set_result(None)
                return
        self._free += 1

    def _leave(self, function: str, handed_over: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(function)
        if queue is not None and handed_over in queue:
            queue.remove(handed_over)
            if not queue:
                del self._waiting[function]
