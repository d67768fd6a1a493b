"""Lines of functions, read back from logstores: each once, in order, of the right call, and nothing of others."""

from pathlib import Path

import msgspec
import pytest

from sesame.model.errors import ConfigurationError
from sesame.model.logstore import LogGroup, LogRecord, Logstore
from sesame.store.logs.logstores.function_lines import FunctionLines
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.reader import LogLine, Query

NOW_S = 1_700_000_000


def group(service: str, function: str, *messages: str, instance: str = "c-1", at_s: int = NOW_S) -> LogGroup:
    fields = (
        ("functionName", function), ("serviceName", service), ("qualifier", "prod"), ("versionId", "1"),
        ("instanceID", instance),
    )  # fmt: skip
    return LogGroup(
        tuple(LogRecord(at_s, 125_000_000, (*fields, ("message", message))) for message in messages), service
    )


def pages(path: Path, query: Query) -> list[LogLine]:
    reader, found = FunctionLines(path), list[LogLine]()
    while True:
        lines, last = reader.read_on(query)
        found += lines
        if len(lines) < query.limit:
            assert reader.read_on(msgspec.structs.replace(query, after_id=last)) == ([], last)
            return found
        query = msgspec.structs.replace(query, after_id=last)


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_lines_are_those_of_the_function_with_their_calls(
    storage: LogStorage, tmp_path: Path, limit: int
) -> None:
    await storage.create_logstore(Logstore("p", "other", ttl_days=7))
    await storage.append("p", "l", group("s", "f", "loads", "FC Invoke Start RequestId: r-1", "one\n  traceback"))
    await storage.append("p", "l", group("s", "f", "FC Invoke Start RequestId: r-2", instance="c-2"))
    await storage.append("p", "l", group("s", "g", "other function", instance="c-3"))
    await storage.append("p", "other", group("s", "f", "FC Invoke End RequestId: r-1", "between"))
    await storage.append("p", "l", LogGroup((LogRecord(NOW_S, 0, (("message", "not a function's"),)),), "s"))
    await storage.append("p", "l", msgspec.structs.replace(group("s", "f", "forged"), topic="other topic"))
    await storage.append("p", "l", group("s", "f", "FC Invoke Start RequestId: r-3", "two", at_s=NOW_S + 60))
    path = tmp_path / "logstores.db"
    lines = pages(path, Query(service="s", function="f", limit=limit))
    assert [(line.request_id, line.text, line.logstore) for line in lines] == [
        ("", "loads", "l"),
        ("r-1", "FC Invoke Start RequestId: r-1", "l"),
        ("r-1", "one\n  traceback", "l"),
        ("r-2", "FC Invoke Start RequestId: r-2", "l"),
        ("r-1", "FC Invoke End RequestId: r-1", "other"),
        ("r-1", "between", "other"),
        ("r-3", "FC Invoke Start RequestId: r-3", "l"),
        ("r-3", "two", "l"),
    ]
    assert (lines[0].time, lines[0].qualifier, lines[0].version_id) == (NOW_S + 0.125, "prod", "1")
    late = pages(path, Query(service="s", function="f", since=NOW_S + 1, limit=limit))
    assert [line.text for line in late] == ["FC Invoke Start RequestId: r-3", "two"]
    of_call = pages(path, Query(request_id="r-1", limit=limit))
    assert [line.text for line in of_call] == [line.text for line in lines if line.request_id == "r-1"]
    assert pages(path, Query(service="s", function="f", qualifier="LATEST", limit=limit)) == []
    assert FunctionLines(path).functions() == [("s", "f"), ("s", "g")]
    await storage.delete_logstore("p", "l")
    assert [line.text for line in pages(path, Query(function="f"))] == ["FC Invoke End RequestId: r-1", "between"]


async def test_lines_of_functions_without_services_are_found_also_those_of_former_versions(
    storage: LogStorage, tmp_path: Path
) -> None:
    await storage.append("p", "l", group("$f", "f", "former"))
    await storage.append("p", "l", msgspec.structs.replace(group("", "f", "present"), topic="FCLogs:f"))
    await storage.append("p", "l", msgspec.structs.replace(group("", "g", "forged"), topic="FCLogs:f"))
    await storage.append("p", "l", msgspec.structs.replace(group("", "g", "others"), topic="FCLogs:g"))
    path = tmp_path / "logstores.db"
    assert [line.text for line in pages(path, Query(service="$f", function="f"))] == ["former", "present"]
    assert FunctionLines(path).functions() == [("$f", "f"), ("$g", "g")]


async def test_what_comes_after_the_last_rows_were_deleted_is_shown(storage: LogStorage, tmp_path: Path) -> None:
    reader, query = FunctionLines(tmp_path / "logstores.db"), Query(service="s", function="f")
    await storage.create_logstore(Logstore("p", "gone", ttl_days=7))
    await storage.append("p", "l", group("s", "f", "first"))
    for _time in range(3):
        await storage.append("p", "gone", group("s", "f", "deleted"))
    lines, last = reader.read_on(query)
    assert len(lines) == 4
    await storage.delete_logstore("p", "gone")
    await storage.expire()
    lines, last = reader.read_on(msgspec.structs.replace(query, after_id=last))
    assert lines == []
    await storage.append("p", "l", group("s", "f", "next"))
    lines, last = reader.read_on(msgspec.structs.replace(query, after_id=last))
    assert [line.text for line in lines] == ["next"]
    assert reader.read_on(msgspec.structs.replace(query, after_id=last)) == ([], last)


def test_without_a_file_there_are_no_lines(tmp_path: Path) -> None:
    lines = FunctionLines(tmp_path / "none.db")
    assert (lines.functions(), lines.read_on(Query(after_id=7))) == ([], ([], 7))


def test_a_file_that_is_none_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "strange.db").write_text("no database" * 100)
    with pytest.raises(ConfigurationError, match=r"strange.db cannot be read: .*put a copy of it back"):
        FunctionLines(tmp_path / "strange.db").functions()
