"""The size of the Log Service's data and the duration of queries, for metrics. Used by `store`; read by `metrics`."""

from pathlib import Path

import msgspec

from sesame.model.durations import Durations
from sesame.store.logs.logstores.reading import Reader

ANSWERED, REFUSED, FAILED = "answered", "refused", "failed"
# From a search in memory up to the deadline of queries.
QUERY_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)


class Kept(msgspec.Struct, frozen=True):
    """Totals of all logstores. `unsealed_lines` are in no segment yet."""

    lines: int
    unsealed_lines: int
    segments: int
    file_bytes: int
    segment_bytes: int


class LogServiceCounts:
    """Belongs to one event loop. `written_lines` came through the API since the start, not from functions' output."""

    def __init__(self) -> None:
        self.written_lines = 0
        self.damaged_segments = 0
        self.queries = {outcome: Durations(QUERY_BOUNDS_S) for outcome in (ANSWERED, REFUSED, FAILED)}


def kept(file: Path, segments: Path, reader: Reader) -> Kept:
    """Reads no logs; blocks."""
    with reader.connection() as db:
        count, sealed = db.execute("SELECT count(*), coalesce(sum(row_count), 0) FROM segments").fetchone()
        (unsealed,) = db.execute("SELECT coalesce(sum(tail_rows), 0) FROM logstores").fetchone()
    files = (file, file.with_name(file.name + "-wal"))
    return Kept(
        lines=sealed + unsealed,
        unsealed_lines=unsealed,
        segments=count,
        file_bytes=sum(each.stat().st_size for each in files if each.exists()),
        segment_bytes=sum(_size(each) for each in segments.glob("*/*.parquet")),
    )


def _size(path: Path) -> int:
    """0 if the segment was replaced meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
