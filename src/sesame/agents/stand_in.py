"""Stand-ins: the writer's representation of instances on followers, which it counts, lists and can end.

Created for each credit by `agents.writer` and `agents.writers_calls`; a credit is the capacity that its stand-in holds.
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
    """Reserves capacity on `machine` for an instance that another agent will start, evicting idle ones if necessary.

    Raises `Exhausted` without capacity, as for a call.
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
    """The number of an agent whose machine has capacity for one more instance; 0 if there is none.

    `machines` maps agents to machines. POLICY: chooses the machine with the most memory left.
    """
    capacity = pool.capacity
    roomy = [
        (capacity.memory_left(machine), agent)
        for agent, machine in machines.items()
        if capacity.has_free(snapshot, machine=machine)
    ]
    return max(roomy)[1] if roomy else 0


def bare(snapshot: Snapshot) -> Snapshot:
    """A copy of the snapshot without hooks: the agent that has the instance runs them."""
    launch = msgspec.structs.replace(snapshot.launch, pre_freeze=None, pre_stop=None)
    return msgspec.structs.replace(snapshot, launch=launch)


def bare_of(snapshot: Snapshot, held: Held) -> Snapshot:
    """Like `bare`, with the key and sizes that the instance was started with: the function may have changed since."""
    limits = msgspec.structs.replace(snapshot.limits, memory_mb=held.memory_mb, disk_mb=held.disk_mb)
    return msgspec.structs.replace(bare(snapshot), key=held.key, limits=limits)


class ElsewhereSandbox:
    """The `sandbox.interface.Sandbox` of a stand-in; the real sandbox is at another agent."""

    death: SandboxDied | None = None

    def __init__(self, instance_id: str, end: Callable[[bool], None]) -> None:
        """`end` asks the agent to end the instance; with True it does not wait for running calls."""
        self.instance_id = instance_id
        self._end = end
        self._gone = asyncio.Event()
        # What `end` was last called with; None if it was not called.
        self._asked: bool | None = None

    @property
    def phases(self) -> Mapping[str, float]:
        return {}

    async def call(self, call: Call) -> Reply:
        raise SandboxDied(Death.EXIT, "the instance is on another agent, which alone can call it")

    async def kill(self, reason: KillReason) -> None:
        """Returns when the agent has ended the instance; with ABORTED its calls are ended too."""
        if not self._gone.is_set():
            self._asked = bool(self._asked) or reason is KillReason.ABORTED
            self._end(self._asked)
            await self._gone.wait()

    def ask_again(self) -> None:
        """Repeats the request to end, if any, over a new link: the agent may not have received it."""
        if self._asked is not None:
            self._end(self._asked)

    def gone(self) -> None:
        """Nothing is left of the instance."""
        self._gone.set()

    async def exec(self, command: Command) -> Execution:
        raise SandboxStartFailed("the instance is on another agent", StartFailure.REFUSED)

    def memory_peak_mb(self) -> float:
        return 0.0

    async def usage(self) -> Usage | None:
        return None

    def freeze(self) -> None:
        """Does nothing: the agent that has the instance freezes it."""

    def thaw(self) -> None:
        """Does nothing: the agent that has the instance thaws it."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """Never called: the agent that has the instance holds its leases and releases them."""
