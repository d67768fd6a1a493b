"""Records what must not be lost: writes it under a lease until the database takes it, however long that is gone.

Used by what runs asynchronous invocations and by what delivers their records.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

# A result that is lost before it is written means that a function runs again or a record is sent again, so the pause
# between two attempts stays short.
FIRST_S, MAX_S = 0.1, 0.8

L = TypeVar("L")


class Held(Protocol[L]):
    """What is done under a lease, which is replaced when the same process claims it again."""

    lease: L


async def write_until_taken(
    held: Held[L],
    write: Callable[[L], Awaitable[bool]],
    sleep: Callable[[float], Awaitable[None]],
    failed: Callable[[Exception], None],
) -> tuple[L, bool]:
    """The lease under which it was written, and False where that lease was lost and nothing was written.

    A write that comes too late for its lease is repeated under the one that has replaced it meanwhile. `failed` is
    called with the first error.
    """
    again_s = FIRST_S
    while True:
        lease = held.lease
        try:
            taken = await write(lease)
        except Exception as error:  # noqa: BLE001 - whatever the database has, it is tried again
            if again_s == FIRST_S:
                failed(error)
            await sleep(again_s)
            again_s = min(2 * again_s, MAX_S)
        else:
            if taken or held.lease is lease:
                return lease, taken
