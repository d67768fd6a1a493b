"""When each timer comes due next, the earliest first. Used by `triggers.timers`."""

import heapq
from collections.abc import Iterable

from sesame.store.timers import Key

# The heap is rebuilt once it has more than twice as many entries as there are timers, and these besides.
SPARE = 64


class DueTimes:
    """Each timer has one due time, or none. Replaced times stay in the heap for a while, but not without bound."""

    def __init__(self, due: Iterable[tuple[Key, float]] = ()) -> None:
        self._at = dict(due)
        self._heap = self._entries()

    def __len__(self) -> int:
        """How many entries it holds, including replaced ones."""
        return len(self._heap)

    def put(self, key: Key, at: float) -> None:
        """Replaces the timer's due time."""
        if self._at.get(key) == at:
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, key))
        if len(self._heap) > 2 * len(self._at) + SPARE:
            self._heap = self._entries()

    def forget(self, key: Key) -> None:
        self._at.pop(key, None)

    def next_at(self) -> float | None:
        """The earliest due time."""
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float, at_most: int) -> list[Key]:
        """Removes and returns timers that are due, the earliest first."""
        taken: list[Key] = []
        while len(taken) < at_most and (at := self.next_at()) is not None and at <= now:
            _at, key = heapq.heappop(self._heap)
            del self._at[key]
            taken.append(key)
        return taken

    def _entries(self) -> list[tuple[float, Key]]:
        entries = [(at, key) for key, at in self._at.items()]
        heapq.heapify(entries)
        return entries
