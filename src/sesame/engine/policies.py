"""Every decision about the number of instances, which ones to evict, and when to retry a start.

Pure functions of plain values and instances; called by `engine.pool`, `engine.capacity` and `engine.startup`, which act
on the answers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import TypeVar

import msgspec

from sesame.engine.instance import Instance, State
from sesame.model.owner import stands_alone
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import StartFailure

T = TypeVar("T")

# POLICY: to free memory ahead of a cold start, at most one in this many idle instances is ended.
IDLE_PER_FREED = 8
# POLICY: how often a start is attempted for one call, by whether another attempt can succeed.
START_ATTEMPTS: Mapping[StartFailure, int] = {
    StartFailure.REFUSED: 1,
    StartFailure.CRASHED: 2,
    StartFailure.LOST: 1,
    StartFailure.PROGRAM: 1,
    StartFailure.TRANSIENT: 6,
}
_WAIT = "try again when calls have ended"
# POLICY: a function whose starts keep failing is started again after 1 s, then 2 s, 4 s, … up to a minute.
BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0


class Caps(msgspec.Struct, frozen=True):
    """The bounds of one engine. `memory_mb` bounds the sum of all instances' memory limits.

    `disk_mb` bounds the sum of their /tmp sizes; None: no bound.
    `instances` bounds how many there are of all functions, by what one process can hold; None: no bound.
    An instance is frozen once it has been idle for `freeze_after_s` seconds.
    """

    instances_per_function: int
    memory_mb: int
    starts_at_once: int
    keep_alive_s: float
    freeze_after_s: float = 1.0
    disk_mb: int | None = None
    instances: int | None = None


class Taken(msgspec.Struct, frozen=True):
    """Capacity that is not available to a new call: that of calls in flight and of provisioned instances.

    Other idle instances do not count, because a call can use or evict them.
    """

    on_demand: Sequence[Snapshot]
    provisioned: Sequence[Snapshot] = ()

    def of_all(self) -> list[Snapshot]:
        return [*self.on_demand, *self.provisioned]


def taken_by(instances: Iterable[Instance], announced: Sequence[Snapshot] = ()) -> Taken:
    """The capacity taken by living instances that are not leaving, and by `announced` calls, which will need one."""
    alive = [i for i in instances if i.state is not State.DEAD and i.leaves_for is None]
    busy = [i.snapshot for i in alive if i.provisioned_for is None and i.state is not State.IDLE]
    return Taken([*busy, *announced], [i.snapshot for i in alive if i.provisioned_for is not None])


def has_place(snapshot: Snapshot, coming: Sequence[Snapshot], free: int) -> bool:
    """Whether one more call fits into running instances, or into those that the `coming` calls are about to start.

    `free` is how many more calls the running instances of `snapshot` take, if each serves several at a time. An
    instance that serves one call has no place: while it is idle, it does not count as taken.
    """
    concurrency = snapshot.limits.concurrency
    beyond = sum(each.key == snapshot.key for each in coming) - free
    return concurrency > 1 and (beyond < 0 or beyond % concurrency > 0)


def started_by(calls: Sequence[Snapshot], free_of: Callable[[str], int] = lambda _key: 0) -> list[Snapshot]:
    """The snapshots of the instances that `calls` need, besides the places that `free_of` returns for each key."""
    snapshots = {each.key: each for each in calls}
    needed: list[Snapshot] = []
    for key, count in Counter(each.key for each in calls).items():
        snapshot = snapshots[key]
        concurrency = snapshot.limits.concurrency
        beyond = count if concurrency == 1 else count - free_of(key)
        needed += [snapshot] * max(ceil(beyond / concurrency), 0)
    return needed


def held(instances: Sequence[Instance], size: Callable[[Instance], int]) -> int:
    """The most that these instances hold together at any moment, each of them holding its `size`.

    An instance that replaces others starts only after they have ended, so the part they have in common counts once.
    """
    total = sum(map(size, instances))
    leaving = [(each, each.leaves_for) for each in instances if each.leaves_for is not None]
    if not leaving:
        return total
    sizes = {each.instance_id: size(each) for each in instances}
    shared = Counter[str]()
    for each, starting in leaving:
        shared[starting.instance_id] += size(each)
    return total - sum(min(left, sizes.get(instance_id, 0)) for instance_id, left in shared.items())


def victims(
    instances: Sequence[Instance], snapshot: Snapshot, caps: Caps, *, provisioned: bool = False
) -> list[Instance] | str:
    """Returns the idle instances to evict before one more of `snapshot` may start, or the reason why it may not start.

    POLICY: a function at its cap can only replace its own idle instances. When memory is short, instances of any
    function are evicted, the one idle longest first and those with sessions last. Provisioned instances stay; a
    function's on-demand cap neither counts nor bounds them (reference/api.md §3.6), but the engine's caps do.
    """
    memory_mb = snapshot.limits.memory_mb
    function = _function(snapshot)
    # Compare identity first: this runs over all instances for each refused call, and most share the snapshot object.
    own = [i for i in instances if i.snapshot is snapshot or _function(i.snapshot) == function]
    versions = [i for i in own if i.snapshot.version_id == snapshot.version_id and i.provisioned_for is None]
    leaving: list[Instance] = []
    for cap, counted, raised_by in _counted(snapshot, caps, versions, own):
        if provisioned and counted is versions:
            continue
        if cap is not None and held(counted, _one) - len(leaving) >= cap:
            replaceable = _longest_idle(i for i in counted if i not in leaving)
            if not replaceable:
                return _limit_reached(snapshot, cap, raised_by)
            leaving.append(replaceable[0])
    used_mb = held(instances, memory_mb_of)
    used_disk_mb = held(instances, _disk_mb) if caps.disk_mb is not None else 0
    disk_mb = snapshot.limits.disk_mb
    short_mb = used_mb + memory_mb - caps.memory_mb - sum(map(memory_mb_of, leaving))
    short_disk_mb = 0 if caps.disk_mb is None else used_disk_mb + disk_mb - caps.disk_mb - sum(map(_disk_mb, leaving))
    too_many = 0 if caps.instances is None else held(instances, _one) + 1 - caps.instances - len(leaving)
    for instance in _longest_idle(i for i in instances if i not in leaving):
        if short_mb <= 0 and short_disk_mb <= 0 and too_many <= 0:
            break
        leaving.append(instance)
        short_mb -= memory_mb_of(instance)
        short_disk_mb -= _disk_mb(instance)
        too_many -= 1
    if short_mb > 0:
        return _memory_used_up(used_mb, memory_mb, caps)
    if short_disk_mb > 0:
        return _disk_used_up(used_disk_mb, disk_mb, caps)
    if too_many > 0:
        return _too_many(caps)
    return leaving


def no_capacity_for(snapshot: Snapshot, taken: Taken, caps: Caps) -> str | None:
    """Why there is no capacity for one more call of `snapshot`; None if there is."""
    own = [each for each in taken.of_all() if _function(each) == _function(snapshot)]
    versions = [
        each
        for each in taken.on_demand
        if _function(each) == _function(snapshot) and each.version_id == snapshot.version_id
    ]
    for cap, counted, raised_by in _counted(snapshot, caps, versions, own):
        if cap is not None and len(counted) >= cap:
            return _limit_reached(snapshot, cap, raised_by)
    if caps.instances is not None and len(taken.of_all()) >= caps.instances:
        return _too_many(caps)
    taken_mb, memory_mb = sum(each.limits.memory_mb for each in taken.of_all()), snapshot.limits.memory_mb
    return _memory_used_up(taken_mb, memory_mb, caps) if taken_mb + memory_mb > caps.memory_mb else None


def has_room_for_session(instance: Instance) -> bool:
    """Whether the instance can accept one more session, or a call without one.

    POLICY: a call without a session counts as one, so that no session waits behind it. An instance that served an
    isolated session is never given to another, which would find its leftovers; the instance expires instead.
    """
    affinity = instance.snapshot.affinity
    if affinity is None:
        return True
    return len(instance.sessions) < affinity.sessions_per_instance and not (affinity.isolated and instance.had_session)


def serves(instance: Instance, snapshot: Snapshot) -> bool:
    """Whether a session bound to this instance can continue there with this snapshot.

    POLICY: when its function changes, a session moves to a new instance.
    """
    alive = instance.state is not State.DEAD and instance.death is None and not instance.spent
    return alive and instance.snapshot.key == snapshot.key


def to_free_ahead(instances: Iterable[Instance], snapshot: Snapshot, caps: Caps) -> list[Instance]:
    """Returns the idle instances to end now, so that the next cold call need not wait for their end.

    POLICY: when idle instances fill the memory, free enough for one more instance like `snapshot`, but end at most one
    in IDLE_PER_FREED idle instances: while there are few, each is worth more than a call that may not come. Other
    agents' instances are ended only for actual calls, since those agents must be asked first.
    """
    staying = [i for i in instances if i.state is not State.DEAD]
    short_mb = held(staying, memory_mb_of) + snapshot.limits.memory_mb - caps.memory_mb
    idle = [i for i in _longest_idle(staying) if not (i.sessions or i.elsewhere)]
    leaving: list[Instance] = []
    for instance in idle[: len(idle) // IDLE_PER_FREED]:
        if short_mb <= 0:
            break
        leaving.append(instance)
        short_mb -= memory_mb_of(instance)
    return leaving if short_mb <= 0 else []


def expired(
    idle: Sequence[Instance], now: float, keep_alive_s: float, *, last_kept: bool | None = None
) -> list[Instance]:
    """Returns the expired instances of one snapshot. `idle` is sorted, the most recently used instance last.

    POLICY: what was learned about a function (`last_kept`) predicts its next call, so it applies to the instance which
    that call will use, the most recently used.

    POLICY: an idle time of the function's own goes before both.

    POLICY: time alone decides, not demand. A running command keeps its instance, and the keep-alive time starts when
    the command ends. A session keeps its instance for as long as it lives.
    """
    own_s = idle[0].snapshot.limits.idle_timeout_s if idle else None
    if own_s is not None:
        keep_alive_s, last_kept = own_s, None
    return [
        i
        for i in idle
        if i.provisioned_for is None
        and not i.commands
        and not i.sessions
        and (now - i.idle_since >= keep_alive_s if last_kept is None or i is not idle[-1] else not last_kept)
    ]


def start_backoff_s(failures: int) -> float:
    """Seconds until a function may be started again after `failures` (at least one) failures in a row."""
    return min(BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16), BACKOFF_MAX_S)


def to_freeze(idle: Iterable[Instance], now: float, freeze_after_s: float) -> list[Instance]:
    """Returns the idle instances to freeze.

    POLICY: a grace period spares calls in quick succession the cost of freezing and thawing.
    """
    return [
        i
        for i in idle
        if not (i.frozen or i.runs_idle or i.commands or i.checked) and now - i.idle_since >= freeze_after_s
    ]


def _counted(
    snapshot: Snapshot, caps: Caps, of_version: Sequence[T], own: Sequence[T]
) -> tuple[tuple[int | None, Sequence[T], str], ...]:
    """Each cap on a function's instances with the items that count against it, and what raises it."""
    return (
        (snapshot.limits.instances, of_version, "its limit of on-demand instances"),
        (snapshot.limits.reserved, own, "its reservedConcurrency"),
        (caps.instances_per_function, own, "--max-instances of this Sesame"),
    )


