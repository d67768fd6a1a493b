"""Every decision about how many instances there are and which must go, as pure functions.

Called by `engine.pool`; given plain values and instances, returns plain answers.
Never kills, starts or waits.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sesame.engine.instance import Instance, State
from sesame.model.invocation import Snapshot
from sesame.sandbox.interface import StartFailure

ROOM_AMONG = 8
# POLICY: a failed start is tried so often for one call, by whether another try can succeed.
START_ATTEMPTS: Mapping[StartFailure, int] = {
    StartFailure.REFUSED: 1,
    StartFailure.CRASHED: 2,
    StartFailure.TRANSIENT: 6,
}
# POLICY: a function whose starts go on failing is started again after 1 s, then 2 s, 4 s, … up to a minute.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0


class Caps(msgspec.Struct, frozen=True):
    """The bounds of one Sesame. `memory_mb` bounds the sum of the memory sizes of all instances.

    An instance that was idle for `freeze_after_s` is stopped from running until its next call.
    """

    instances_per_function: int
    memory_mb: int
    starts_at_once: int
    keep_alive_s: float
    freeze_after_s: float = 1.0


def victims(instances: Sequence[Instance], snapshot: Snapshot, caps: Caps, used_mb: int) -> list[Instance] | str:
    """The idle instances that must go before one more of `snapshot` may start, or why it may not.

    POLICY: a function at its cap may only replace an idle instance of its own; when memory is short, the
    instances that have been idle longest go first, whoever's they are.
    """
    memory_mb = snapshot.function.memory_size
    own = [i for i in instances if _function(i.snapshot) == _function(snapshot)]
    versions = [i for i in own if i.snapshot.version_id == snapshot.version_id]
    leaving: list[Instance] = []
    for cap, counted in ((snapshot.instance_cap, versions), (caps.instances_per_function, own)):
        if cap is not None and len(counted) - len(leaving) >= cap:
            replaceable = _longest_idle(i for i in counted if i not in leaving)
            if not replaceable:
                service, function = _function(snapshot)
                return f"function '{function}' of service '{service}' has reached its limit of {cap} instances"
            leaving.append(replaceable[0])
    short_mb = used_mb + memory_mb - caps.memory_mb - sum(_memory_mb(i) for i in leaving)
    for instance in _longest_idle(i for i in instances if i not in leaving):
        if short_mb <= 0:
            break
        leaving.append(instance)
        short_mb -= _memory_mb(instance)
    if short_mb > 0:
        return f"the memory for instances is used up ({used_mb} of {caps.memory_mb} MB taken, {memory_mb} MB asked for)"
    return leaving


def to_make_room(instances: Iterable[Instance], snapshot: Snapshot, caps: Caps) -> list[Instance]:
    """POLICY: where memory is full of idle instances, some go before a cold call has to wait for their end.

    Room is made for one more like `snapshot`, for which at most one of ROOM_AMONG idle instances goes: few are too
    dear to let one go for a call that may not come.
    """
    staying = [i for i in instances if i.state is not State.DEAD]
    short_mb = sum(map(_memory_mb, staying)) + snapshot.function.memory_size - caps.memory_mb
    idle = _longest_idle(staying)
    leaving: list[Instance] = []
    for instance in idle[: len(idle) // ROOM_AMONG]:
        if short_mb <= 0:
            break
        leaving.append(instance)
        short_mb -= _memory_mb(instance)
    return leaving if short_mb <= 0 else []


def expired(idle: Iterable[Instance], now: float, keep_alive_s: float) -> list[Instance]:
    """POLICY: an instance that was idle for the keep-alive time goes; time alone decides, not demand.

    Somebody who runs a command in it has it stay, as long as that runs and the keep-alive time from then on.
    """
    return [i for i in idle if not i.commands and now - i.idle_since >= keep_alive_s]


def start_backoff_s(failures: int) -> float:
    """Seconds until a function may be started again after so many failures in a row (at least one)."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16), BACKOFF_MAX_S)


def to_freeze(idle: Iterable[Instance], now: float, freeze_after_s: float) -> list[Instance]:
    """POLICY: after a grace, so that calls in quick succession do not pay for freezing and thawing."""
    return [i for i in idle if not i.frozen and not i.commands and now - i.idle_since >= freeze_after_s]


def _longest_idle(instances: Iterable[Instance]) -> list[Instance]:
    return sorted((i for i in instances if i.state is State.IDLE and not i.commands), key=lambda i: i.idle_since)


def _function(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.service.service_name, snapshot.function.function_name


def _memory_mb(instance: Instance) -> int:
    return instance.snapshot.function.memory_size
