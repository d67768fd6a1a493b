"""Every decision about where an instance may be and where a call runs.

Pure functions of plain values; called by `placement.credits` and `placement.home`, in the product and in the simulator
(`benchmarks.placement`) alike.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec

# POLICY: a cold start goes to the least full of so many agents, drawn anew each time. Two would do against the worst
# case; with eight the fullest agent is within a few percent of the mean, and eight questions cost less than a start.
DRAWN = 8
# POLICY: after so many draws without memory the call is refused: of 32 agents by chance none has room.
DRAWS = 4
# POLICY: the agent that has the call keeps it if it is fuller than the least full one by at most this part of its
# memory: the call need not be forwarded, and what is called often becomes warm at every agent.
ASKER_FULLER = 0.005

# POLICY: instances move away from an agent that is fuller than the mean of others by more than this part of the mean.
FULLER_MOVES = 0.03


class Place(enum.Enum):
    """Where a call runs, as far as the agent that has it can tell."""

    IDLE_HERE = "idle here"
    IDLE_ON_NODE = "idle on the node"
    OWN_CREDIT = "own credit"
    ASK_HOME = "ask home"


class Room(msgspec.Struct, frozen=True):
    """What an agent said of itself when it was asked: the memory of its instances, of what they may have."""

    agent: str
    used_mb: float
    memory_mb: int

    def filled(self, more_mb: float = 0.0) -> float:
        """Its share of memory that is taken once an instance of `more_mb` is there."""
        return (self.used_mb + more_mb) / self.memory_mb


def share(wanted: int, free: int) -> int:
    """How many more instances an agent is granted.

    POLICY: up to half of what is free, and at least one, so that a burst at one agent leaves something for the others.
    An agent that still wants more asks again.
    """
    return max(min(wanted, (free + 1) // 2), 0)


def local(idle: int, idle_on_node: int, unused: int, *, fits: bool) -> "Place":
    """Where an agent runs a call without asking anyone.

    POLICY: warmth first: an idle instance of its own, then one of another agent on the node, then a credit of its own
    that no instance uses, if there is memory for the start.
    """
    if idle:
        return Place.IDLE_HERE
    if idle_on_node:
        return Place.IDLE_ON_NODE
    return Place.OWN_CREDIT if unused > 0 and fits else Place.ASK_HOME


def idle_elsewhere(idle: Mapping[str, int]) -> str | None:
    """Which agent gets a call: `idle` has how many idle instances of it each agent has.

    POLICY: the one with the fewest. So instances that are not needed stay idle together and expire, instead of each
    being called just often enough to be kept.
    """
    return min(((count, agent) for agent, count in idle.items() if count > 0), default=(0, None))[1]


def cold_start(rooms: Sequence[Room], asker: str, memory_mb: float) -> str | None:
    """Which of these agents starts an instance; None where none has the memory."""
    fitting = [(room.filled(memory_mb), room.agent) for room in rooms if room.used_mb + memory_mb <= room.memory_mb]
    if not fitting:
        return None
    least, agent = min(fitting)
    return asker if any(each == asker and filled <= least + ASKER_FULLER for filled, each in fitting) else agent


def moves(own: Room, others: Sequence[Room], idle_mb: Iterable[float]) -> tuple[int, str] | None:
    """Which of its idle instances an agent moves, and where: one like it is started there, and its own ends.

    `idle_mb` has the memory of each, that of the longest idle first; the answer is its number in there and an agent.

    POLICY: instances that are called often never expire, so that where many others expired it would stay empty for
    long. An agent that is fuller than the mean of eight others, drawn anew each time, moves one at a time to the least
    full of them: the longest idle one of those that do not make it the fuller one. Were only the longest idle one
    considered, an agent whose longest idle one is large would stay full for ever. No call waits for it.
    """
    if not others:
        return None
    mean = sum(room.used_mb for room in others) / sum(room.memory_mb for room in others)
    if own.filled() <= mean * (1 + FULLER_MOVES):
        return None
    for at, memory_mb in enumerate(idle_mb):
        filled, agent = min((room.filled(memory_mb), room.agent) for room in others)
        if filled <= mean:
            return at, agent
    return None
