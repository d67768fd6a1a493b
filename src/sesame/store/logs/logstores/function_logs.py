"""Writes functions' lines to the logstores that their services name. Runs in the log writer process.

Used by `store.logs.writer_process`, beside the rows of `logs.db`. reference/companions.md §4.9 lists the fields.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.model.logstore import LogGroup, LogRecord
from sesame.model.owner import service_of
from sesame.store.logs.file import SourceKey
from sesame.store.logs.lines import Chunk, entries
from sesame.store.logs.logstores.file import NewGroup, encoded, insert, open_file
from sesame.store.logs.routes import Route
from sesame.store.sql import sqlite_file

GROUP_RECORDS_MAX = 4_096
# POLICY: how much waits while the file cannot be written. Later logs are dropped, and a notice says so.
WAITING_BYTES_MAX = 16 * 1024 * 1024
# With `logBeginRule` DefaultRegex, a log begins with a date; other lines belong to the log before them.
_BEGINS = re.compile(rb".{0,2}\d{4}-\d{2}-\d{2}|FC \w+ (?:Start|End) RequestId: ", re.DOTALL)
# A line of a batch: time of writing (ms since 1970), and its bytes.
_Line = tuple[int, bytes]


class FunctionLogs:
    """Not safe for concurrent use by threads. Errors of the file become notices, and delay nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite_file.Connection | None = None
        # Logs since the last write, by logstore and topic.
        self._taken: dict[tuple[int, str], list[LogRecord]] = {}
        self._waiting: list[NewGroup] = []
        self._waiting_bytes = 0
        self._turns = itertools.count()
        self._failing = False
        self._lost = 0

    def take(self, route: Route, source: SourceKey, chunks: Iterable[Chunk]) -> None:
        """Queues lines for the next `write`."""
        lines = [line for chunk in chunks for line in entries(chunk)]
        fields = (
            ("functionName", source.function),
            ("serviceName", service_of(source.service)),
            ("qualifier", source.qualifier or limits.LATEST),
            ("versionId", version_field(source.version_id)),
            ("instanceID", source.instance_id),
        )
        records = self._taken.setdefault((route.logstore, log_topic(source.service, source.function)), [])
        for at_ms, text in joined(lines) if route.multi_line else lines:
            at_s, ms = divmod(at_ms, 1000)
            message = text.decode("utf-8", "replace")
            records.append(LogRecord(at_s, ms * 1_000_000, (*fields, ("message", message))))

    def write(self, now_ms: int) -> tuple[list[int], str]:
        """Returns which logstores got logs, and a notice for the operator or "".

        Written logs survive the end of this process, however it ends. Logs that could not be written are retried with
        the next call.
        """
        self._encode()
        if not self._waiting:
            return [], ""
        try:
            written = self._insert(now_ms // 1000)
        except (sqlite_file.Error, ConfigurationError) as error:
            return [], self._failed(error)
        self._waiting, self._waiting_bytes = [], 0
        notice = f"logs of functions are written to logstores again; {self._lost} are lost" if self._failing else ""
        self._failing, self._lost = False, 0
        return sorted(written), notice

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _encode(self) -> None:
        taken, self._taken = self._taken, {}
        for (logstore, topic), records in taken.items():
            for start in range(0, len(records), GROUP_RECORDS_MAX):
                part = records[start : start + GROUP_RECORDS_MAX]
                if self._waiting_bytes > WAITING_BYTES_MAX:
                    self._lost += len(part)
                    continue
                group = encoded(logstore, LogGroup(tuple(part), topic), next(self._turns))
                self._waiting.append(group)
                self._waiting_bytes += len(group.data)

    def _insert(self, now_s: int) -> set[int]:
        if self._db is None:
            # As with `logs.db`: a killed process loses nothing that was committed, a power cut the last moments.
            self._db = open_file(self._path, durable=False)
        with sqlite_file.transaction(self._db):
            return insert(self._db, self._waiting, now_s)

    def _failed(self, error: Exception) -> str:
        if self._failing:
            return ""
        self._failing = True
        return f"logs of functions cannot be written to their logstores, which is tried again: {error}"


def log_topic(owner: str, function: str) -> str:
    """The topic of a function's lines: its service's name, or FC 3.0's topic for a function without a service."""
    return service_of(owner) or f"FCLogs:{function}"


def version_field(version_id: str) -> str:
    """The field `versionId`: empty for the LATEST state of a service, as in the cloud."""
    return "" if version_id == limits.LATEST else version_id


def joined(lines: Iterable[_Line]) -> Iterator[_Line]:
    """Appends lines that do not begin a log to the log before.

    POLICY: only within one batch, which is enough for a traceback: a log is not held back to wait for more.
    """
    at_ms, texts = 0, list[bytes]()
    for line_at_ms, text in lines:
        if texts and _BEGINS.match(text):
            yield at_ms, b"\n".join(texts)
            texts = []
        if not texts:
            at_ms = line_at_ms
        texts.append(text)
    if texts:
        yield at_ms, b"\n".join(texts)
