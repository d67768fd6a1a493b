"""A lease of an instance: the instance is BUSY for one call, then returns to the pool or is ended.

Created by `engine.pool`, the lender of every lease.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from sesame.engine.instance import Instance, State
from sesame.engine.sharing import SharedInstances
from sesame.model.session import SessionKey
from sesame.model.snapshot import Snapshot
from sesame.sandbox.interface import KillReason


class Lease(msgspec.Struct):
    """One instance, BUSY, for one call. `queue_ms` and `start_ms` are zero if it was idle already."""

    instance: Instance
    cold: bool
    queue_ms: float = 0.0
    start_ms: float = 0.0


class Learning(Protocol):
    """Learns how often functions are called, and thus how long their instances are kept (`engine.prewarming`)."""

    def began(self, snapshot: Snapshot) -> None: ...
    def ended(self, snapshot: Snapshot) -> None:
        """Called before the call's instance becomes idle."""

    def last_kept(self, idle: Sequence[Instance]) -> bool | None:
        """Whether to keep the most recently used of a snapshot's idle instances; None to apply the fixed time."""


class Sessions(Protocol):
    """The part of `engine.sessions` that leases use."""

    async def acquire(self, snapshot: Snapshot, session: SessionKey) -> Lease: ...


class Lender(Protocol):
    """The part of a pool that its leases use.

    `calls` counts the calls that wait for an instance or hold one, `calls_of` those that hold one, by snapshot key.
    """

    calls: int
    calls_of: dict[str, int]
    learning: Learning | None
    calls_ended: "asyncio.Future[None] | None"

    @property
    def sessions(self) -> Sessions: ...
    @property
    def shared(self) -> SharedInstances: ...

    def acquire_warm(self, snapshot: Snapshot) -> Lease | None: ...
    async def acquire(self, snapshot: Snapshot) -> Lease: ...
    def release(self, instance: Instance) -> None: ...
    def end(self, instance: Instance, reason: KillReason) -> "asyncio.Task[None]": ...


class Leasing:
    """The context manager of one lease; a class, because a generator would cost every call more."""

    __slots__ = ("_lease", "_pool", "_session", "_snapshot")

    def __init__(self, pool: Lender, snapshot: Snapshot, session: SessionKey | None = None) -> None:
        self._pool = pool
        self._snapshot = snapshot
        self._session = session

    async def __aenter__(self) -> Lease:
        pool = self._pool
        pool.calls += 1
        if pool.learning is not None:
            pool.learning.began(self._snapshot)
        try:
            if self._session is None:
                # Most calls find a warm instance without waiting.
                lease = pool.acquire_warm(self._snapshot) or await pool.acquire(self._snapshot)
            else:
                lease = await pool.sessions.acquire(self._snapshot, self._session)
            self._lease = lease
        except BaseException:
            if pool.learning is not None:
                pool.learning.ended(self._snapshot)
            self._over()
            raise
        self._count(1)
        return lease

    async def __aexit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        pool, instance = self._pool, self._lease.instance
        self._count(-1)
        if pool.learning is not None:
            pool.learning.ended(self._snapshot)
        try:
            if kind is None:
                pool.release(instance)
                return
            canceled = issubclass(kind, asyncio.CancelledError)
            if instance.spent or (canceled and instance.shared and instance.state is State.BUSY):
                # The instance's other calls go on.
                pool.release(instance)
                return
            reason = KillReason.CANCELED if canceled else KillReason.FAILED
            # Wait until the instance has ended, so that a failed call leaves nothing behind. If the caller is
            # cancelled, the instance is ended all the same.
            await asyncio.shield(pool.end(instance, reason))
        finally:
            self._over()

    def _count(self, more: int) -> None:
        """Counts the call at its instance; a key that has no calls is not kept."""
        pool, instance = self._pool, self._lease.instance
        instance.calls += more
        key, counts = instance.snapshot.key, pool.calls_of
        if left := counts.get(key, 0) + more:
            counts[key] = left
        else:
            del counts[key]
        if instance.shared:
            pool.shared.counted(instance)

    def _over(self) -> None:
        """Notifies a closing pool when its last call has ended."""
        pool = self._pool
        pool.calls -= 1
        if pool.calls_ended is not None and not pool.calls and not pool.calls_ended.done():
            pool.calls_ended.set_result(None)
