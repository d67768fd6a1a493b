"""Resolves what a caller names to what will run: `service.qualifier/function` → a frozen `Snapshot`.

Called by `engine.dispatcher` for every call. Reads the catalog's copy in memory, never the database, and caches each
answer until the catalog changes.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.configs import OnDemandConfig, on_demand_resource, provision_config_name
from sesame.model.conversion import described
from sesame.model.errors import Disabled, NotFound, Unusable
from sesame.model.function import Function
from sesame.model.function_state import FunctionState
from sesame.model.invocation import Target
from sesame.model.layer import parse_layer_arn
from sesame.model.owner import spoken_function
from sesame.model.records import Record
from sesame.model.snapshot import Resolved, Snapshot, snapshot_of
from sesame.model.version import FrozenFunction, Version, frozen_parent

# The kinds of records that go into a snapshot. Changes of other kinds affect no snapshot.
_SOURCES = frozenset(
    {
        records.SERVICE,
        records.FUNCTION,
        records.VERSION,
        records.FROZEN_FUNCTION,
        records.ALIAS,
        records.LAYER_VERSION,
        records.ON_DEMAND_CONFIG,
        records.SCALING_CONFIG,
        records.FUNCTION_STATE,
    }
)


class Change(Protocol):
    """The part of a catalog change that the resolver uses."""

    @property
    def kind(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def record(self) -> Record | None: ...


class Catalog(Protocol):
    """The part of `store.catalog.Catalog` that the resolver uses; answers from memory."""

    def get(self, kind: str, parent: str, name: str) -> Record | None: ...

    def of_kind(self, kind: str) -> Iterator[Record]: ...

    def on_change(self, callback: Callable[[Any], None]) -> None:
        """Registers a callback, called with each `Change` after it has been applied."""


class Snapshots(Protocol):
    """Resolves names for the engine; implemented by `Resolver`, and by `OneSnapshot` for local code and trials."""

    @property
    def changes(self) -> int:
        """A number that grows with each change; answers are valid until it does."""

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        """Raises the API's error if the target does not exist or cannot run here.

        If an alias splits calls between versions, all calls of one session are given the same version.
        """

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        """Every snapshot that calls to `target` may get, with its share of them. Raises as `resolve` does."""

    def is_current(self, target: Target, key: str) -> bool:
        """Whether calls to `target` may still use instances whose snapshot key is `key`."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Registers a callback, called after each change that may have made instances outdated."""


class _Split(msgspec.Struct, frozen=True):
    """An alias with a canary: the versions that receive its calls, and their weights, which add up to 1."""

    targets: tuple[Target, ...]
    weights: tuple[float, ...]


class OneSnapshot:
    """`Snapshots` that resolves every target to one snapshot, which never changes."""

    changes = 0

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        return self._snapshot

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        return ((self._snapshot, 1.0),)

    def is_current(self, target: Target, key: str) -> bool:
        return True

    def on_change(self, callback: Callable[[], None]) -> None:
        """Never calls back, because nothing changes."""


