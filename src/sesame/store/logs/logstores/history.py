"""All lines of a function that writes to a logstore: those there, preceded by older ones in the built-in store.

Used by `sesame logs`.
"""

from pathlib import Path

import msgspec

from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.reader import LogLine, LogReader, Query

# Ids of lines in logstores begin here, above all ids of the built-in store.
LOGSTORE_IDS = 1 << 62


class History:
    """As `reader.Lines`. Lines from `begins_s` (seconds since 1970) on are read only from the logstores."""

    def __init__(self, built_in: LogReader, logstores: FunctionLines, begins_s: float) -> None:
        self._built_in = built_in
        self._logstores = logstores
        self._begins_s = begins_s

    @property
    def folder(self) -> Path:
        return self._built_in.folder

    def functions(self) -> list[tuple[str, str]]:
        return sorted({*self._built_in.functions(), *self._logstores.functions()})

    def read_on(self, query: Query) -> tuple[list[LogLine], int]:
        earlier: list[LogLine] = []
        if query.after_id < LOGSTORE_IDS:
            until = self._begins_s if query.until is None else min(self._begins_s, query.until)
            earlier, last = self._built_in.read_on(msgspec.structs.replace(query, until=until))
            if len(earlier) >= query.limit:
                return earlier, last
        rest = msgspec.structs.replace(
            query, after_id=max(query.after_id - LOGSTORE_IDS, 0), limit=query.limit - len(earlier)
        )
        lines, last = self._logstores.read_on(rest)
        later = [msgspec.structs.replace(line, id=line.id + LOGSTORE_IDS) for line in lines]
        return earlier + later, last + LOGSTORE_IDS
