"""The processes that answer queries of logs, for all stores of a run of pytest: loading one takes seconds."""

import atexit
import functools

import msgspec

from sesame.store.logs.logstores.interface import Result
from sesame.store.logs.logstores.query_processes import QueryProcesses


@functools.cache
def query_processes() -> QueryProcesses:
    """None is started before a store has something to ask."""
    processes = QueryProcesses()
    atexit.register(processes.close)
    return processes


def rows_of(result: Result) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = msgspec.json.decode(result.rows)
    assert result.count == len(rows)
    return rows
