"""Which agent a call goes to, and which functions followers serve: pure functions of plain values.

Called by `agents.writer` and `agents.follower`, which act on the answers.
"""

from collections import deque
from collections.abc import Callable

from sesame.model.snapshot import Snapshot

# Agent 1 is the writer, and decides what no other agent does.
WRITER = 1
# In the place of an agent: the one that asked, which the writer of a cluster may know by another number than itself.
HERE = -1
# POLICY: a request moves so often at most. Then it stays with the writer, which answers it, be it with a refusal.
MOVES_MAX = 4
# POLICY: a call that an idle instance is kept for is expected within so long; it takes well below a millisecond.
PROMISED_S = 0.5
# POLICY: instances of a follower that has ended die with it, by the kernel; so long later their capacity is free.
LINGER_S = 1.0


def takes_in(*, idle: int, promised: int, running: int, room: bool, shared: bool = False, provisioned: int = 0) -> bool:
    """Whether an agent keeps one of its idle instances for a call that came to another agent.

    Of instances that serve several calls at a time (`shared`), each such place counts as an idle one.

    POLICY: a function that is called now and then has one warm instance, wherever its calls come in: an idle instance
    of an agent on which nothing else of the function runs is taken rather than another one started. Where calls of it
    run, instances on several agents are what spreads them; an idle one is then taken only where there is no `room` for
    another. One that is promised to a call that is on its way is not there for the next. Instances that are shared are
    filled first, as on one agent: what comes to them together may be about the same. Those that are `provisioned` of
    the idle ones are taken before any other.
    """
    return idle > promised and (shared or not room or running + promised == 0 or provisioned > promised)


class Promises:
    """Idle instances that are kept for calls on their way from other agents, by snapshot; each for a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, deque[float]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, key: str) -> None:
        self._until.setdefault(key, deque()).append(self._clock() + PROMISED_S)

    def count(self, key: str) -> int:
        """Those that have not passed."""
        until = self._until.get(key)
        if until is None:
            return 0
        while until and until[0] <= self._clock():
            until.popleft()
        if not until:
            del self._until[key]
        return len(until)

    def redeem(self, key: str) -> None:
        """A call that was on its way is here."""
        if self.count(key):
            until = self._until[key]
            until.popleft()
            if not until:
                del self._until[key]


def followers_serve(snapshot: Snapshot) -> bool:
    """Whether an agent beside the writer may serve calls of it.

    POLICY: the writer alone has what these need: sessions, buckets that are mounted, images.
    """
    return not (
        snapshot.affinity is not None
        or snapshot.buckets
        or snapshot.launch.image is not None
        or snapshot.debug
        or snapshot.trial
    )


def named_instance(raw_path: bytes) -> str:
    """The id of the instance in which a path asks for a command, by any version of the API; "" for other paths."""
    before, _slash, last = raw_path.rpartition(b"/")
    folder, _slash, instance_id = before.rpartition(b"/")
    named = last == b"exec" and folder.endswith(b"/instances")
    return instance_id.decode("latin-1") if named else ""
