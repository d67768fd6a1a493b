"""Every decision about how many instances there are and which must go, as pure functions.

Called by `engine.pool`; given plain values and instances, returns plain answers.
Never kills, starts or waits.
"""

from collections.abc import Iterable, Sequence

import msgspec

from sesame.engine.instance import Instance, State


class Caps(msgspec.Struct, frozen=True):
    """The bounds of one Sesame. `memory_mb` bounds the sum of the memory sizes of all instances."""

    instances_per_function: int
    memory_mb: int
    starts_at_once: int
    keep_alive_s: float


def victims(
    instances: Sequence[Instance], owner: tuple[str, str], memory_mb: int, caps: Caps, used_mb: int
) -> list[Instance] | str:
    """The idle instances that must go before one more of `memory_mb` may start, or why it may not.

    POLICY: a function at its cap may only replace its own outdated instances; when memory is short, the
    instances that have been idle longest go first, whoever's they are.
    """
    idle = sorted((i for i in instances if i.state is State.IDLE), key=lambda i: i.idle_since)
    leaving: list[Instance] = []
    own = sum(1 for i in instances if _owner(i) == owner)
    if own >= caps.instances_per_function:
        replaceable = next((i for i in idle if _owner(i) == owner), None)
        if replaceable is None:
            return (
                f"function '{owner[1]}' of service '{owner[0]}' has reached its limit of "
                f"{caps.instances_per_function} instances; try again later"
            )
        leaving.append(replaceable)
        idle.remove(replaceable)
    short_mb = used_mb + memory_mb - caps.memory_mb - sum(_memory_mb(i) for i in leaving)
    for instance in idle:
        if short_mb <= 0:
            break
        leaving.append(instance)
        short_mb -= _memory_mb(instance)
    if short_mb > 0:
        return (
            f"the memory for instances is used up ({used_mb} of {caps.memory_mb} MB taken, {memory_mb} MB asked for); "
            "try again later"
        )
    return leaving


def expired(idle: Iterable[Instance], now: float, keep_alive_s: float) -> list[Instance]:
    """POLICY: an instance that was idle for the keep-alive time goes; time alone decides, not demand."""
    return [i for i in idle if now - i.idle_since >= keep_alive_s]


def _owner(instance: Instance) -> tuple[str, str]:
    return instance.snapshot.service.service_name, instance.snapshot.function.function_name


def _memory_mb(instance: Instance) -> int:
    return instance.snapshot.function.memory_size
