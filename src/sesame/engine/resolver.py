"""From what a caller wrote to what will run: `service.qualifier/function` → a frozen Snapshot.

Called by `engine.dispatcher` for every call; answers from memory and remembers until the catalog changes.
Never reads the database and never unpacks anything.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from sesame.model import limits, records
from sesame.model.alias import Alias
from sesame.model.configs import OnDemandConfig, on_demand_resource
from sesame.model.errors import (
    AliasNotFound,
    FunctionNotFound,
    InvalidArgument,
    NotFound,
    ServiceNotFound,
    VersionNotFound,
)
from sesame.model.function import Function, Package
from sesame.model.invocation import Snapshot, Target
from sesame.model.layer import parse_layer_arn
from sesame.model.records import Record
from sesame.model.service import Service
from sesame.model.version import FrozenFunction, Version, frozen_parent

if TYPE_CHECKING:
    # With it comes the database, which a function that is called without a server would wait for.
    from sesame.store.catalog import Catalog, Change

# What a snapshot is made from; a change of any other kind leaves every snapshot as it is.
_SOURCES = frozenset(
    {
        records.SERVICE,
        records.FUNCTION,
        records.VERSION,
        records.FROZEN_FUNCTION,
        records.ALIAS,
        records.LAYER_VERSION,
        records.ON_DEMAND_CONFIG,
    }
)


class CodeDirs(Protocol):
    """The part of `store.packages.packages` that a resolver needs."""

    def code_dir(self, package: Package) -> Path: ...


class Snapshots(Protocol):
    """What the engine asks of whoever resolves for it."""

    @property
    def changes(self) -> int:
        """What was resolved holds until this number grows."""

    def resolve(self, target: Target) -> Snapshot:
        """Raises the API's error for what does not exist or cannot run here."""

    def is_current(self, target: Target, key: str) -> bool:
        """Whether calls to `target` would still be given instances kept under `key`."""

    def on_change(self, callback: Callable[[], None]) -> None: ...


class _Split(msgspec.Struct, frozen=True):
    """An alias with a canary: the versions that may be meant, and how often each is (their weights add up to 1)."""

    targets: tuple[Target, ...]
    weights: tuple[float, ...]


class Resolver:
    """Belongs to the event loop's thread, as the catalog's memory does. `chance` gives numbers in [0, 1)."""

    def __init__(self, catalog: "Catalog", packages: CodeDirs, chance: Callable[[], float] = random.random) -> None:
        self._catalog = catalog
        self._packages = packages
        self._chance = chance
        self._known: dict[Target, Snapshot | _Split] = {}
        self._listeners: list[Callable[[], None]] = []
        self.changes = 0
        catalog.on_change(self._forget)

    def resolve(self, target: Target) -> Snapshot:
        """As `Snapshots` says.

        POLICY: a canary's share is decided anew for each call, by chance.
        """
        known = self._known.get(target)
        if known is None:
            known = self._known[target] = self._look_up(target)
        if isinstance(known, _Split):
            return self.resolve(_chosen(known, self._chance()))
        return known

    def is_current(self, target: Target, key: str) -> bool:
        try:
            return self.resolve(target).key == key
        except (NotFound, InvalidArgument):
            return False

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _look_up(self, target: Target) -> Snapshot | _Split:
        service = self._catalog.get(records.SERVICE, "", target.service)
        if service is None:
            raise ServiceNotFound(target.service)
        if target.qualifier == limits.LATEST:
            return self._latest(target, service)
        if target.qualifier.isdecimal():
            return self._published(target)
        alias = self._catalog.get(records.ALIAS, target.service, target.qualifier)
        if alias is None:
            raise AliasNotFound(target.service, target.qualifier)
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
            raise FunctionNotFound(target.service, target.function)
        return self._snapshot(target, f"{service.etag}:{function.etag}", service.document, function.document)

    def _published(self, target: Target) -> Snapshot:
        version = self._catalog.get(records.VERSION, target.service, target.qualifier)
        if version is None:
            raise VersionNotFound(target.service, target.qualifier)
        parent = frozen_parent(target.service, target.qualifier)
        frozen = self._catalog.get(records.FROZEN_FUNCTION, parent, target.function)
        if frozen is None:
            raise FunctionNotFound(target.service, target.function)
        published, document = version.document, frozen.document
        assert isinstance(published, Version)
        assert isinstance(document, FrozenFunction)
        return self._snapshot(target, f"{version.etag}:{frozen.etag}", published.service, document.function)

    def _snapshot(self, target: Target, etags: str, service: Service, function: Function) -> Snapshot:
        if function.runtime not in limits.SANDBOXED_RUNTIMES:
            raise InvalidArgument(
                f"runtime '{function.runtime}' of function '{function.function_name}' cannot be run here "
                f"(found: '{function.runtime}', expected one of {', '.join(limits.SANDBOXED_RUNTIMES)})"
            )
        return Snapshot(
            key=f"{target.service}.{target.qualifier}/{target.function}:{etags}",
            service=service,
            function=function,
            version_id=target.qualifier,
            code_dir=self._packages.code_dir(function.package),
            layer_dirs=tuple(self._layer_dir(arn) for arn in function.layers),
            instance_cap=self._instance_cap(target),
        )

    def _layer_dir(self, arn: str) -> Path:
        """Also of a layer that was deleted since: functions that have it keep it."""
        named = parse_layer_arn(arn)
        record = None if named is None else self._catalog.get(records.LAYER_VERSION, *named)
        if record is None:
            raise InvalidArgument(f"layer '{arn}' does not exist; update the function with layers that do")
        return self._packages.code_dir(record.document.package)

    def _instance_cap(self, target: Target) -> int | None:
        resource = on_demand_resource(target.service, target.qualifier, target.function)
        record = self._catalog.get(records.ON_DEMAND_CONFIG, "", resource)
        if record is None:
            return None
        config = record.document
        assert isinstance(config, OnDemandConfig)
        return config.maximum_instance_count

    def _forget(self, change: "Change") -> None:
        if change.kind in _SOURCES:
            self._known.clear()
            self.changes += 1
            for listener in self._listeners:
                listener()


def _chosen(split: _Split, chance: float) -> Target:
    for target, weight in zip(split.targets, split.weights, strict=True):
        chance -= weight
        if chance < 0:
            return target
    return split.targets[-1]
