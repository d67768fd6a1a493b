"""Credits: each permits a follower to start one instance, whose id it names. Granted by the writer.

A follower's pool uses `CreditCapacity` as its capacity, because only the writer applies the caps.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from sesame.agents.coming import Caller, Coming
from sesame.engine.capacity import Capacity
from sesame.engine.instance import Instance
from sesame.engine.policies import Caps
from sesame.model.errors import Exhausted
from sesame.model.snapshot import Snapshot

# POLICY: a credit that has been unused for this long is given back.
UNUSED_S = 10.0

Ask = Callable[[Snapshot], Awaitable[None]]
"""Obtains a credit for the snapshot, added with `CreditCapacity.spare`. Raises `Exhausted` if the writer has none."""


class _Credit(msgspec.Struct, frozen=True):
    instance_id: str
    granted_at: float


class CreditCapacity(Capacity):
    """Invariant: the writer counts exactly the instances here that are not gone, plus the unused credits."""

    def __init__(
        self, caps: Caps, shortage: Callable[[], str], clock: Callable[[], float], give_back: Callable[[str], None]
    ) -> None:
        super().__init__(caps, shortage)
        # Asks the writer for a credit if a call finds none here.
        self.ask: Ask | None = None
        self._clock = clock
        self._give_back = give_back
        self._unused: dict[str, deque[_Credit]] = {}
        # Includes the callers for which credits were granted. If one ends, its credit may no longer be needed.
        self.coming = Coming(self.not_needed)

    def grant(self, key: str, instance_id: str, caller: Caller) -> None:
        """Adds a credit for the call of `caller`. If that ends without using it, unneeded credits are given back."""
        self.coming.add(key, caller)
        self.spare(key, instance_id)

    def spare(self, key: str, instance_id: str) -> None:
        """Adds a credit that any call of the snapshot may use."""
        self._unused.setdefault(key, deque()).append(_Credit(instance_id, self._clock()))

    def has_credit(self, key: str) -> bool:
        return key in self._unused

    def unused_of(self, key: str) -> int:
        """How many instances of the snapshot may be started here."""
        return len(self._unused.get(key, ()))

    def begun(self, key: str, caller: Caller, *, warm: bool) -> None:
        """A call asks for its instance. If it finds a `warm` one, a credit may no longer be needed."""
        if self.coming:
            self.coming.forget(key, caller)
        if warm:
            self.not_needed(key)

    def leaves(self, caller: Caller) -> None:
        """The caller's call continues in another task; its credit is kept for that one (see `comes_for`)."""
        self.coming.leaves(caller)

    def comes_for(self, key: str, caller: Caller) -> None:
        """Assigns a credit that `leaves` has kept, if there is one, to the call's new task."""
        if self.unused_of(key) > self.coming.count(key):
            self.coming.add(key, caller)

    def not_needed(self, key: str) -> None:
        """A call found a warm instance or was refused: gives back a credit unless a coming call still needs it."""
        credits = self._unused.get(key)
        if credits is not None and len(credits) > self.coming.count(key):
            self.revoke(credits[-1].instance_id)

    def unused(self) -> list[str]:
        """The instance ids of all unused credits."""
        return [credit.instance_id for credits in self._unused.values() for credit in credits]

    def revoke(self, instance_id: str) -> bool:
        """Gives an unused credit back. Returns False if it is already used or unknown."""
        for key, credits in self._unused.items():
            for credit in credits:
                if credit.instance_id == instance_id:
                    credits.remove(credit)
                    if not credits:
                        del self._unused[key]
                    self._give_back(instance_id)
                    return True
        return False

    def give_back_old(self) -> None:
        """Gives back every credit that has been unused for UNUSED_S."""
        now = self._clock()
        for credit in [each for credits in self._unused.values() for each in credits]:
            if now - credit.granted_at >= UNUSED_S:
                self.revoke(credit.instance_id)

    async def granted(
        self, snapshot: Snapshot, *, provisioned: bool = False, machine: int = 0
    ) -> list[Instance] | None:
        if self.ask is not None and not self.has_credit(snapshot.key):
            await self.ask(snapshot)
        return self.require(snapshot, provisioned=provisioned)

    def require(self, snapshot: Snapshot, *, provisioned: bool = False, machine: int = 0) -> list[Instance] | None:
        if provisioned or snapshot.key not in self._unused:
            raise Exhausted(f"this agent has no credit for one more instance of function '{snapshot.function}'")
        if shortage := self._shortage():
            raise Exhausted(shortage)
        return []

    def take(self, instance: Instance, leaving: Sequence[Instance] = (), *, was_there: bool = False) -> None:
        """See `Capacity.take`; never refused, because the writer has counted the instance already."""
        super().take(instance, leaving, was_there=True)

    def name(self, snapshot: Snapshot) -> str:
        credits = self._unused[snapshot.key]
        credit = credits.popleft()
        if not credits:
            del self._unused[snapshot.key]
        return credit.instance_id

    def free(self, instance: Instance) -> None:
        if self.instance(instance.instance_id) is not None:
            super().free(instance)
            self._give_back(instance.instance_id)
