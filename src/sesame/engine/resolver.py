"""From what a caller wrote to what will run: `service.qualifier/function` → a frozen Snapshot.

Called by `engine.dispatcher` for every call; answers from memory and remembers until the catalog changes.
Never reads the database and never unpacks anything.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sesame.model import limits, records
from sesame.model.errors import AliasNotFound, FunctionNotFound, InvalidArgument, ServiceNotFound, VersionNotFound
from sesame.model.function import Function, Package
from sesame.model.invocation import Snapshot, Target
from sesame.model.service import Service
from sesame.store.catalog import Catalog, Change


class CodeDirs(Protocol):
    """The part of `store.packages` that a resolver needs."""

    def code_dir(self, package: Package) -> Path: ...


class Resolver:
    """Belongs to the event loop's thread, as the catalog's memory does."""

    def __init__(self, catalog: Catalog, packages: CodeDirs) -> None:
        self._catalog = catalog
        self._packages = packages
        self._known: dict[Target, Snapshot] = {}
        self._listeners: list[Callable[[], None]] = []
        catalog.on_change(self._forget)

    def resolve(self, target: Target) -> Snapshot:
        """Raises the API's error for what does not exist or cannot run here."""
        snapshot = self._known.get(target)
        if snapshot is None:
            snapshot = self._known[target] = self._look_up(target)
        return snapshot

    def is_current(self, target: Target, key: str) -> bool:
        """Whether calls to `target` would still be given instances kept under `key`."""
        try:
            return self.resolve(target).key == key
        except (ServiceNotFound, FunctionNotFound, VersionNotFound, AliasNotFound, InvalidArgument):
            return False

    def on_change(self, callback: Callable[[], None]) -> None:
        self._listeners.append(callback)

    def _look_up(self, target: Target) -> Snapshot:
        service_record = self._catalog.get(records.SERVICE, "", target.service)
        if service_record is None:
            raise ServiceNotFound(target.service)
        if target.qualifier != limits.LATEST:
            raise (VersionNotFound if target.qualifier.isdigit() else AliasNotFound)(target.service, target.qualifier)
        record = self._catalog.get(records.FUNCTION, target.service, target.function)
        if record is None:
            raise FunctionNotFound(target.service, target.function)
        service, function = service_record.document, record.document
        assert isinstance(service, Service)
        assert isinstance(function, Function)
        if function.runtime not in limits.SANDBOXED_RUNTIMES:
            raise InvalidArgument(
                f"runtime '{function.runtime}' of function '{function.function_name}' cannot be run here "
                f"(found: '{function.runtime}', expected one of {', '.join(limits.SANDBOXED_RUNTIMES)})"
            )
        key = f"{target.service}.{limits.LATEST}/{target.function}:{service_record.etag}:{record.etag}"
        return Snapshot(key, service, function, limits.LATEST, self._packages.code_dir(function.package))

    def _forget(self, change: Change) -> None:
        if change.kind in (records.SERVICE, records.FUNCTION):
            self._known.clear()
            for listener in self._listeners:
                listener()
