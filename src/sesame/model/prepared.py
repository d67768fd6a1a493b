"""Structs to which several threads convert.

msgspec prepares a Struct when something is converted to it for the first time. Two threads that do so at the same
time end the process by a segmentation fault (msgspec 0.22).
"""

import contextlib
import functools
from typing import TypeVar

import msgspec

T = TypeVar("T")


def prepared(kind: type[T]) -> type[T]:
    """Prepares a Struct where it is defined, which one thread does. Usable as a decorator."""
    msgspec.json.Decoder(kind)
    return kind


@functools.cache
def prepare_all() -> None:
    """Prepares every Struct that has been defined by now, before a server has threads: some 600 in 15 ms."""
    left: list[type[msgspec.Struct]] = [msgspec.Struct]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            # Some hold what nothing is converted to, under names that are known to type checkers alone.
            with contextlib.suppress(TypeError, NameError):
                prepared(kind)
