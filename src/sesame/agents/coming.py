"""Coming calls: those that have found a place on this agent but have not asked the pool for an instance yet.

Typically their bodies are still being read. Used by `agents.kept_idle`, which subtracts them from the free places, and
by `agents.credits`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

# The task that answers a request or runs an asynchronous call that the writer handed over.
Caller = asyncio.Task[Any]


def this_task() -> Caller:
    """The current task. Must be called from within one."""
    task = asyncio.current_task()
    assert task is not None
    return task


class Coming:
    """The callers that are coming, each for one snapshot. A caller is removed when its task ends."""

    def __init__(self, refused: Callable[[str], None] = lambda _key: None) -> None:
        """`refused` is called with the snapshot key of each caller that ends before it has asked for an instance."""
        self._refused = refused
        self._keys: dict[Caller, str] = {}
        self._counts: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._keys)

    def count(self, key: str) -> int:
        return self._counts[key]

    def add(self, key: str, caller: Caller) -> None:
        """The caller is coming for this snapshot, and no longer for another."""
        if self.leaves(caller) is None:
            caller.add_done_callback(self._ended)
        self._keys[caller] = key
        self._counts[key] += 1

    def forget(self, key: str, caller: Caller) -> bool:
        """Removes the caller. Returns whether it was coming for this snapshot."""
        return self._keys.get(caller) == key and self.leaves(caller) is not None

    def leaves(self, caller: Caller) -> str | None:
        """Removes the caller without calling `refused`. Returns the snapshot that it was coming for, None if none."""
        key = self._keys.pop(caller, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
        return key

    def _ended(self, caller: Caller) -> None:
        if (key := self.leaves(caller)) is not None:
            self._refused(key)
