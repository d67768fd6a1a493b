"""Tracks instances that serve several calls at a time: which have room for one more, and which will have it soon.

Used by `engine.pool` for functions with a concurrency above one. Starts and ends nothing itself.
"""

import asyncio

from sesame.engine.instance import Instance, State
from sesame.engine.policies import has_room_for_session
from sesame.model.snapshot import Snapshot


class _Readying:
    """An instance that a call is starting and initializing, while other calls wait for room in it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.waiting = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class SharedInstances:
    """By snapshot key. An instance is in at most one of the two lists, and in neither if it is IDLE or DEAD.

    Instances that serve one call at a time are never listed.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Instance]] = {}
        self._readying: dict[str, list[_Readying]] = {}

    def take(self, snapshot: Snapshot) -> Instance | None:
        """Finds a BUSY instance with room for a call. The caller must count the call in before it next awaits.

        POLICY: prefer the fullest one, so that surplus instances become idle.
        """
        fullest: Instance | None = None
        concurrency = snapshot.limits.concurrency
        for each in self._open.get(snapshot.key, ()):
            # An instance whose process has died stays open until its calls have noticed.
            if each.calls >= concurrency or each.death is not None or not has_room_for_session(each):
                continue
            if fullest is None or each.calls > fullest.calls:
                fullest = each
        return fullest

    def places(self, key: str, *, provisioned: bool = False) -> int:
        """How many more calls fit into running instances and, beyond those already waiting, into starting ones.

        With `provisioned`, counts only running ones that are provisioned.
        """
        open_now = sum(
            each.snapshot.limits.concurrency - each.calls
            for each in self._open.get(key, ())
            if each.death is None
            and has_room_for_session(each)
            and (not provisioned or each.provisioned_for is not None)
        )
        readying = () if provisioned else self._readying.get(key, ())
        return open_now + sum(max(each.instance.snapshot.limits.concurrency - 1 - each.waiting, 0) for each in readying)

    def has_room(self, instance: Instance) -> bool:
        """Whether the instance is open and has room for one more call of a session bound to it."""
        snapshot = instance.snapshot
        return instance in self._open.get(snapshot.key, ()) and instance.calls < snapshot.limits.concurrency

    def open(self, instance: Instance) -> bool:
        """From now on the instance accepts additional calls; wakes those waiting for it.

        Returns False if it was open before, or cannot be opened.
        """
        if not instance.shared or instance.state is not State.BUSY:
            return False
        self._end_readying(instance)
        opened = self._open.setdefault(instance.snapshot.key, [])
        if instance in opened:
            return False
        opened.append(instance)
        return True

    def close(self, instance: Instance) -> None:
        """The instance accepts no additional calls; wakes those waiting for it. Idempotent."""
        if not instance.shared:
            return
        self._end_readying(instance)
        key = instance.snapshot.key
        opened = self._open.get(key)
        if opened is not None and instance in opened:
            opened.remove(instance)
            if not opened:
                del self._open[key]

    def begin(self, instance: Instance) -> None:
        """A call takes the instance. Until it is initialized, other calls may wait for `open` or `close`."""
        if not instance.shared:
            return
        if instance.initialized and instance.state is State.BUSY:
            self.open(instance)
            return
        self._readying.setdefault(instance.snapshot.key, []).append(_Readying(instance))

    async def soon(self, snapshot: Snapshot) -> bool:
        """Waits for an instance that is being started and has room for this call. Returns False if there is none.

        POLICY: a burst of calls starts no more instances than it fills.
        """
        affinity = snapshot.affinity
        room = (snapshot.limits.concurrency if affinity is None else affinity.sessions_per_instance) - 1
        if not room:
            return False
        readying = next((each for each in self._readying.get(snapshot.key, ()) if each.waiting < room), None)
        if readying is None:
            return False
        readying.waiting += 1
        try:
            await asyncio.shield(readying.over)
        finally:
            readying.waiting -= 1
        return True

    def _end_readying(self, instance: Instance) -> None:
        key = instance.snapshot.key
        for readying in self._readying.get(key, ()):
            if readying.instance is instance:
                self._readying[key].remove(readying)
                if not self._readying[key]:
                    del self._readying[key]
                readying.over.set_result(None)
                return
