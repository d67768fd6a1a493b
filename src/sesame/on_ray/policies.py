"""Where nodes of Sesame belong and when one is started again: pure functions of plain values.

Called by the actors and by the command, which act on the answers.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

# POLICY: a node of Sesame that ended is started again after 0.5 s; one that never ran for 10 s, after 0.5, 1, … up to
# 30 s.
BACKOFF_FIRST_S, BACKOFF_MAX_S, RAN_S = 0.5, 30.0, 10.0
# Ray's own word for what a machine offers; `ray start --num-cpus 0` says that nothing is to run there.
_CPU = "CPU"
# POLICY: who upgrades says so every second; one that has not said so for so long does not any more.
TURN_S = 15.0


class Machine(msgspec.Struct, frozen=True):
    """One of Ray's nodes that lives. A machine that comes back after Ray gave it up has another `id`."""

    id: str
    address: str
    host: str

    @property
    def name(self) -> str:
        """That of its node of Sesame: short, and as good as unique."""
        return self.id[:12]


def machines(told: Iterable[dict[str, Any]]) -> tuple[Machine, ...]:
    """Of what `ray.nodes()` tells, those where Sesame runs, by address.

    POLICY: every living one that offers processors: a head with `--num-cpus 0` is left alone.
    """
    found = (
        Machine(each["NodeID"], each["NodeManagerAddress"], each["NodeManagerHostname"])
        for each in told
        if each["Alive"] and each["Resources"].get(_CPU, 0) > 0
    )
    return tuple(sorted(found, key=lambda machine: (machine.address, machine.id)))


def missing(wanted: Iterable[Machine], placed: Collection[str]) -> list[Machine]:
    """The machines that have no actor yet; `placed` are ids."""
    return [machine for machine in wanted if machine.id not in placed]


def backoff_s(failures: int) -> float:
    """`failures` is how many in a row did not run for `RAN_S`, at least one."""
    return min(BACKOFF_FIRST_S * 2.0 ** (failures - 1), BACKOFF_MAX_S)


class Turn:
    """Who upgrades the nodes: one at a time. One that ends without a word is forgotten."""

    def __init__(self) -> None:
        self._who, self._until = "", 0.0

    def taken(self, who: str, now: float, *, ends: bool = False) -> str:
        """Takes it, keeps it, or gives it back where it `ends`. Whose it is; "" where it is that one's who asks."""
        if self._who != who and now < self._until:
            return self._who
        self._who, self._until = ("", 0.0) if ends else (who, now + TURN_S)
        return ""
