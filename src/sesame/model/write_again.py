"""Retries a write that must not be lost, under its lease, until the database accepts it.

Used to run asynchronous invocations and to deliver their records.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

# A result lost before it is written makes a function run again or a record be sent again, so the pause between two
# attempts stays short.
FIRST_S, MAX_S = 0.1, 0.8

L = TypeVar("L")


class Held(Protocol[L]):
    """Work under a lease, which is replaced when the same process claims the work again."""

    lease: L


async def write_until_taken(
    held: Held[L],
    write: Callable[[L], Awaitable[bool]],
    sleep: Callable[[float], Awaitable[None]],
    failed: Callable[[Exception], None],
) -> tuple[L, bool]:
    """The lease of the last write, and whether the write was accepted: False means that the lease was lost.

    A write whose lease has expired is repeated if the same process has claimed the work again meanwhile. `failed` is
    called with the first error.
    """
    again_s = FIRST_S
    while True:
        lease = held.lease
        try:
            taken = await write(lease)
        except Exception as error:  # noqa: BLE001 - any database error is retried
            if again_s == FIRST_S:
                failed(error)
            await sleep(again_s)
            again_s = min(2 * again_s, MAX_S)
        else:
            if taken or held.lease is lease:
                return lease, taken
