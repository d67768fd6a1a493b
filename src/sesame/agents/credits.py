"""The instances that a follower may start: one for each credit that the writer has granted.

`CreditCapacity` stands in the follower's pool for the caps, which the writer alone decides about.
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

# POLICY: a credit that no call has used for so long is given back.
UNUSED_S = 10.0

Ask = Callable[[Snapshot], Awaitable[None]]
"""Has one granted for the snapshot. Raises `Exhausted` where the writer grants none."""


class _Credit(msgspec.Struct, frozen=True):
    instance_id: str
    granted_at: float


class CreditCapacity(Capacity):
    """Holds on every step: instances that are not gone, and credits that are unused, are what the writer counts."""

    def __init__(
        self, caps: Caps, shortage: Callable[[], str], clock: Callable[[], float], give_back: Callable[[str], None]
    ) -> None:
        super().__init__(caps, shortage)
        # How the writer is asked for one more, by a call that finds none.
        self.ask: Ask | None = None
        self._clock = clock
        self._give_back = give_back
        self._unused: dict[str, deque[_Credit]] = {}
        # Those whose calls were granted a credit are among them. One that has ended may need its credit no more.
        self.coming = Coming(self.not_needed)

    def grant(self, key: str, instance_id: str, caller: Caller) -> None:
        """For the call of this `caller`, whose end gives it back where nobody else needs it."""
        self.coming.add(key, caller)
        self.spare(key, instance_id)

    def spare(self, key: str, instance_id: str) -> None:
        """A credit ahead of the call that will need it."""
        self._unused.setdefault(key, deque()).append(_Credit(instance_id, self._clock()))

    def has_credit(self, key: str) -> bool:
        return key in self._unused

    def unused_of(self, key: str) -> int:
        """How many instances calls of it may start here."""
        return len(self._unused.get(key, ()))

    def begun(self, key: str, caller: Caller, *, warm: bool) -> None:
        """A call asks for an instance. A credit that nobody needs any more, as it finds a warm one, is given back."""
        if self.coming:
            self.coming.forget(key, caller)
        if warm:
            self.not_needed(key)

    def leaves(self, caller: Caller) -> None:
        """Its call goes on as another one's: the credit is kept for that (`comes_for`)."""
        self.coming.leaves(caller)

    def comes_for(self, key: str, caller: Caller) -> None:
        """The call that one is kept for, if any is."""
        if self.unused_of(key) > self.coming.count(key):
            self.coming.add(key, caller)

    def not_needed(self, key: str) -> None:
        """A call needs none, as it found a warm instance or is refused: one that nobody comes for is given back."""
        credits = self._unused.get(key)
        if credits is not None and len(credits) > self.coming.count(key):
            self.revoke(credits[-1].instance_id)

    def unused(self) -> list[str]:
        return [credit.instance_id for credits in self._unused.values() for credit in credits]

    def revoke(self, instance_id: str) -> bool:
        """Gives a credit back that is unused. False for one that is used, or unknown."""
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
        """The writer has counted it."""
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
