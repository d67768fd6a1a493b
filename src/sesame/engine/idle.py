"""Holds a pool's idle instances by snapshot, and chooses which one the next call gets.

Used only by `engine.pool`, which owns the instances.
"""

import bisect
from collections.abc import Iterator

from sesame.engine.instance import Instance
from sesame.engine.policies import has_room_for_session


class IdleInstances:
    """Instances that are IDLE, by snapshot key, ordered by when they became idle."""

    def __init__(self) -> None:
        self._on_demand: dict[str, list[Instance]] = {}
        self._provisioned: dict[str, list[Instance]] = {}

    def changes_by_time(self) -> bool:
        """Whether any instance will expire or be frozen as time passes."""
        return bool(self._on_demand) or any(
            not (each.frozen or each.runs_idle) for group in self._provisioned.values() for each in group
        )

    def groups(self) -> Iterator[list[Instance]]:
        """A copy of each group of instances with one key, provisioned ones separately.

        Removal is safe while iterating.
        """
        return iter([list(group) for side in (self._on_demand, self._provisioned) for group in side.values()])

    def take(self, key: str) -> Instance | None:
        """Removes and returns an instance for a call; None if there is none with room for one more session.

        Provisioned instances come first; among equals the one used last, so that surplus instances stay idle.
        """
        instance = _taken(self._provisioned, key) if self._provisioned else None
        return _taken(self._on_demand, key) if instance is None else instance

    def has(self, key: str) -> bool:
        """Whether `take` would find an instance."""
        sides = self._provisioned.get(key, ()), self._on_demand.get(key, ())
        return any(any(map(has_room_for_session, side)) for side in sides)

    def count(self, key: str) -> int:
        """The number of instances, with room for a session or not."""
        return len(self._provisioned.get(key, ())) + len(self._on_demand.get(key, ()))

    def provisioned(self, key: str) -> int:
        """How many calls would find a place in a provisioned instance now."""
        group = self._provisioned.get(key, ())
        each = group[0].snapshot.limits.concurrency if group else 0
        whole = not group or group[0].snapshot.affinity is None
        return each * (len(group) if whole else sum(map(has_room_for_session, group)))

    def put(self, instance: Instance) -> None:
        """Adds an instance that has just become idle."""
        self._side(instance).setdefault(instance.snapshot.key, []).append(instance)

    def put_back(self, instance: Instance) -> None:
        """Returns an instance that was removed for something other than a call to its former position."""
        group = self._side(instance).setdefault(instance.snapshot.key, [])
        bisect.insort(group, instance, key=lambda other: other.idle_since)

    def remove(self, instance: Instance) -> None:
        """Removes an instance. Does nothing if it is not listed, because it runs on another agent."""
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
    # All instances of a group have the same affinity, and most functions have none.
    at = len(group) - 1 if group[0].snapshot.affinity is None else _last_with_room(group)
    if at < 0:
        return None
    instance = group.pop(at)
    if not group:
        del side[key]
    return instance


def _last_with_room(group: list[Instance]) -> int:
    """The index of the last instance with room, -1 if there is none."""
    return next((at for at in reversed(range(len(group))) if has_room_for_session(group[at])), -1)
