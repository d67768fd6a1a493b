"""Deletes code packages that nothing uses any more: no function, no version, no layer, no instance.

Run in the background by `app`. A package is deleted only if a committed change says that a record no longer names it,
or if this run stored it for a record that was never written; all others stay or are quarantined.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import structlog

from sesame.model import limits, records
from sesame.model.errors import StoreUnavailable
from sesame.model.function import Function
from sesame.model.layer import parse_layer_arn
from sesame.model.records import Record
from sesame.store import outbox
from sesame.store.catalog import Catalog, Transaction
from sesame.store.packages.named import HOLDERS, named_packages
from sesame.store.packages.packages import COLLECT_GRACE_S, Packages
from sesame.store.sql.database import Database

log = structlog.get_logger(__name__)


class PackageCollector:
    """Create it before the first change of the catalog, so that it sees each change. `wall` in Unix seconds."""

    def __init__(self, catalog: Catalog, database: Database, packages: Packages, wall: Callable[[], float]) -> None:
        self._catalog = catalog
        self._database = database
        self._packages = packages
        self._wall = wall
        catalog.on_replace(HOLDERS, self._note_released)

    async def open(self) -> int:
        """Quarantines packages that the catalog does not know; returns their number."""
        released, _newest = await self._database.load(_released)
        return await self._packages.reconcile(live_packages(self._catalog), released.keys())

    async def collect(self) -> int:
        """Deletes what can be deleted now, and returns the number of packages."""
        removed, done = 0, []
        released, newest = await self._database.read(_released)
        now, live = self._wall(), live_packages(self._catalog)
        for sha256 in {**released, **dict.fromkeys(self._packages.refused(live), 0.0)}:
            if sha256 in live:
                done.append(sha256)
            elif now - released.get(sha256, 0.0) >= COLLECT_GRACE_S:
                try:
                    was_removed = await self._packages.remove(sha256)
                except (OSError, StoreUnavailable) as error:
                    log.error("a code package cannot be removed; trying again later", package=sha256, error=str(error))
                    continue
                if was_removed:
                    removed += 1
                    done.append(sha256)
        if done:
            # A package that was released again meanwhile keeps its new entry.
            topic = outbox.PACKAGE_RELEASED
            await self._database.write(lambda connection: outbox.remove(connection, topic, done, newest))
        return removed

    async def close(self) -> None:
        """For a clean stop, when no deployment runs: deletes packages for which no record was written."""
        released, _newest = await self._database.read(_released)
        for sha256 in self._packages.refused(live_packages(self._catalog) | released.keys()):
            try:
                await self._packages.remove(sha256, fresh_too=True)
            except (OSError, StoreUnavailable) as error:
                log.error("an unused code package cannot be removed", package=sha256, error=str(error))

    def _note_released(self, tx: Transaction, former: Record, document: Any) -> None:
        """In the transaction that replaces or deletes a record, notes the packages that it no longer names."""
        after = _packages_of(tx, former.kind, document) if document is not None else set()
        unused = _packages_of(tx, former.kind, former.document) - after
        outbox.add(tx.connection, outbox.PACKAGE_RELEASED, sorted(unused), self._wall())


def live_packages(catalog: Catalog) -> set[str]:
    """The SHA-256 of every package that the catalog names."""
    return set(named_packages(record for kind in HOLDERS for record in catalog.of_kind(kind)))


def live_images(catalog: Catalog) -> set[str]:
    """The reference of every container image that a function or a version names."""
    present = [record.document for record in catalog.of_kind(records.FUNCTION)]
    frozen = [record.document.function for record in catalog.of_kind(records.FROZEN_FUNCTION)]
    return {
        str((function.custom_container_config or {}).get("image", ""))
        for function in (*present, *frozen)
        if function.runtime == limits.IMAGE_RUNTIME
    }


def _packages_of(tx: Transaction, kind: str, document: Any) -> set[str]:
    """The packages of a function, including its layers', or of a layer; a deleted layer names none itself."""
    if kind == records.LAYER_VERSION:
        return set() if document.deleted else {document.package.sha256} - {""}
    function: Function = document.function if kind == records.FROZEN_FUNCTION else document
    found = {function.package.sha256}
    for arn in function.layers:
        named = parse_layer_arn(arn)
        layer = tx.get(records.LAYER_VERSION, *named) if named is not None else None
        if layer is not None:
            found.add(layer.document.package.sha256)
    return found - {""}


def _released(connection: sa.Connection) -> tuple[dict[str, float], int]:
    """Released packages, with the time of the last release (Unix seconds); and the last entry's id."""
    found = outbox.pending(connection, outbox.PACKAGE_RELEASED)
    return {entry.subject: entry.created_at for entry in found}, found[-1].id if found else 0
