"""The idle instances of a pool, by what they were made from: which one the next call gets.

Used by `engine.pool` alone, which owns the instances.
"""

import bisect
from collections.abc import Iterator

from sesame.engine.instance import Instance


class IdleInstances:
    """Instances that are IDLE, by snapshot key, in the order in which they became so."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Instance]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def groups(self) -> Iterator[list[Instance]]:
        """The instances of each key. They may be removed meanwhile."""
        return iter([list(group) for group in self._by_key.values()])

    def take(self, key: str) -> Instance | None:
        """The one that was used last, so that those that are not needed stay idle and expire."""
        group = self._by_key.get(key)
        if group is None:
            return None
        instance = group.pop()
        if not group:
            del self._by_key[key]
        return instance

    def put(self, instance: Instance) -> None:
        """An instance that has become idle just now."""
        self._by_key.setdefault(instance.snapshot.key, []).append(instance)

    def put_back(self, instance: Instance) -> None:
        """One that was taken out for something else than a call: it has its place again."""
        group = self._by_key.setdefault(instance.snapshot.key, [])
        bisect.insort(group, instance, key=lambda other: other.idle_since)

    def remove(self, instance: Instance) -> None:
        group = self._by_key[instance.snapshot.key]
        group.remove(instance)
        if not group:
            del self._by_key[instance.snapshot.key]

    def clear(self) -> None:
        self._by_key.clear()