def _longest_idle(instances: Iterable[Instance]) -> list[Instance]:
    """The instances that may be evicted, in the order of eviction."""
    return sorted(
        (i for i in instances if i.state is State.IDLE and i.provisioned_for is None and not i.commands),
        key=lambda i: (bool(i.sessions), i.idle_since),
    )


def _function(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.service, snapshot.function


def memory_mb_of(instance: Instance) -> int:
    return instance.snapshot.limits.memory_mb


def _one(_instance: Instance) -> int:
    return 1


def _disk_mb(instance: Instance) -> int:
    return instance.snapshot.limits.disk_mb


def _limit_reached(snapshot: Snapshot, cap: int, raised_by: str) -> str:
    of_service = "" if stands_alone(snapshot.service) else f" of service '{snapshot.service}'"
    # Where none may be, none becomes free.
    wait = f"{_WAIT}, or " if cap else ""
    return (
        f"function '{snapshot.function}'{of_service} has reached its limit of {cap} instances; {wait}raise {raised_by}"
    )


def _too_many(caps: Caps) -> str:
    return (
        f"the open files of this Sesame are enough for {caps.instances} instances, and as many are there; raise the "
        "hard limit on open files (ulimit -n) before it starts"
    )


def _memory_used_up(used_mb: int, memory_mb: int, caps: Caps) -> str:
    if memory_mb > caps.memory_mb:
        return (
            f"one instance of {memory_mb} MB is more than the {caps.memory_mb} MB that all together may have: give the "
            "function less memory, or this Sesame more (--max-memory-mb)"
        )
    return (
        f"the memory for instances is used up ({used_mb} of {caps.memory_mb} MB taken, {memory_mb} MB asked for); "
        f"{_WAIT}, or give this Sesame more (--max-memory-mb)"
    )


def _disk_used_up(used_mb: int, disk_mb: int, caps: Caps) -> str:
    if caps.disk_mb is not None and disk_mb > caps.disk_mb:
        return (
            f"the /tmp of one instance, {disk_mb} MB, is more than the {caps.disk_mb} MB that all together may have: "
            "give the function a smaller one (diskSize), or this Sesame more (--max-disk-mb)"
        )
    return (
        f"the disk for instances is used up ({used_mb} of {caps.disk_mb} MB taken, {disk_mb} MB asked for); "
        f"{_WAIT}, or give this Sesame more (--max-disk-mb)"
    )
