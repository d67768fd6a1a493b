"""Calls that have found their place on this agent and have not asked for an instance yet: their bodies are being read.

Used by `agents.kept_idle`, which counts them in, and by `agents.credits`.
"""

import asyncio
from collections.abc import Callable
from typing import Any

# The task that answers a request, or runs a call that was handed over.
Caller = asyncio.Task[Any]


def this_task() -> Caller:
    task = asyncio.current_task()
    assert task is not None
    return task


class Coming:
    """By snapshot. A caller that has ended is coming no more."""

    def __init__(self, refused: Callable[[str], None] = lambda _key: None) -> None:
        """`refused` is told the snapshot of each whose caller has ended without having asked for an instance."""
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
        """Whether it was there."""
        there = self._there.get(key, set())
        if caller not in there:
            return False
        there.discard(caller)
        if not there:
            del self._there[key]
        return True

    def leaves(self, caller: Caller) -> None:
        """Of whatever snapshot."""
        for key in list(self._there):
            self.forget(key, caller)

    def _ended(self, key: str, caller: Caller) -> None:
        if self.forget(key, caller):
            self._refused(key)
