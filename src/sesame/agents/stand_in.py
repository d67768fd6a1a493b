"""What the writer has in the place of an instance that runs on a follower: it counts, is listed, and can be ended.

Made by `agents.writer` for each credit; its capacity is what the credit is.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from sesame.agents.messages import Held
from sesame.engine.instance import Instance, State
from sesame.engine.pool import Pool
from sesame.model.command import Command, Execution
from sesame.model.snapshot import Snapshot
from sesame.model.usage import Usage
from sesame.sandbox.interface import Call, Death, KillReason, Reply, SandboxDied, SandboxStartFailed, StartFailure


async def set_aside(pool: Pool, snapshot: Snapshot, machine: int) -> Instance:
    """Capacity for an instance that another agent starts, on its machine, if need be in place of idle ones.

    Raises `Exhausted` as a call would.
    """
    while True:
        leaving = await pool.capacity.granted(snapshot, machine=machine)
        if leaving is not None:
            admitted = pool.admit(bare(snapshot), leaving)
            admitted.instance.machine = machine
            admitted.instance.move(State.BUSY)
            try:
                if admitted.ending:
                    await asyncio.wait(admitted.ending)
            except BaseException:
                pool.capacity.free(admitted.instance)
                raise
            return admitted.instance
        await pool.an_end()


def with_room(pool: Pool, machines: Mapping[int, int], snapshot: Snapshot) -> int:
    """Of these agents, each on its machine, one that may start one more instance; 0 for none.

    POLICY: the one on the machine that has the most memory left.
    """
    capacity = pool.capacity
    roomy = [
        (capacity.memory_left(machine), agent)
        for agent, machine in machines.items()
        if capacity.has_free(snapshot, machine=machine)
    ]
    return max(roomy)[1] if roomy else 0


def bare(snapshot: Snapshot) -> Snapshot:
    """Without hooks, which are run where the instance is."""
    launch = msgspec.structs.replace(snapshot.launch, pre_freeze=None, pre_stop=None)
    return msgspec.structs.replace(snapshot, launch=launch)


def bare_of(snapshot: Snapshot, held: Held) -> Snapshot:
    """As `bare`, of what the instance was started with: the function may have changed since."""
    limits = msgspec.structs.replace(snapshot.limits, memory_mb=held.memory_mb, disk_mb=held.disk_mb)
    return msgspec.structs.replace(bare(snapshot), key=held.key, limits=limits)


class ElsewhereSandbox:
    """A `sandbox.interface.Sandbox` that is on another agent."""

    death: SandboxDied | None = None

    def __init__(self, instance_id: str, end: Callable[[bool], None]) -> None:
        """`end` has it ended; with True, the call that runs on it too."""
        self.instance_id = instance_id
        self._end = end
        self._gone = asyncio.Event()
        # What it was asked last to do, None for nothing.
        self._asked: bool | None = None

    @property
    def phases(self) -> Mapping[str, float]:
        return {}

    async def call(self, call: Call) -> Reply:
        raise SandboxDied(Death.EXIT, "the instance is on another agent, which alone can call it")

    async def kill(self, reason: KillReason) -> None:
        """Its call ends first, unless that is what is to be ended."""
        if not self._gone.is_set():
            self._asked = bool(self._asked) or reason is KillReason.ABORTED
            self._end(self._asked)
            await self._gone.wait()

    def ask_again(self) -> None:
        """Of an agent that may not have heard it, what it was asked to do."""
        if self._asked is not None:
            self._end(self._asked)

    def gone(self) -> None:
        """Nothing of it is left."""
        self._gone.set()

    async def exec(self, command: Command) -> Execution:
        raise SandboxStartFailed("the instance is on another agent", StartFailure.REFUSED)

    def memory_peak_mb(self) -> float:
        return 0.0

    async def usage(self) -> Usage | None:
        return None

    def freeze(self) -> None:
        """The agent that has it does so."""

    def thaw(self) -> None:
        """The agent that has it does so."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """Nobody asks for it: what the instance is made of is leased by the agent that has it."""
