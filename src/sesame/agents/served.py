"""Decides which functions followers serve. Followers and the writer, which hands calls over to them, share this rule.

Used by `agents.calls`, `agents.runs`, `agents.writers_calls` and `agents.async_places`.
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
    """Caches what each target resolves to, until the catalog changes."""

    def __init__(self, resolver: Snapshots, catalog: Catalog, lacks: Callable[[Snapshot], bool] | None = None) -> None:
        """`lacks` returns whether this agent lacks the means to run a snapshot; None means that it can run all."""
        self._resolver = resolver
        self._catalog = catalog
        self._lacks = lacks
        self._known: dict[Target, Snapshot | None] = {}
        # By service name and function name.
        self._provisioned: dict[tuple[str, str], bool] = {}
        catalog.on_change(lambda _change: self._forget())

    def _forget(self) -> None:
        self._known.clear()
        self._provisioned.clear()

    def of(self, target: Target) -> Snapshot | None:
        """The snapshot that a call of `target` runs; None if followers do not serve it.

        Always None for an alias with a canary, because the version must be drawn first (`drawn`).
        """
        if target in self._known:
            return self._known[target]
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        found = self._known[target] = self._find(target)
        return found

    def serves_calls_of(self, target: Target) -> bool:
        """Whether followers may serve a synchronous call of `target`, whichever version is drawn."""
        if self.of(target) is not None:
            return True
        split = self._split(target)
        return bool(split) and all(map(self.serves, split))

    def drawn(self, target: Target, exchange: Exchange) -> Target:
        """The target that a synchronous call runs: for an alias with a canary, with the version that is drawn for it.

        The version is drawn once and stays with the connection if the request moves. If each agent drew again, versions
        that are served where a call arrives would get more than their share.
        """
        connection = connection_of(exchange)
        version = self.version_drawn(target, "" if connection is None else connection.drawn)
        if connection is not None and version:
            connection.drawn = version
        return of_version(target, version)

    def version_drawn(self, target: Target, before: str = "") -> str:
        """The version id drawn for a call: `before` if that is still one of the alias's versions, else a new draw.

        "" if no version needs to be drawn.
        """
        if self.of(target) is not None or not (split := self._split(target)):
            return ""
        if any(each.affinity is not None for each in split):
            # With session affinity, the session decides about the version.
            return ""
        known = any(each.version_id == before for each in split)
        return before if known else self._resolver.resolve(target).version_id

    def _split(self, target: Target) -> list[Snapshot]:
        """The snapshots of both versions of an alias with a canary; empty for any other target."""
        try:
            snapshots = [snapshot for snapshot, _share in self._resolver.shares(target)]
        except CallerError:
            return []
        return snapshots if len(snapshots) > 1 else []

    def changed(self, target: Target) -> Snapshot:
        """What a call runs if `target` was served here when the call arrived, but `of` returns None now.

        The alias may have got a canary since then, so a version is drawn. Raises as `Snapshots.resolve` if the target
        no longer exists, and `Unavailable` if only the writer serves it now.
        """
        snapshot = self._resolver.resolve(target)
        if self.serves_calls_of(target):
            return snapshot
        raise Unavailable("the function changed, and only the writer serves it now: call it again")

    def serves(self, snapshot: Snapshot) -> bool:
        """Whether this agent, as a follower, serves the snapshot."""
        return followers_serve(snapshot) and not (self._lacks is not None and self._lacks(snapshot))

    def may_be_provisioned(self, snapshot: Snapshot) -> bool:
        """Whether the writer may have provisioned instances of the function; calls use those before any others."""
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
            # Not served here, so the call moves to the writer, which answers with the error.
            return None
        snapshot = shares[0][0]
        return snapshot if len(shares) == 1 and self.serves(snapshot) else None
