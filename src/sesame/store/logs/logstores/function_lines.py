"""Reads functions' lines from the logstores, with the same interface as the built-in store (`store.logs.reader`).

Used by `sesame logs`, beside the processes that write the file or alone.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sesame.model import limits
from sesame.model.errors import ConfigurationError
from sesame.model.owner import owner_of, spoken_owner
from sesame.store.logs.logstores.file import ROW_BITS, decoded, open_for_reading
from sesame.store.logs.logstores.function_logs import log_topic
from sesame.store.logs.reader import LogLine, Query
from sesame.store.sql import sqlite_file

# A logstore has no request ids of lines: as in the cloud, these lines show which call the following lines belong to.
_CALL_BEGINS = re.compile(r"FC \w+ Start RequestId: (\S+)")
_FIELDS = frozenset({"functionName", "serviceName", "qualifier", "versionId", "instanceID", "message"})
# In the order in which groups were written, to whichever logstore: SQLite assigns increasing row ids.
_GROUPS = (
    "SELECT groups.rowid, groups.data, logstores.project, logstores.name "
    "FROM groups CROSS JOIN logstores ON logstores.id = groups.logstore "
    "WHERE groups.rowid >= ? AND groups.last_s >= ? "
    "AND (? IS NULL OR groups.logstore IN (SELECT logstore FROM topics WHERE topic IN (?, ?))) "
    "ORDER BY groups.rowid"
)


class FunctionLines:
    """As `reader.Lines`. Read it forward only: the current call of each instance is remembered from line to line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # By instance: the call that it last served.
        self._calls: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        return self._path.parent

    def read_on(self, query: Query) -> tuple[list[LogLine], int]:
        if not query.after_id:
            self._calls = {}
        lines: list[LogLine] = []
        with self._connection() as db:
            if db is None:
                return [], query.after_id
            # Looked up first: lines written during this read are read next time.
            newest = db.execute("SELECT coalesce(max(rowid) + 1, 0) FROM groups").fetchone()[0]
            for line in self._lines(db, query.service, (query.after_id + 1) >> ROW_BITS, query.since):
                if line.id > query.after_id and _matches(line, query):
                    lines.append(line)
                    if len(lines) >= query.limit:
                        return lines, line.id
        # May also be lower than before: the row ids of deleted last rows are reused.
        return lines, max(lines[-1].id if lines else 0, (newest << ROW_BITS) - 1)

    def functions(self) -> list[tuple[str, str]]:
        """Reads every line, because the file has no list of functions."""
        with self._connection() as db:
            return sorted({(line.service, line.function) for line in self._lines(db, None, 0)}) if db else []

    def begin_s(self, service: str, function: str) -> float | None:
        """The time of the function's first line (seconds since 1970); None if there is none."""
        with self._connection() as db:
            lines = self._lines(db, service, 0) if db else iter(())
            return next((line.time for line in lines if line.function == function), None)

    def _lines(
        self, db: sqlite_file.Connection, service: str | None, first: int, since_s: float | None = None
    ) -> Iterator[LogLine]:
        """Reads groups that have lines since then, or may contain the start of a call that wrote such lines."""
        from_s = 0 if since_s is None else int(since_s) - limits.TIMEOUT_S_MAX
        topics = ("", "") if service is None else (service, log_topic(service, spoken_owner(service)))
        for number, data, project, logstore in db.execute(_GROUPS, (first, from_s, service, *topics)):
            group = decoded(data)
            for ordinal, record in enumerate(group.records):
                fields = dict(record.contents)
                # Logs that other clients wrote to the same logstore are not lines of a function.
                owner = _owner(fields, group.topic) if fields.keys() >= _FIELDS else ""
                if not owner:
                    continue
                instance = fields["instanceID"]
                if begins := _CALL_BEGINS.match(fields["message"]):
                    self._calls[instance] = begins[1]
                yield LogLine(
                    id=number << ROW_BITS | ordinal,
                    time=record.time_s + record.time_ns / 1e9,
                    service=owner,
                    function=fields["functionName"],
                    version_id=fields["versionId"] or limits.LATEST,
                    instance_id=instance,
                    request_id=self._calls.get(instance, ""),
                    log_project=project,
                    logstore=logstore,
                    text=fields["message"],
                    qualifier=fields["qualifier"],
                )

    @contextmanager
    def _connection(self) -> Iterator[sqlite_file.Connection | None]:
        """None if the file does not exist. Raises `ConfigurationError` if it cannot be read."""
        if not self._path.exists():
            yield None
            return
        try:
            db = open_for_reading(self._path)
            try:
                yield db
            finally:
                db.close()
        except sqlite_file.Error as error:
            raise ConfigurationError(
                f"the logs of the Log Service in {self._path} cannot be read: {error}; let the user who runs this "
                "command read the file, or put a copy of it back"
            ) from error


def _owner(fields: Mapping[str, str], topic: str) -> str:
    """The owner of a line; "" if it is not a line of a function.

    Older lines of a function without a service have its owner as the topic, and in `serviceName`.
    """
    service, function = fields["serviceName"], fields["functionName"]
    if service:
        return service if service == topic else ""
    owner = owner_of(function)
    return owner if topic == log_topic(owner, function) else ""


def _matches(line: LogLine, query: Query) -> bool:
    return (
        query.service in (None, line.service)
        and query.function in (None, line.function)
        and query.request_id in (None, line.request_id)
        and query.qualifier in (None, line.qualifier)
        and (query.since is None or line.time >= query.since)
        and (query.until is None or line.time < query.until)
    )
