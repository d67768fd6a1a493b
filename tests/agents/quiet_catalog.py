"""The catalog of a writer and its copy at a follower, where neither changes: for tests of what agents do besides.

Used by the tests of agents and of clusters.
"""

from typing import Any

from tests.engine.conftest import FakeCatalog

from sesame.model.records import Record


class QuietCatalog(FakeCatalog):
    """What a writer follows changes of; `confirm` is set by the writer."""

    revision = 0
    confirm: Any = None

    def everything(self) -> list[Record]:
        return []


class CopyOfNothing:
    """The part of `agents.catalog_copy.CatalogCopy` that a follower uses."""

    def take(self, _records: object, *, first: bool, last: bool) -> bool:
        return last
