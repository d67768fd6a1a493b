"""Lines of functions in logstores: the cloud's topic and fields, the reason where they are not, nothing lost by a kill.

The child process that is killed calls `main` of this file.
"""

import asyncio
import functools
import sys
from pathlib import Path

from tests.support import forked
from tests.support.fakes import FakeClocks
from tests.support.query_processes import query_processes
from tests.support.virtual_time import eventually

from sesame.model.clocks import SYSTEM_CLOCKS
from sesame.model.logstore import LogGroup, LogProject, Logstore
from sesame.model.service import LogConfig, Service
from sesame.store.logs.file import LogWriter, SourceKey
from sesame.store.logs.intake import Logs, Retention
from sesame.store.logs.logstores.function_logs import FunctionLogs, joined
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.logstores.targets import LogTargets
from sesame.store.logs.reader import LogReader, Query
from sesame.store.logs.routes import Route
from sesame.store.logs.routing import Router
from sesame.store.logs.wire import Batch, Output, Whole
from sesame.store.logs.writer import Logstores, LogWriterProcess
from sesame.store.logs.writer_process import BatchWriter

AT_MS = 1_700_000_000_250
SOURCE = SourceKey("shop", "buy", "1", "c-1", "p", "l", "prod")


def output(*lines: bytes, call: int = 1, cut: bool = False) -> Output:
    return Output(call, SOURCE, "r-1", [(AT_MS, line) for line in lines], cut)


async def written(storage: LogStorage) -> list[LogGroup]:
    return [
        group
        for shard in range(2)
        for group in (await storage.pull("p", "l", shard, await storage.cursor("p", "l", shard, "begin"), 100)).groups
    ]


def messages(groups: list[LogGroup]) -> list[str]:
    return [dict(record.contents)["message"] for group in groups for record in group.records]


async def test_lines_of_a_function_without_a_service_have_the_topic_of_fc_3(
    storage: LogStorage, tmp_path: Path
) -> None:
    source = SourceKey("$buy", "buy", "1", "c-1", "p", "l", "prod")
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    rows = LogWriter(tmp_path / "logs.db")
    rows.open()
    batches = BatchWriter(rows, 1_000_000, 86_400.0, FunctionLogs(tmp_path / "logstores.db"))
    batches.take(Batch(AT_MS, [Output(1, source, "r-1", [(AT_MS, b"sold\n")], cut=False)], routes=[(source, route)]))
    batches.write()
    assert batches.write_to_logstores()[1] == ""
    (group,) = await written(storage)
    fields = dict(group.records[0].contents)
    assert (group.topic, fields["serviceName"], fields["functionName"]) == ("FCLogs:buy", "", "buy")


async def test_lines_have_the_topic_and_the_fields_of_the_cloud(storage: LogStorage, tmp_path: Path) -> None:
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    rows = LogWriter(tmp_path / "logs.db")
    rows.open()
    batches = BatchWriter(rows, 1_000_000, 86_400.0, FunctionLogs(tmp_path / "logstores.db"))
    batches.take(Batch(AT_MS, [output(b"FC Invoke Start RequestId: r-1\r\nsold \xff\nha")], routes=[(SOURCE, route)]))
    batches.write()
    assert batches.write_to_logstores() == ([route.logstore], "")
    # The rest of the line comes in a batch for which nothing was decided: it goes where its beginning went.
    batches.take(Batch(AT_MS, [output(b"lf\n")]))
    batches.write_to_logstores()
    groups = await written(storage)
    assert {group.topic for group in groups} == {"shop"}
    assert messages(groups) == ["FC Invoke Start RequestId: r-1", "sold �", "half"]
    first = groups[0].records[0]
    assert (first.time_s, first.time_ns) == (1_700_000_000, 250_000_000)
    assert dict(first.contents).items() >= {
        "functionName": "buy", "serviceName": "shop", "qualifier": "prod", "versionId": "1", "instanceID": "c-1",
    }.items()  # fmt: skip
    assert len(LogReader(tmp_path / "logs.db").read(Query())) == 2


async def test_where_nothing_is_kept_lines_still_go_to_the_logstore(storage: LogStorage, tmp_path: Path) -> None:
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    batches = BatchWriter(LogWriter(tmp_path / "none.db"), 1_000, 0.0, FunctionLogs(tmp_path / "logstores.db"))
    batches.take(Batch(AT_MS, [output(b"line\n")], expire=True, routes=[(SOURCE, route)]))
    assert batches.write() == 0
    batches.write_to_logstores()
    batches.expire()
    assert messages(await written(storage)) == ["line"]
    assert not (tmp_path / "none.db").exists()


