"""Every decision about where an instance may be and where a call runs.

Pure functions of plain values; called by `placement.credits` and `placement.home`, in the product and in the simulator
(`benchmarks.placement`) alike.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec

# POLICY: a cold start goes to the least full of this many agents, drawn at random each time. Two would avoid the worst
# case; with eight the fullest agent is within a few percent of the mean, and eight questions cost less than a start.
DRAWN = 8
# POLICY: after this many draws without enough memory the call is refused: none of 32 random agents has room.
DRAWS = 4
# POLICY: the agent that has the call keeps it if it is fuller than the least full one by at most this share of its
# memory: then the call need not be forwarded, and functions that are called often become warm at every agent.
ASKER_FULLER = 0.005

# POLICY: instances move away from an agent that is fuller than the mean of others by more than this share of the mean.
FULLER_MOVES = 0.03


class Place(enum.Enum):
    """Where a call runs, as far as the agent that has it can tell."""

    IDLE_HERE = "idle here"
    IDLE_ON_NODE = "idle on the node"
    OWN_CREDIT = "own credit"
    ASK_HOME = "ask home"


class Room(msgspec.Struct, frozen=True):
    """An agent's answer about its memory: how much its instances use, and how much they may use, in MB."""

    agent: str
    used_mb: float
    memory_mb: int

    def filled(self, more_mb: float = 0.0) -> float:
        """The share of its memory that is in use once an instance of `more_mb` is added."""
        return (self.used_mb + more_mb) / self.memory_mb


def share(wanted: int, free: int) -> int:
    """How many more instances an agent is granted.

    POLICY: up to half of what is free, but at least one if any is free, so that a burst at one agent leaves some for
    the others. An agent that still wants more asks again.
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
    """Which agent gets a call; `idle` has the number of idle instances by agent. None if there are none.

    POLICY: the agent with the fewest. Instances that are not needed then stay idle together and expire, instead of each
    being called just often enough to be kept.
    """
    return min(((count, agent) for agent, count in idle.items() if count > 0), default=(0, None))[1]


def cold_start(rooms: Sequence[Room], asker: str, memory_mb: float) -> str | None:
    """Which of these agents starts an instance of `memory_mb`; None if none has enough memory."""
    fitting = [(room.filled(memory_mb), room.agent) for room in rooms if room.used_mb + memory_mb <= room.memory_mb]
    if not fitting:
        return None
    least, agent = min(fitting)
    return asker if any(each == asker and filled <= least + ASKER_FULLER for filled, each in fitting) else agent


def moves(own: Room, others: Sequence[Room], idle_mb: Iterable[float]) -> tuple[int, str] | None:
    """Which idle instance an agent moves and to which agent: a new one is started there, and the old one ends.

    `idle_mb` has the memory of each idle instance, in MB, the longest idle first. Returns an index into it and the name
    of the other agent, or None to move nothing.

    POLICY: instances that are called often never expire, so an agent on which many others have expired would otherwise
    stay empty for long. An agent fuller than the mean of eight others, drawn at random each time, moves one instance at
    a time to the least full of them: the longest idle one that would not make that agent fuller than the mean. If only
    the longest idle instance were considered, an agent whose longest idle one is large would stay full forever. No call
    waits for a move.
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
