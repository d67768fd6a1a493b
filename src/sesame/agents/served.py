"""Which functions a follower serves by itself, remembered until its catalog changes.

Used by `agents.follower`.
"""

from collections.abc import Callable

from sesame.agents.policies import followers_serve
from sesame.engine.resolver import Snapshots
from sesame.model.errors import CallerError, PlatformError
from sesame.model.invocation import Target
from sesame.model.snapshot import Snapshot

KNOWN_MAX = 4096


class ServedHere:
    def __init__(self, resolver: Snapshots, for_writer: Callable[[Snapshot], bool]) -> None:
        """`for_writer` says of which functions the writer serves every call, beside those of `followers_serve`."""
        self._resolver = resolver
        self._for_writer = for_writer
        self._known: dict[Target, Snapshot | None] = {}

    def of(self, target: Target) -> Snapshot | None:
        """What a call of `target` runs, where it may run here."""
        if target in self._known:
            return self._known[target]
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        found = self._known[target] = self._find(target)
        return found

    def now(self, target: Target) -> Snapshot:
        """As `of`, of a call that was served here before. Raises as `Snapshots.resolve` for what is no more."""
        if (snapshot := self.of(target)) is None:
            self._resolver.resolve(target)
            raise PlatformError("the function is one of the writer's since the call came: call it again")
        return snapshot

    def changed(self) -> None:
        """The catalog has."""
        self._known.clear()

    def _find(self, target: Target) -> Snapshot | None:
        try:
            shares = self._resolver.shares(target)
        except CallerError:
            # The writer confirms it, and says so.
            return None
        snapshot = shares[0][0]
        return snapshot if len(shares) == 1 and followers_serve(snapshot) and not self._for_writer(snapshot) else None
