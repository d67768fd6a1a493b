"""Keeps writes to objects of a mounted bucket apart from directory moves, which change keys.

Used by `buckets.filesystem` and `buckets.open_files`, in threads. A directory is moved object by object: an object
written below its old key meanwhile would be deleted together with the copied ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Moves:
    """Lock order: take node locks before entering one of these contexts, never inside."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._writing = 0
        self._moving = False

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Held while writing one object, from the moment its key is determined. Shared; must not be nested."""
        with self._changed:
            self._changed.wait_for(lambda: not self._moving)
            self._writing += 1
        try:
            yield
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Held while moving a directory. Exclusive: waits for writers, and blocks new ones."""
        with self._changed:
            self._changed.wait_for(lambda: not self._moving)
            self._moving = True
            self._changed.wait_for(lambda: not self._writing)
        try:
            yield
        finally:
            with self._changed:
                self._moving = False
                self._changed.notify_all()
