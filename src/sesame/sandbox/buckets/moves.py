"""Keeps writing to objects of a mounted bucket, and moving a directory, which changes keys, apart from each other.

Used by `buckets.filesystem` and `buckets.open_files`, in threads. A directory is moved object by object: what is put
below its former key meanwhile would be deleted with what was copied.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Moves:
    """Whoever is in one of its contexts waits for no lock of a node: those are taken before."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._writing = 0
        self._moving = False

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """For whoever writes one object, from when its key is known. Others may as well. Not to be nested."""
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
        """For whoever moves a directory; from here on nobody else writes."""
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
