"""Keeps the writer informed about a follower's instances, and ends those that the writer revokes.

Used by `agents.follower` once its pool exists.
"""

from collections.abc import Callable, Iterable

from sesame.agents import messages as m
from sesame.agents.credits import CreditCapacity
from sesame.engine.instance import State
from sesame.engine.pool import Pool
from sesame.model.invocation import Target
from sesame.sandbox.interface import KillReason


class HeldInstances:
    def __init__(self, pool: Pool, credits: CreditCapacity, gone: Callable[[str], None]) -> None:
        """`gone` tells the writer that an instance which it wants to end does not exist here."""
        self._pool = pool
        self._credits = credits
        self._gone = gone
        self._told_idle = _Told()
        # Instances that must end once their calls have ended.
        self._revoked: set[str] = set()

    def any(self) -> bool:
        return bool(self._pool.instances())

    def all(self) -> tuple[m.Held, ...]:
        """Lists all instances for a new link. Gives unused credits back, which the next writer does not know."""
        self._revoke_unused()
        # Nothing has been reported as idle over the new link.
        self._told_idle = _Told()
        return tuple(
            m.Held(
                each.instance_id,
                Target(each.snapshot.service, each.snapshot.version_id, each.snapshot.function),
                each.snapshot.key,
                each.snapshot.limits.memory_mb,
                each.snapshot.limits.disk_mb,
            )
            for each in self._pool.instances()
        )

    def end(self, asked: m.EndInstance) -> None:
        """Ends an instance, or gives its credit back if it is unused. See `messages.EndInstance`."""
        instance = self._pool.instance(asked.instance_id)
        if instance is None:
            if not self._credits.revoke(asked.instance_id):
                self._gone(asked.instance_id)
        elif asked.abort:
            instance.abort()
        elif instance.state is State.IDLE:
            # Runs its PreStop hook, as for every instance that is no longer needed.
            self._pool.release_provisioned(instance)
        else:
            self._pool.shared.close(instance)
            self._revoked.add(asked.instance_id)

    def give_up(self, asked: Iterable[str]) -> tuple[str, ...]:
        """Ends the idle ones of these instances and returns their ids. The writer considers the others busy."""
        given_up = tuple(each for each in asked if self._gives_up(each))
        self.are_busy(asked)
        return given_up

    def _gives_up(self, instance_id: str) -> bool:
        instance = self._pool.instance(instance_id)
        idle = instance is not None and instance.state is State.IDLE and not instance.commands
        if instance is not None and idle:
            self._pool.counts.evicted += 1
            self._pool.release_provisioned(instance)
        return idle

    def end_all(self) -> None:
        """Ends all instances at once, including their calls. None starts again until the writer grants a credit."""
        self._revoke_unused()
        for instance in self._pool.instances():
            if instance.state is State.IDLE:
                self._pool.end(instance, KillReason.ABORTED)
            else:
                instance.abort()

    def look(self, *, has_writer: bool) -> m.IdleChanges | None:
        """Returns which instances became idle or busy since the last report; None if none did.

        Also ends revoked instances that are idle now and, with `has_writer`, gives old unused credits back.
        """
        if has_writer:
            self._credits.give_back_old()
        self.end_revoked()
        told, self._told_idle = self._told_idle, _Told()
        new, busy = [], []
        for each in self._pool.instances():
            if each.state is State.IDLE:
                self._told_idle.add(each.instance_id, each.snapshot.key)
                if each.instance_id not in told:
                    new.append(each.instance_id)
            elif each.instance_id in told:
                busy.append(each.instance_id)
        return m.IdleChanges(tuple(new), tuple(busy)) if new or busy else None

    def end_revoked(self) -> None:
        """Ends the revoked instances that are idle now."""
        for instance_id in list(self._revoked):
            instance = self._pool.instance(instance_id)
            if instance is None:
                self._revoked.discard(instance_id)
            elif instance.state is State.IDLE:
                self._pool.release_provisioned(instance)

    def are_busy(self, instance_ids: Iterable[str]) -> None:
        """Records that the writer considers these instances busy."""
        for each in instance_ids:
            self._told_idle.discard(each)

    def all_are_busy(self, key: str) -> None:
        """Like `are_busy`, for all instances of a snapshot."""
        self._told_idle.discard_all(key)

    def is_idle(self, instance_id: str) -> None:
        """Records that the writer is told that this instance is idle."""
        if (instance := self._pool.instance(instance_id)) is not None:
            self._told_idle.add(instance_id, instance.snapshot.key)

    def forget(self, instance_id: str) -> None:
        self._revoked.discard(instance_id)
        self._told_idle.discard(instance_id)

    def _revoke_unused(self) -> None:
        """Gives back all unused credits: the writer that granted them is gone."""
        for unused in self._credits.unused():
            self._credits.revoke(unused)


class _Told:
    """Ids of instances, also found by their snapshot keys."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._by_key: dict[str, set[str]] = {}

    def __contains__(self, instance_id: str) -> bool:
        return instance_id in self._keys

    def add(self, instance_id: str, key: str) -> None:
        self._keys[instance_id] = key
        self._by_key.setdefault(key, set()).add(instance_id)

    def discard(self, instance_id: str) -> None:
        if (key := self._keys.pop(instance_id, None)) is not None:
            self._by_key[key].discard(instance_id)
            if not self._by_key[key]:
                del self._by_key[key]

    def discard_all(self, key: str) -> None:
        for each in self._by_key.pop(key, ()):
            del self._keys[each]