async def test_a_file_that_cannot_be_written_delays_lines_and_is_told_once(storage: LogStorage, tmp_path: Path) -> None:
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    moved = tmp_path / "moved"
    moved.mkdir()
    logs = FunctionLogs(tmp_path / "missing" / "logstores.db")
    batches = BatchWriter(LogWriter(tmp_path / "none.db"), 1_000, 0.0, logs)
    batches.take(Batch(AT_MS, [output(b"first\n")], routes=[(SOURCE, route)]))
    _logstores, notice = batches.write_to_logstores()
    assert "cannot be written" in notice
    assert batches.write_to_logstores() == ([], "")
    (tmp_path / "missing").symlink_to(tmp_path)
    batches.take(Batch(AT_MS, [output(b"second\n", call=2)], routes=[(SOURCE, route)]))
    logstores, notice = batches.write_to_logstores()
    assert (logstores, "written to logstores again; 0 are lost" in notice) == ([route.logstore], True)
    assert messages(await written(storage)) == ["first", "second"]


def test_with_the_default_rule_lines_without_a_date_belong_to_the_log_before() -> None:
    lines = [b"2024-01-02 began", b"  at x", b"FC Invoke End RequestId: r", b"[2024-01-02 next", b"more"]
    found = list(joined((n, line) for n, line in enumerate(lines)))
    assert found == [
        (0, b"2024-01-02 began\n  at x"),
        (2, b"FC Invoke End RequestId: r"),
        (3, b"[2024-01-02 next\nmore"),
    ]


def test_the_reason_why_lines_go_to_no_logstore_is_told_once_for_an_instance() -> None:
    router = Router(lambda source: "no right" if source.function == "buy" else Route(1, multi_line=False))
    other = SOURCE._replace(function="sell", instance_id="c-2")
    outputs: list[Output | Whole] = [output(b"x\n"), Output(2, other, "r", [(1, b"y\n")], cut=False)]
    assert router.route(outputs, AT_MS) == [(other, Route(1, multi_line=False))]
    note = outputs[-1]
    assert isinstance(note, Output)
    assert note.pieces == [(AT_MS, b"[sesame] what this function writes is not in logstore l of project p: no right\n")]
    again: list[Output | Whole] = [output(b"x\n")]
    assert router.route(again, AT_MS) == []
    assert len(again) == 1


async def test_a_service_writes_where_its_role_may_and_the_logstore_is(storage: LogStorage) -> None:
    allowed = [""]
    service = Service("shop", "id", log_config=LogConfig("p", "l", log_begin_rule="DefaultRegex"))
    services = {"shop": service}
    targets = LogTargets(storage.metadata, lambda name, _version: services.get(name), lambda *_asked: allowed[0])
    known = storage.metadata.known("p", "l")
    assert targets.route(SOURCE) == Route(known.id, multi_line=True)
    assert targets.problem(service) == ""
    assert targets.problem(Service("plain", "id")) == ""
    allowed[0] = "role 'r' does not allow it"
    assert targets.route(SOURCE) == targets.problem(service) == "role 'r' does not allow it"
    assert "logstore other is not in the Log Service: make it" in str(targets.route(SOURCE._replace(logstore="other")))
    services.clear()
    assert targets.route(SOURCE) == "service 'shop' does not exist any more"


async def write_forever(folder: Path) -> None:
    storage = LogStorage(folder / "logstores.db", folder / "logstores", SYSTEM_CLOCKS, query_processes())
    await storage.open()
    await storage.create_project(LogProject("p"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7))
    copies = Logstores(folder / "logstores.db", storage.written)
    logs = Logs(folder / "logs.db", Retention(), writer=functools.partial(LogWriterProcess, logstores=copies))
    await logs.open()
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    logs.router = Router(lambda _source: route)
    number = 0
    while True:
        logs.append(SOURCE, f"r-{number}", f"{number}\n".encode())
        await logs.flush()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


def main(folder: str) -> None:
    asyncio.run(write_forever(Path(folder)))


def run_and_kill(folder: Path) -> int:
    """The last line that the log writer process had answered for when the child was killed."""
    return int(forked.call_and_kill("tests.store.logstores.test_function_logs:main", str(folder), after=20)[-1])


async def test_lines_that_were_sent_survive_a_kill(tmp_path: Path, clocks: FakeClocks) -> None:
    sent = await asyncio.to_thread(run_and_kill, tmp_path)
    storage = LogStorage(tmp_path / "logstores.db", tmp_path / "logstores", clocks, query_processes())
    await storage.open()
    found = sorted(map(int, messages(await written(storage))))
    assert found == list(range(len(found)))
    assert len(found) > sent
    await storage.close()


async def test_listeners_are_told_of_lines_and_queries_find_them_at_once(tmp_path: Path, storage: LogStorage) -> None:
    told: list[tuple[str, str]] = []
    storage.subscribe(lambda *names: told.append(names))
    copies = Logstores(tmp_path / "logstores.db", storage.written)
    logs = Logs(tmp_path / "logs.db", Retention(), writer=functools.partial(LogWriterProcess, logstores=copies))
    await logs.open()
    route = Route(storage.metadata.known("p", "l").id, multi_line=False)
    logs.router = Router(lambda _source: route)
    logs.append(SOURCE, "r-1", b"hello there\n")
    await logs.flush()
    assert messages(await written(storage)) == ["hello there"]
    await eventually(lambda: told == [("p", "l")])
    await logs.close()
