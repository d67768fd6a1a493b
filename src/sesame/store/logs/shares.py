"""Counts each function's bytes in the file of the logs, so that one that writes much does not evict others' lines.

Used only by `store.logs.file`, in its process.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

# A function loses one part in this many at a time.
PARTS = 10


class Owner(NamedTuple):
    service: str
    function: str


class Stored(NamedTuple):
    """A row of the file: its id, its time, its size in bytes, and its owner."""

    id: int
    batch_ms: int
    length: int
    service: str
    function: str


_COLUMNS = "SELECT chunks.id, batch_ms, length(data), service, function FROM chunks JOIN sources ON sources.id = source"


class Shares:
    """Counted at the first query, which reads the whole index of the file, and updated from then on."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._bytes: Counter[Owner] | None = None
        # The earliest possible first row of each owner: earlier ones have been deleted.
        self._begins: dict[Owner, int] = {}

    def added(self, service: str, function: str, length: int) -> None:
        if self._bytes is not None:
            self._bytes[Owner(service, function)] += length

    def inserted_before(self) -> None:
        """Call when rows with ids lower than existing ones were inserted."""
        self._begins = {}

    def forget(self) -> None:
        """Makes the next query count again."""
        self._bytes = None

    def removed(self, rows: Iterable[Stored]) -> None:
        if self._bytes is not None:
            for row in rows:
                owner = Owner(row.service, row.function)
                self._bytes[owner] -= row.length
                if self._bytes[owner] <= 0:
                    # Nothing of the function is left.
                    del self._bytes[owner]
                    self._begins.pop(owner, None)

    def oldest(self, count: int) -> list[Stored]:
        """Of all functions."""
        return self._rows(f"{_COLUMNS} ORDER BY chunks.id LIMIT ?", (count,))

    def oldest_of_the_largest(self, count: int) -> list[Stored]:
        """Part of the rows of the function with the most bytes, as others may have as much; none in an empty file."""
        counted = self._counted().most_common(1)
        if not counted:
            return []
        largest, held = counted[0]
        where = "WHERE chunks.id >= ? AND service = ? AND function = ?"
        begin = self._begins.get(largest, 0)
        rows = self._rows(f"{_COLUMNS} {where} ORDER BY chunks.id LIMIT ?", (begin, *largest, count))
        if rows:
            self._begins[largest] = rows[0].id
        before = itertools.accumulate((row.length for row in rows), initial=0)
        return [row for row, length in zip(rows, before, strict=False) if length < held / PARTS]

    def _counted(self) -> Counter[Owner]:
        if self._bytes is None:
            query = "SELECT service, function, sum(length(data)) FROM chunks JOIN sources ON sources.id = source"
            found = self._connection.execute(f"{query} GROUP BY service, function")
            self._bytes = Counter({Owner(service, function): held for service, function, held in found})
        return self._bytes

    def _rows(self, query: str, values: Sequence[object]) -> list[Stored]:
        return [Stored(*row) for row in self._connection.execute(query, values)]
