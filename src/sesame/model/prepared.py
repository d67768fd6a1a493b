"""Structs to which several threads convert.

msgspec prepares a Struct when something is converted to it for the first time. Two threads that do so at the same
time end the process by a segmentation fault (msgspec 0.22).
"""

from typing import TypeVar

import msgspec

T = TypeVar("T")


def prepared(kind: type[T]) -> type[T]:
    """Prepares a Struct where it is defined, which one thread does. Usable as a decorator."""
    msgspec.json.Decoder(kind)
    return kind