class Resolver:
    """Belongs to the event loop's thread, like the catalog's memory. `chance` returns numbers in [0, 1)."""

    def __init__(self, catalog: Catalog, chance: Callable[[], float] = random.random) -> None:
        self._catalog = catalog
        self._chance = chance
        self._known: dict[Target, Snapshot | _Split] = {}
        self._listeners: list[Callable[[], None]] = []
        self.changes = 0
        catalog.on_change(self._forget)

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        """See `Snapshots.resolve`.

        POLICY: whether a call goes to the canary is drawn anew for each call, but for a session derived from its id.
        """
        cached = self._known.get(target) or self._found(target)
        if isinstance(cached, _Split):
            return self.resolve(_chosen(cached, _chance_of(session_id) if session_id else self._chance()))
        return cached

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        cached = self._known.get(target) or self._found(target)
        if isinstance(cached, _Split):
            return tuple(
                (self.resolve(each), weight) for each, weight in zip(cached.targets, cached.weights, strict=True)
            )
        return ((cached, 1.0),)

    def is_current(self, target: Target, key: str) -> bool:
        try:
            return self.resolve(target).key == key
        except (NotFound, Unusable, Disabled):
            return False

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _found(self, target: Target) -> Snapshot | _Split:
        """Looks the target up and caches the answer."""
        found = self._known[target] = self._look_up(target)
        return found

    def _look_up(self, target: Target) -> Snapshot | _Split:
        service = self._catalog.get(records.SERVICE, "", target.service)
        if service is None:
            raise NotFound(records.SERVICE, target.service)
        if target.qualifier == limits.LATEST:
            return self._latest(target, service)
        if target.qualifier.isdecimal():
            return self._published(target)
        alias = self._catalog.get(records.ALIAS, target.service, target.qualifier)
        if alias is None:
            raise NotFound(records.ALIAS, target.qualifier, (target.service,))
        return self._aliased(target, alias.document)

    def _aliased(self, target: Target, alias: Alias) -> Snapshot | _Split:
        weights: Mapping[str, float] = {
            version: weight
            for version, weight in (alias.additional_version_weight or {}).items()
            if version != alias.version_id and weight > 0
        }
        if not weights:
            return self.resolve(Target(target.service, alias.version_id, target.function))
        rest = max(0.0, 1.0 - sum(weights.values()))
        versions = (*weights, alias.version_id)
        targets = tuple(Target(target.service, version, target.function) for version in versions)
        return _Split(targets, (*weights.values(), rest))

    def _latest(self, target: Target, service: Record) -> Snapshot:
        function = self._catalog.get(records.FUNCTION, target.service, target.function)
        if function is None:
            raise NotFound(records.FUNCTION, target.function, (target.service,))
        return self._snapshot(target, f"{service.etag}:{function.etag}", service.document, function.document)

    def _published(self, target: Target) -> Snapshot:
        version = self._catalog.get(records.VERSION, target.service, target.qualifier)
        if version is None:
            raise NotFound(records.VERSION, target.qualifier, (target.service,))
        parent = frozen_parent(target.service, target.qualifier)
        frozen = self._catalog.get(records.FROZEN_FUNCTION, parent, target.function)
        if frozen is None:
            raise NotFound(records.FUNCTION, target.function, (target.service,))
        published, document = version.document, frozen.document
        assert isinstance(published, Version)
        assert isinstance(document, FrozenFunction)
        return self._snapshot(target, f"{version.etag}:{frozen.etag}", published.service, document.function)

    def _snapshot(self, target: Target, etags: str, service: Any, function: Function) -> Snapshot:
        state = self._state(target)
        if state.disabled:
            raise Disabled(spoken_function(target.service, target.function), state.reason)
        if function.runtime not in limits.RUNNABLE_RUNTIMES:
            raise Unusable(
                f"runtime '{function.runtime}' of function '{function.function_name}' cannot be run here "
                f"(found: '{function.runtime}', expected one of {', '.join(limits.RUNNABLE_RUNTIMES)})"
            )
        resolved = Resolved(
            key=f"{target.service}.{target.qualifier}/{target.function}:{etags}",
            version_id=target.qualifier,
            layers=tuple(self._layer(arn) for arn in function.layers),
            instance_cap=0 if function.later.disable_ondemand else self._instance_cap(target),
            reserved=state.reserved_concurrency,
        )
        try:
            return snapshot_of(service, function, resolved)
        except msgspec.ValidationError as error:
            # Settings of custom runtimes that were stored before they were validated.
            raise Unusable(
                f"function '{target.function}' has settings that cannot be used: {described(error)}"
            ) from error

    def _state(self, target: Target) -> FunctionState:
        record = self._catalog.get(records.FUNCTION_STATE, target.service, target.function)
        return FunctionState() if record is None else record.document

    def _layer(self, arn: str) -> str:
        """The hash of the layer's package. Functions keep a layer version after it has been deleted."""
        named = parse_layer_arn(arn)
        record = None if named is None else self._catalog.get(records.LAYER_VERSION, *named)
        if record is None:
            raise Unusable(f"layer '{arn}' does not exist; update the function with layers that do")
        package: str = record.document.package.sha256
        return package

    def _instance_cap(self, target: Target) -> int | None:
        resource = on_demand_resource(target.service, target.qualifier, target.function)
        name = provision_config_name(target.function, target.qualifier)
        scaling = self._catalog.get(records.SCALING_CONFIG, target.service, name)
        if scaling is not None and not scaling.document.enable_on_demand_scaling:
            return 0
        record = self._catalog.get(records.ON_DEMAND_CONFIG, "", resource)
        if record is None:
            return None
        config = record.document
        assert isinstance(config, OnDemandConfig)
        return config.maximum_instance_count

    def _forget(self, change: Change) -> None:
        if change.kind in _SOURCES:
            self._known.clear()
            self.changes += 1
            for listener in self._listeners:
                listener()


def _chance_of(session_id: str) -> float:
    """Maps session ids evenly to [0, 1)."""
    return int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:6], "big") / 2**48


def _chosen(split: _Split, chance: float) -> Target:
    for target, weight in zip(split.targets, split.weights, strict=True):
        chance -= weight
        if chance < 0:
            return target
    return split.targets[-1]
