"""Keeps as many provisioned instances as are wanted: starts missing ones, replaces dead ones, releases surplus ones.

Built by `engine.running`; reacts to the catalog, the pool and timers. Stores nothing: the wanted number follows from
the configurations, the current one from the pool.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from sesame.engine.instance import Instance, State
from sesame.engine.interface import Provisioned
from sesame.engine.pool import Pool
from sesame.engine.readying import NotReady, Readying
from sesame.engine.resolver import Snapshots
from sesame.engine.scaling import SOUND_AFTER_S, next_start_s, split, to_release, to_replace
from sesame.model.clocks import Clocks, Timer
from sesame.model.errors import CallerError, Exhausted
from sesame.model.invocation import Target
from sesame.model.owner import label
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import KillReason

# POLICY: each configuration starts at most this many at a time, so that calls find start slots.
STARTS_AT_ONCE = 2
# Every call that ends may free capacity: while a configuration lacks some, it is checked no more often than this.
ROOM_LOOKED_FOR_EVERY_S = 0.1
# Reasons of death after which the replacement is delayed, unless the instance had lived long enough.
_LOSSES = (KillReason.DIED, KillReason.FAILED)
_OWN_FAILURE = "this server failed to start an instance; its log says why"

log = structlog.get_logger(__name__)


class Provision(msgspec.Struct, frozen=True):
    """What a target wants now: `count` instances, which keep running while idle if `runs_idle` is set."""

    target: Target
    count: int
    runs_idle: bool = False


class Provisions(Protocol):
    """The wanted instances; implemented by `engine.provision_targets`."""

    def wanted(self) -> Iterable[Provision]: ...

    def find(self, target: Target) -> Provision | None:
        """What the configuration under exactly this qualifier wants; None if there is none."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Registers a callback for each change of the wanted instances."""


