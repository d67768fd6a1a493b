"""A logstore as passed between the parts of `logstores`, and to query processes, which import little else."""

import msgspec

from sesame.model.logstore import LogIndex, Logstore


class Known(msgspec.Struct, frozen=True):
    """A logstore with the number of its rows in the file; the number is never reused."""

    id: int
    logstore: Logstore
    index: LogIndex | None = None
