"""The catalog of a writer and its copy at a follower, where neither changes: for tests of what agents do besides.

Used by the tests of agents and of clusters.
"""

from typing import Any

from tests.engine.conftest import FakeCatalog

from sesame.model.records import Record
from sesame.store.catalog import Change


class QuietCatalog(FakeCatalog):
    """What a writer follows changes of; `confirm` is set by the writer."""

    revision = 0
    confirm: Any = None

    def tells(self, change: Change) -> None:
        self._tell(change)

    def everything(self) -> list[Record]:
        return []


class CopyOfNothing:
    """The part of `agents.catalog_copy.CatalogCopy` that a follower uses. With `fails`, it can take nothing."""

    fails = False

    def take(self, _records: object, *, first: bool, last: bool) -> bool:
        if self.fails:
            raise OSError("No space left on device")
        return last or not first
