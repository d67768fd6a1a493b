"""Decides which agent a call goes to, and which functions followers serve. Pure functions of plain values.

Called by `agents.writer` and `agents.follower`, which act on the answers.
"""

from collections import deque
from collections.abc import Callable

from sesame.model.snapshot import Snapshot

# Agent 1 is the writer, which decides for all agents.
WRITER = 1
# Stands for the agent that asked. In a cluster the writer may know a node by another number than the node itself.
HERE = -1
# POLICY: a request moves at most this often. Then it stays at the writer, which answers it, if need be with a refusal.
MOVES_MAX = 4
# POLICY: how long a reservation for a call that moves here lasts. Moving normally takes well below a millisecond.
PROMISED_S = 0.5
# POLICY: when a follower ends, the kernel kills its instances; their capacity is released this much later.
LINGER_S = 1.0


def takes_in(*, idle: int, promised: int, running: int, room: bool, shared: bool = False, provisioned: int = 0) -> bool:
    """Whether an agent reserves one of its `idle` instances for a call that arrived at another agent.

    `promised` is how many are reserved already, `running` how many calls of the function run on the agent, `room`
    whether another instance could be started, `provisioned` how many of the idle ones are provisioned. If instances
    serve several calls at a time (`shared`), all numbers count places for calls.

    POLICY: a function that is called rarely keeps one warm instance, wherever its calls arrive: an idle instance is
    used if nothing else of the function runs on its agent. A busy function spreads over the agents: an idle instance is
    then used only if there is no `room` to start another. Shared instances are filled first, as on a single agent,
    because calls that arrive together often need the same data. Provisioned instances are used before all others.
    """
    return idle > promised and (shared or not room or running + promised == 0 or provisioned > promised)


class Promises:
    """Reservations of idle instances for calls that move here from other agents, by snapshot key.

    Each expires after PROMISED_S.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, deque[float]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, key: str) -> None:
        self._until.setdefault(key, deque()).append(self._clock() + PROMISED_S)

    def count(self, key: str) -> int:
        """How many reservations have not expired."""
        until = self._until.get(key)
        if until is None:
            return 0
        while until and until[0] <= self._clock():
            until.popleft()
        if not until:
            del self._until[key]
        return len(until)

    def redeem(self, key: str) -> None:
        """A call has moved here: removes the oldest reservation, if there is one."""
        if self.count(key):
            until = self._until[key]
            until.popleft()
            if not until:
                del self._until[key]


def followers_serve(snapshot: Snapshot) -> bool:
    """Whether agents other than the writer may serve calls of the snapshot.

    POLICY: only the writer serves functions with sessions or a debugger, and trial instances.
    """
    return not (snapshot.affinity is not None or snapshot.debug or snapshot.trial)


def named_instance(raw_path: bytes) -> str:
    """The id of the instance in which a path of any API version asks to run a command; "" for all other paths."""
    before, _slash, last = raw_path.rpartition(b"/")
    folder, _slash, instance_id = before.rpartition(b"/")
    named = last == b"exec" and folder.endswith(b"/instances")
    return instance_id.decode("latin-1") if named else ""
