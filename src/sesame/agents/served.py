"""Which functions followers serve: the one rule, for each follower and for the writer, which hands calls over to them.

Used by `agents.follower`, `agents.writer` and `agents.async_places`.
"""

from collections.abc import Callable

from sesame.agents.policies import followers_serve
from sesame.engine.resolver import Snapshots
from sesame.http.interface import Exchange
from sesame.http.moving import connection_of
from sesame.model import records
from sesame.model.configs import provision_config_name
from sesame.model.errors import CallerError, Unavailable
from sesame.model.invocation import Target, of_version
from sesame.model.snapshot import Snapshot
from sesame.store.catalog import Catalog

KNOWN_MAX = 4096


class Served:
    """Remembers what each target is until the catalog changes."""

    def __init__(
        self, resolver: Snapshots, catalog: Catalog, *, recorded: bool, lacks: Callable[[Snapshot], bool] | None = None
    ) -> None:
        """`recorded`: calls of every function are. `lacks` says of what this agent lacks the means to run."""
        self._resolver = resolver
        self._catalog = catalog
        self._recorded = recorded
        self._lacks = lacks
        self._known: dict[Target, Snapshot | None] = {}
        # By service and function.
        self._provisioned: dict[tuple[str, str], bool] = {}
        catalog.on_change(lambda _change: self._forget())

    def _forget(self) -> None:
        self._known.clear()
        self._provisioned.clear()

    def of(self, target: Target) -> Snapshot | None:
        """What a call of `target` runs, where followers serve it."""
        if target in self._known:
            return self._known[target]
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        found = self._known[target] = self._find(target)
        return found

    def serves_calls_of(self, target: Target) -> bool:
        """Whether a synchronous call of it runs where it comes to, whichever version chance decides for."""
        if self.of(target) is not None:
            return True
        split = self._split(target)
        return bool(split) and all(map(self.serves, split))

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """What a synchronous call of it calls: of an alias with a canary one version, for which chance decides once.

        That stays with the request where it moves: decided anew by each agent, versions that start where they are
        called would have a larger share than is theirs.
        """
        connection = connection_of(exchange)
        version = self.version_drawn(target, "" if connection is None else connection.drawn)
        if connection is not None and version:
            connection.drawn = version
        return of_version(target, version)

    def version_drawn(self, target: Target, before: str = "") -> str:
        """The version that chance decides for, or has decided for `before`; "" where there is nothing to decide."""
        if self.of(target) is not None or not (split := self._split(target)):
            return ""
        if any(each.affinity is not None for each in split):
            # For those its session decides.
            return ""
        known = any(each.version_id == before for each in split)
        return before if known else self._resolver.resolve(target).version_id

    def _split(self, target: Target) -> list[Snapshot]:
        """The versions of an alias with a canary, none for anything else."""
        try:
            snapshots = [snapshot for snapshot, _share in self._resolver.shares(target)]
        except CallerError:
            return []
        return snapshots if len(snapshots) > 1 else []

    def changed(self, target: Target) -> Snapshot:
        """What a call of it is to run that came when it was served here, and that `of` does not know any more.

        A version of an alias that has a canary since. Raises as `Snapshots.resolve` for what is no more.
        """
        snapshot = self._resolver.resolve(target)
        if self.serves_calls_of(target):
            return snapshot
        raise Unavailable("the function is one of the writer's since the call came: call it again")

    def serves(self, snapshot: Snapshot) -> bool:
        """POLICY: beside those that `followers_serve` excludes, calls that are recorded are the writer's."""
        if self._recorded or not followers_serve(snapshot) or (self._lacks is not None and self._lacks(snapshot)):
            return False
        catalog, service, function = self._catalog, snapshot.service, snapshot.function
        return catalog.get(records.RECORDING_CONFIG, service, function) is None

    def may_be_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether the writer may have instances of it that were started ahead of calls, which take these first."""
        named = snapshot.service, snapshot.function
        if named not in self._provisioned:
            self._provisioned[named] = self._has_provisioned(*named)
        return self._provisioned[named]

    def _has_provisioned(self, service: str, function: str) -> bool:
        kinds = (records.PROVISION_CONFIG, records.SCALING_CONFIG)
        there = [each for kind in kinds for each in self._catalog.children(kind, service)]
        return any(each.name == provision_config_name(function, each.document.qualifier) for each in there)

    def _find(self, target: Target) -> Snapshot | None:
        try:
            shares = self._resolver.shares(target)
        except CallerError:
            # The writer confirms it, and says so.
            return None
        snapshot = shares[0][0]
        return snapshot if len(shares) == 1 and self.serves(snapshot) else None
