"""Decides which machines get a node of Sesame and when one is restarted. Pure functions of plain values.

Called by the actors, which act on the answers.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

# POLICY: a node of Sesame that ended is started again after 0.5 s; one that never ran for 10 s, after 0.5, 1, … up to
# 30 s.
BACKOFF_FIRST_S, BACKOFF_MAX_S, RAN_S = 0.5, 30.0, 10.0
# Ray's name for the resource; with `ray start --num-cpus 0` a machine offers none, and nothing shall run there.
_CPU = "CPU"
# POLICY: whoever upgrades the nodes renews its turn every second; a turn not renewed for this long has ended.
TURN_S = 15.0


class Machine(msgspec.Struct, frozen=True):
    """A living node of Ray. A machine that returns after Ray has declared it dead gets another `id`."""

    id: str
    address: str
    host: str

    @property
    def name(self) -> str:
        """The name of its Sesame node: short, and unique in practice."""
        return self.id[:12]


def machines(told: Iterable[dict[str, Any]]) -> tuple[Machine, ...]:
    """The machines on which Sesame runs, sorted by address; `told` is the result of `ray.nodes()`.

    POLICY: every living machine that offers processors. A head started with `--num-cpus 0` gets no node.
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
    """The pause before the next start, in seconds. `failures` (at least 1) counts runs in a row shorter than RAN_S."""
    return min(BACKOFF_FIRST_S * 2.0 ** (failures - 1), BACKOFF_MAX_S)


class Turn:
    """The exclusive right to upgrade the nodes. It expires if its owner stops renewing it."""

    def __init__(self) -> None:
        self._who, self._until = "", 0.0

    def taken(self, who: str, now: float, *, ends: bool = False) -> str:
        """Takes or renews the turn for `who`, or gives it back with `ends`.

        Returns the current owner if that is another, else "".
        """
        if (owner := self.owner(now)) not in ("", who):
            return owner
        self._who, self._until = ("", 0.0) if ends else (who, now + TURN_S)
        return ""

    def owner(self, now: float) -> str:
        """Whose turn it is, "" for nobody's."""
        return self._who if now < self._until else ""
