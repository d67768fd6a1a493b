"""The follower's catalog: a read-only copy of the writer's, in memory.

`agents.follower` applies the changes that the writer sends. The writer confirms a change to its client only after all
followers show it. Everything above uses the copy as a `store.catalog.Catalog`.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from sesame.agents.catalog_record import CatalogRecord
from sesame.agents.messages import Records
from sesame.model.errors import PlatformError
from sesame.model.kinds import KINDS
from sesame.model.records import Record
from sesame.store.catalog import Catalog, Change, Transaction
from sesame.store.documents import Codec
from sesame.store.sql.database import Database

T = TypeVar("T")

log = structlog.get_logger("sesame.agents")


class CatalogCopy(Catalog):
    """A catalog without a database; only the writer has one."""

    def __init__(self, never_opened: Database) -> None:
        super().__init__(never_opened)
        self._codec_of_writer = Codec(KINDS)
        self._loading: list[CatalogRecord] | None = None

    async def open(self) -> None:
        """Does nothing: the writer sends the records."""

    async def edit(self, fn: Callable[[Transaction], T]) -> T:
        raise PlatformError("a follower was asked to change the catalog; that is for the writer alone")

    def take(self, records: tuple[CatalogRecord, ...], *, first: bool, last: bool) -> bool:
        """Applies changes; those from `first` to `last` form a complete catalog and are applied together at the end.

        Returns whether the changes are visible now.
        """
        if first:
            self._loading = []
        if self._loading is None:
            self.apply([self._change(each) for each in records])
            return True
        self._loading += records
        if last:
            there, self._loading = self._loading, None
            names = {(each.kind, each.parent, each.name) for each in there}
            known = [(each.kind, each.parent, each.name) for each in self.everything()]
            gone = [Change(*key, None) for key in known if key not in names]
            self.apply([*gone, *map(self._change, there)])
        return last

    def _change(self, sent: CatalogRecord) -> Change:
        record = None if sent.document is None else self._codec_of_writer.record(sent)
        return Change(sent.kind, sent.parent, sent.name, record, sent.revision)


def has_taken(catalog: CatalogCopy, changed: Records, ask_again: Callable[[], None] | None) -> bool:
    """Calls `CatalogCopy.take`. If that fails the copy has a gap, so the whole catalog must be sent again.

    `ask_again` requests that. If it is None, kills this process; its supervisor starts it again.
    """
    try:
        return catalog.take(changed.records, first=changed.first, last=changed.last)
    except Exception:
        log.exception("changes of the catalog could not be applied; a new copy is needed", revision=changed.revision)
    if ask_again is None:
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        ask_again()
    return False


class CatalogFeed:
    """Encodes the writer's records for followers."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._codec = Codec(KINDS)

    def of(self, change: Change) -> CatalogRecord:
        if change.record is None:
            return CatalogRecord(change.kind, change.parent, change.name, None, "", 0.0, 0.0, change.revision)
        return self._sent(change.record, change.revision)

    def everything(self) -> Iterable[CatalogRecord]:
        return [self._sent(record, self._catalog.revision) for record in self._catalog.everything()]

    def _sent(self, record: Record, revision: int) -> CatalogRecord:
        return CatalogRecord(
            record.kind,
            record.parent,
            record.name,
            self._codec.encode(record),
            record.etag,
            record.created_at,
            record.modified_at,
            revision,
        )
