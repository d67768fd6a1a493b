"""The idle instances of a pool, by what they were made from: which one the next call gets.

Used by `engine.pool` alone, which owns the instances.
"""

import bisect
from collections.abc import Iterator

from sesame.engine.instance import Instance
from sesame.engine.policies import has_room_for_session


class IdleInstances:
    """Instances that are IDLE, by snapshot key, in the order in which they became so."""

    def __init__(self) -> None:
        self._on_demand: dict[str, list[Instance]] = {}
        self._provisioned: dict[str, list[Instance]] = {}

    def changes_by_time(self) -> bool:
        """Whether there is one that will expire or be frozen."""
        return bool(self._on_demand) or any(
            not (each.frozen or each.runs_idle) for group in self._provisioned.values() for each in group
        )

    def groups(self) -> Iterator[list[Instance]]:
        """The instances of each key, provisioned ones apart. They may be removed meanwhile."""
        return iter([list(group) for side in (self._on_demand, self._provisioned) for group in side.values()])

    def take(self, key: str) -> Instance | None:
        """A provisioned one first; of several the one that was used last, so that those not needed stay idle.

        None that has all the sessions that it may have.
        """
        instance = _taken(self._provisioned, key) if self._provisioned else None
        return _taken(self._on_demand, key) if instance is None else instance

    def has(self, key: str) -> bool:
        """Whether `take` finds one."""
        return any(map(has_room_for_session, (*self._provisioned.get(key, ()), *self._on_demand.get(key, ()))))

    def provisioned(self, key: str) -> int:
        """How many calls of this key find a provisioned instance now."""
        return sum(map(has_room_for_session, self._provisioned.get(key, ())))

    def put(self, instance: Instance) -> None:
        """An instance that has become idle just now."""
        self._side(instance).setdefault(instance.snapshot.key, []).append(instance)

    def put_back(self, instance: Instance) -> None:
        """One that was taken out for something else than a call: it has its place again."""
        group = self._side(instance).setdefault(instance.snapshot.key, [])
        bisect.insort(group, instance, key=lambda other: other.idle_since)

    def remove(self, instance: Instance) -> None:
        """Nothing happens for one that is not among them, as it runs on another agent."""
        side, key = self._side(instance), instance.snapshot.key
        group = side.get(key, [])
        if instance in group:
            group.remove(instance)
            if not group:
                del side[key]

    def _side(self, instance: Instance) -> dict[str, list[Instance]]:
        return self._on_demand if instance.provisioned_for is None else self._provisioned


def _taken(side: dict[str, list[Instance]], key: str) -> Instance | None:
    group = side.get(key)
    if group is None:
        return None
    # All of a group have the same affinity: most functions have none.
    at = len(group) - 1 if group[0].snapshot.affinity is None else _last_with_room(group)
    if at < 0:
        return None
    instance = group.pop(at)
    if not group:
        del side[key]
    return instance


def _last_with_room(group: list[Instance]) -> int:
    """Its place, -1 where there is none."""
    return next((at for at in reversed(range(len(group))) if has_room_for_session(group[at])), -1)
