"""Coming calls: those that have found a place on this agent but have not asked the pool for an instance yet.

Typically their bodies are still being read. Used by `agents.kept_idle`, which subtracts them from the free places, and
by `agents.credits`.
"""

import asyncio
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
    """The callers that are coming, by snapshot key. A caller is removed when its task ends."""

    def __init__(self, refused: Callable[[str], None] = lambda _key: None) -> None:
        """`refused` is called with the snapshot key of each caller that ends before it has asked for an instance."""
        self._refused = refused
        self._there: dict[str, set[Caller]] = {}

    def __bool__(self) -> bool:
        return bool(self._there)

    def count(self, key: str) -> int:
        return len(self._there.get(key, ()))

    def add(self, key: str, caller: Caller) -> None:
        self._there.setdefault(key, set()).add(caller)
        caller.add_done_callback(lambda _task: self._ended(key, caller))

    def forget(self, key: str, caller: Caller) -> bool:
        """Removes the caller. Returns whether it was coming for this snapshot."""
        there = self._there.get(key, set())
        if caller not in there:
            return False
        there.discard(caller)
        if not there:
            del self._there[key]
        return True

    def leaves(self, caller: Caller) -> None:
        """Removes the caller, whatever snapshot it was coming for, without calling `refused`."""
        for key in list(self._there):
            self.forget(key, caller)

    def _ended(self, key: str, caller: Caller) -> None:
        if self.forget(key, caller):
            self._refused(key)
