"""Resolves what a caller names to what will run: `service.qualifier/function` → a frozen `Snapshot`.

Called by `engine.dispatcher` for every call. Answers from the catalog's copy in memory, never from the database, and
remembers each answer until the catalog changes.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.configs import OnDemandConfig, on_demand_resource, provision_config_name
from sesame.model.errors import Disabled, NotFound, Unusable
from sesame.model.function import Function
from sesame.model.function_state import FunctionState
from sesame.model.invocation import Target
from sesame.model.layer import parse_layer_arn
from sesame.model.owner import spoken_function
from sesame.model.records import Record
from sesame.model.snapshot import Resolved, Snapshot, snapshot_of
from sesame.model.version import FrozenFunction, Version, frozen_parent

# The kinds of records that a snapshot is made from. A change of any other kind leaves every snapshot as it is.
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
    """The part of a catalog's change that matters here."""

    @property
    def kind(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def record(self) -> Record | None: ...


class Catalog(Protocol):
    """The part of `store.catalog.Catalog` that a resolver reads; answers from memory."""

    def get(self, kind: str, parent: str, name: str) -> Record | None: ...

    def of_kind(self, kind: str) -> Iterator[Record]: ...

    def on_change(self, callback: Callable[[Any], None]) -> None:
        """Calls back with a `Change` after each change has been applied."""


class Snapshots(Protocol):
    """How the engine resolves names; implemented by `Resolver`, and by `OneSnapshot` for local code and trials."""

    @property
    def changes(self) -> int:
        """Grows with each change; what was resolved before holds until then."""

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        """Raises the API's error for what does not exist or cannot run here.

        Where an alias has several versions, calls of one session are given the same one.
        """

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        """Every snapshot that calls to `target` are given, and the share of them. Raises as `resolve`."""

    def is_current(self, target: Target, key: str) -> bool:
        """Whether calls to `target` would still be given instances kept under `key`."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back after each change that may have made instances outdated."""


class _Split(msgspec.Struct, frozen=True):
    """An alias with a canary: the versions that it sends calls to, and the share of each (the weights add up to 1)."""

    targets: tuple[Target, ...]
    weights: tuple[float, ...]


class OneSnapshot:
    """`Snapshots` in which every target is one snapshot, which never changes."""

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
        """Never calls back: nothing changes."""


class Resolver:
    """Belongs to the event loop's thread, as the catalog's memory does. `chance` gives numbers in [0, 1)."""

    def __init__(self, catalog: Catalog, chance: Callable[[], float] = random.random) -> None:
        self._catalog = catalog
        self._chance = chance
        self._known: dict[Target, Snapshot | _Split] = {}
        self._listeners: list[Callable[[], None]] = []
        self.changes = 0
        catalog.on_change(self._forget)

    def resolve(self, target: Target, session_id: str = "") -> Snapshot:
        """As `Snapshots.resolve`.

        POLICY: for each call chance decides anew whether it goes to the canary; of a session, its id decides.
        """
        known = self._known.get(target) or self._found(target)
        if isinstance(known, _Split):
            return self.resolve(_chosen(known, _chance_of(session_id) if session_id else self._chance()))
        return known

    def shares(self, target: Target) -> tuple[tuple[Snapshot, float], ...]:
        known = self._known.get(target) or self._found(target)
        if isinstance(known, _Split):
            return tuple(
                (self.resolve(each), weight) for each, weight in zip(known.targets, known.weights, strict=True)
            )
        return ((known, 1.0),)

    def is_current(self, target: Target, key: str) -> bool:
        try:
            return self.resolve(target).key == key
        except (NotFound, Unusable, Disabled):
            return False

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _found(self, target: Target) -> Snapshot | _Split:
        """Looks it up and remembers it."""
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
            instance_cap=self._instance_cap(target),
            reserved=state.reserved_concurrency,
        )
        try:
            return snapshot_of(service, function, resolved)
        except msgspec.ValidationError as error:
            # Settings of custom runtimes that were stored before they were checked.
            raise Unusable(f"function '{target.function}' has settings that cannot be used: {error}") from error

    def _state(self, target: Target) -> FunctionState:
        record = self._catalog.get(records.FUNCTION_STATE, target.service, target.function)
        return FunctionState() if record is None else record.document

    def _layer(self, arn: str) -> str:
        """The hash of the layer's package. A layer that was deleted stays for the functions that have it."""
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
    """In [0, 1), evenly over all ids."""
    return int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:6], "big") / 2**48


def _chosen(split: _Split, chance: float) -> Target:
    for target, weight in zip(split.targets, split.weights, strict=True):
        chance -= weight
        if chance < 0:
            return target
    return split.targets[-1]
