"""Tracks instances that serve several calls at a time: which have room for one more, and which will have it soon.

Used by `engine.pool` for functions with a concurrency above one. Starts and ends nothing itself.
"""

import asyncio
from collections.abc import Iterator

from sesame.engine.instance import Instance, State
from sesame.engine.policies import has_room_for_session
from sesame.model.snapshot import Snapshot


class _Readying:
    """An instance that a call is starting and initializing, while other calls wait for room in it."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.waiting = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Open:
    """The open instances of one snapshot, by the number of calls that each serves, so that none is searched for."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._calls: dict[Instance, int] = {}
        self._by_calls: dict[int, dict[Instance, None]] = {}
        self._places = 0

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __contains__(self, instance: Instance) -> bool:
        return instance in self._calls

    def add(self, instance: Instance) -> None:
        calls = self._calls[instance] = instance.calls
        self._by_calls.setdefault(calls, {})[instance] = None
        self._places += self._concurrency - calls

    def remove(self, instance: Instance) -> None:
        calls = self._calls.pop(instance)
        group = self._by_calls[calls]
        del group[instance]
        if not group:
            del self._by_calls[calls]
        self._places -= self._concurrency - calls

    def places(self, *, provisioned: bool) -> int:
        """How many more calls fit into them, or with `provisioned` into those that are provisioned."""
        first = next(iter(self._calls), None)
        if first is None or (first.snapshot.affinity is None and not provisioned):
            return self._places
        able = ((each, calls) for each, calls in self._calls.items() if has_room_for_session(each))
        return sum(
            self._concurrency - calls for each, calls in able if not provisioned or each.provisioned_for is not None
        )

    def fullest(self) -> Iterator[Instance]:
        """Those that have room, the fullest first."""
        for calls in sorted(self._by_calls, reverse=True):
            if calls < self._concurrency:
                yield from self._by_calls[calls]


class SharedInstances:
    """By snapshot key. An instance is open, readying or neither: IDLE and DEAD ones are neither.

    Instances that serve one call at a time are never listed.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._readying: dict[str, list[_Readying]] = {}

    def take(self, snapshot: Snapshot) -> Instance | None:
        """Finds a BUSY instance with room for a call. The caller must count the call in before it next awaits.

        POLICY: prefer the fullest one, so that surplus instances become idle.
        """
        opened = self._open.get(snapshot.key)
        if opened is None:
            return None
        # An instance whose process has died stays open until its calls have noticed.
        return next((each for each in opened.fullest() if each.death is None and has_room_for_session(each)), None)

    def counted(self, instance: Instance) -> None:
        """Call whenever the number of an instance's calls has changed."""
        opened = self._open.get(instance.snapshot.key)
        if opened is not None and instance in opened:
            opened.remove(instance)
            opened.add(instance)

    def places(self, key: str, *, provisioned: bool = False) -> int:
        """How many more calls fit into running instances and, beyond those already waiting, into starting ones.

        Includes instances whose processes have died, until their calls have noticed. With `provisioned`, counts only
        running ones that are provisioned.
        """
        opened = self._open.get(key)
        readying = () if provisioned else self._readying.get(key, ())
        open_now = 0 if opened is None else opened.places(provisioned=provisioned)
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
        opened = self._open.setdefault(instance.snapshot.key, _Open(instance.snapshot.limits.concurrency))
        if instance in opened:
            return False
        opened.add(instance)
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
