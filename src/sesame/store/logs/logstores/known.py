"""A logstore as the parts of `logstores` pass it on, to query processes too, which load little else."""

import msgspec

from sesame.model.logstore import LogIndex, Logstore


class Known(msgspec.Struct, frozen=True):
    """A logstore with the number that its rows have in the file; the number is never used again."""

    id: int
    logstore: Logstore
    index: LogIndex | None = None