class _Kept:
    """One target and the state of its starts."""

    def __init__(self, wanted: Provision) -> None:
        self.wanted = wanted
        # Starts under way, by snapshot key.
        self.starting: dict[asyncio.Task[None], str] = {}
        self.keys: tuple[str, ...] = ()
        self.failures = 0
        self.losses = 0
        self.error = ""
        # The last start was refused for lack of capacity.
        self.short = False
        self.timer: Timer | None = None

    def forgive(self) -> None:
        """Forgets earlier failures, which say nothing about the instances started from now on."""
        self.failures = self.losses = 0
        self.error, self.short = "", False
        self.stop_waiting()

    def stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class ProvisionedInstances:
    """One per engine, on its event loop. Call `start` once, and `close` before the pool closes."""

    def __init__(self, pool: Pool, resolver: Snapshots, clocks: Clocks, readying: Readying) -> None:
        self._pool = pool
        self._resolver = resolver
        self._clocks = clocks
        self._readying = readying
        self._provisions: Provisions | None = None
        self._kept: dict[Target, _Kept] = {}
        self._asked = False
        self._room_timer: Timer | None = None
        self._closed = False

    def start(self, provisions: Provisions) -> None:
        """From now on keeps as many instances as are wanted."""
        self._provisions = provisions
        self._pool.on_provisioned_end = self._ended
        self._pool.capacity.on_free = self._room
        provisions.on_change(self._look_soon)
        self._resolver.on_change(self._look_soon)
        self._look()

    async def close(self) -> None:
        """Starts no more instances; on return none is being started. The pool ends the ready ones."""
        self._closed = True
        if self._room_timer is not None:
            self._room_timer.cancel()
        starting = [task for kept in self._kept.values() for task in kept.starting]
        for kept in self._kept.values():
            kept.stop_waiting()
        for task in starting:
            task.cancel()
        if starting:
            await asyncio.wait(starting)

    def ready(self, target: Target) -> list[Instance]:
        """The configuration's instances that are ready for calls or serve them."""
        return [each for each in self._of(target) if each.ready_at is not None]

    def status(self, target: Target) -> Provisioned:
        provision = self._provisions.find(target) if self._provisions is not None else None
        wanted = provision.count if provision is not None else 0
        kept = self._kept.get(target)
        if kept is None:
            return Provisioned(wanted, 0)
        current = sum(each.snapshot.key in kept.keys for each in self.ready(target))
        return Provisioned(wanted, current, kept.error if current < wanted else "")

    def statuses(self) -> dict[Target, Provisioned]:
        return {target: self.status(target) for target in self._kept}

    def _of(self, target: Target) -> list[Instance]:
        return [
            each for each in self._pool.instances() if each.provisioned_for == target and each.state is not State.DEAD
        ]

    def _look_soon(self) -> None:
        """Changes come in bursts, and one look covers all of them."""
        if not self._asked and not self._closed:
            self._asked = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._asked = False
        if self._closed or self._provisions is None:
            return
        wanted = {each.target: each for each in self._provisions.wanted()}
        for target, provision in wanted.items():
            kept = self._kept.get(target)
            if kept is None:
                self._kept[target] = _Kept(provision)
            elif kept.wanted != provision:
                kept.wanted = provision
                kept.forgive()
        by_target: dict[Target, list[Instance]] = {}
        for instance in self._pool.instances():
            if instance.provisioned_for is not None and instance.state is not State.DEAD:
                by_target.setdefault(instance.provisioned_for, []).append(instance)
        for target, kept in list(self._kept.items()):
            if target not in wanted:
                kept.wanted = Provision(target, 0)
            self._settle(kept, by_target.get(target, []))
            if target not in wanted and not kept.starting:
                kept.stop_waiting()
                del self._kept[target]

    def _settle(self, kept: _Kept, instances: list[Instance]) -> None:
        """Starts missing instances and releases unwanted ones, as far as possible now."""
        parts = self._parts(kept)
        ready = [each for each in instances if each.ready_at is not None]
        leaving: list[Instance] = []
        missing: list[Snapshot] = []
        for snapshot, count in parts:
            own = [each for each in ready if each.snapshot.key == snapshot.key]
            leaving += to_release(own, count)
            missing += [snapshot] * (count - len(own) - list(kept.starting.values()).count(snapshot.key))
        former = [each for each in ready if each.snapshot.key not in kept.keys]
        short = kept.short and bool(missing) and bool(former)
        wanted = sum(count for _snapshot, count in parts)
        replaced = to_replace(former, len(ready) - len(former), wanted, short=short)
        if short:
            # Once the released instances have ended, there is capacity again.
            kept.forgive()
        for instance in (*leaving, *replaced):
            self._pool.release_provisioned(instance)
        for instance in instances:
            if instance.runs_idle != kept.wanted.runs_idle:
                self._pool.set_runs_idle(instance, runs_idle=kept.wanted.runs_idle)
        if missing and kept.short and self._pool.capacity.may_provision(missing[0]):
            # The capacity it waits for is available.
            kept.stop_waiting()
        if missing and kept.timer is None:
            for snapshot in missing[: max(STARTS_AT_ONCE - len(kept.starting), 0)]:
                self._begin(kept, snapshot)

    def _parts(self, kept: _Kept) -> list[tuple[Snapshot, int]]:
        """How many of each snapshot are wanted. None if the function cannot run; `kept.error` then says why."""
        shares: tuple[tuple[Snapshot, float], ...] = ()
        why = ""
        if kept.wanted.count:
            try:
                shares = self._resolver.shares(kept.wanted.target)
            except CallerError as error:
                why = str(error)
        keys = tuple(snapshot.key for snapshot, _weight in shares)
        if keys != kept.keys:
            kept.keys = keys
            kept.forgive()
        kept.error = why or kept.error
        counts = split(kept.wanted.count, [weight for _snapshot, weight in shares])
        return [(snapshot, count) for (snapshot, _weight), count in zip(shares, counts, strict=True) if count]

    def _begin(self, kept: _Kept, snapshot: Snapshot) -> None:
        task = asyncio.get_running_loop().create_task(self._start_one(kept, snapshot))
        kept.starting[task] = snapshot.key

        def started(task: "asyncio.Task[None]") -> None:
            del kept.starting[task]
            self._look_soon()

        task.add_done_callback(started)

    async def _start_one(self, kept: _Kept, snapshot: Snapshot) -> None:
        try:
            wanted = kept.wanted
            await self._readying.bring_up(snapshot, wanted.target, provisioned=True, runs_idle=wanted.runs_idle)
        except (CallerError, NotReady) as error:
            self._failed(kept, snapshot, str(error))
            kept.short = isinstance(error, Exhausted)
        except Exception:
            if not self._closed:
                log.exception("a provisioned instance failed", function=label(snapshot.service, snapshot.function))
                self._failed(kept, snapshot, _OWN_FAILURE)
        else:
            # A pending timer means that another start failed after this one had begun: keep that timer.
            if kept.timer is None:
                kept.failures, kept.error, kept.short = 0, "", False

    def _failed(self, kept: _Kept, snapshot: Snapshot, why: str) -> None:
        """Counts a failed start, unless its snapshot is not wanted any more."""
        if snapshot.key in kept.keys:
            kept.failures += 1
            kept.error = why
            self._wait(kept)

    def _room(self) -> None:
        """Capacity was freed: looks again, soon, if any configuration was refused for lack of it."""
        if (
            self._kept
            and self._room_timer is None
            and not self._closed
            and any(each.short for each in self._kept.values())
        ):

            def over() -> None:
                self._room_timer = None
                self._look()

            self._room_timer = self._clocks.call_later(ROOM_LOOKED_FOR_EVERY_S, over)

    def _ended(self, instance: Instance, reason: KillReason) -> None:
        """Handles the end of a ready instance; `_start_one` handles one that ended during its start."""
        kept = self._kept.get(instance.provisioned_for) if instance.provisioned_for is not None else None
        if kept is not None and instance.ready_at is not None and reason in _LOSSES:
            lived_s = self._clocks.monotonic() - instance.ready_at
            kept.losses = 0 if lived_s >= SOUND_AFTER_S else kept.losses + 1
            self._wait(kept)
        self._look_soon()

    def _wait(self, kept: _Kept) -> None:
        """Delays further starts after failures or losses."""
        delay_s = next_start_s(kept.failures, kept.losses)
        if delay_s and not self._closed:
            kept.stop_waiting()

            def over() -> None:
                kept.timer = None
                self._look()

            kept.timer = self._clocks.call_later(delay_s, over)
