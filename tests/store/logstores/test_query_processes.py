"""Queries run in processes of their own: bounded, ended when they go too far, replaced when they die."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from tests.store.logstores.conftest import INDEX
from tests.support.fakes import FakeClocks
from tests.support.query_processes import query_processes, rows_of
from tests.support.virtual_time import eventually

from sesame.model.logstore import LogGroup, LogProject, LogRecord, Logstore
from sesame.store.logs.logstores.interface import QUERY_DEADLINE_S, Query
from sesame.store.logs.logstores.queries import KILLED_AFTER_S
from sesame.store.logs.logstores.query_processes import QueryProcess, QueryProcesses
from sesame.store.logs.logstores.store import LogStorage
from sesame.store.logs.query.refusals import QueryRefused

NOW_S = int(FakeClocks().wall())
ALL = Query("*", NOW_S, NOW_S + 1)
# Stands for a query process: says nothing and goes on until its server is gone.
SILENT = "import socket, sys\nsock = socket.socket(fileno=int(sys.argv[1]))\nwhile sock.recv(65536): pass"
# Ends with the first question.
MORTAL = "import os, socket, sys\nsocket.socket(fileno=int(sys.argv[1])).recv(1)\nos.abort()"
# Answers a search with no rows.
ANSWERING = """
import socket, sys
from sesame.store.logs.logstores import query_protocol as protocol
from sesame.store.logs.logstores.interface import Result
sock = socket.socket(fileno=int(sys.argv[1]))
while message := protocol.receive(sock):
    asked = protocol.msgspec.msgpack.decode(message, type=protocol.Ask)
    found = protocol.Found(Result(b"[]", 0, (), False, True, 0, "", "", 0))
    protocol.send(sock, protocol.Answer(asked.number, found))
"""


def processes_of(code: str) -> QueryProcesses:
    return QueryProcesses(lambda: QueryProcess((sys.executable, "-c", code)))


@pytest.fixture
def silent() -> Iterator[QueryProcesses]:
    processes = processes_of(SILENT)
    yield processes
    processes.close()


async def opened(folder: Path, clocks: FakeClocks, processes: QueryProcesses) -> LogStorage:
    storage = LogStorage(folder / "logstores.db", folder / "logstores", clocks, processes, durable=False)
    await storage.open()
    await storage.create_project(LogProject("p"))
    await storage.create_logstore(Logstore("p", "l", ttl_days=7))
    await storage.create_index("p", "l", INDEX)
    return storage


@pytest.fixture
async def stuck(tmp_path: Path, clocks: FakeClocks, silent: QueryProcesses) -> AsyncIterator[LogStorage]:
    """A store whose queries never end by themselves."""
    storage = await opened(tmp_path, clocks, silent)
    yield storage
    await storage.close()


async def test_a_query_past_its_time_is_killed_and_the_next_one_has_another_process(
    stuck: LogStorage, clocks: FakeClocks, silent: QueryProcesses
) -> None:
    asked = asyncio.create_task(stuck.query("p", "l", ALL))
    await eventually(lambda: silent.pids)
    (pid,) = silent.pids
    await clocks.pass_time(QUERY_DEADLINE_S + KILLED_AFTER_S)
    with pytest.raises(QueryRefused, match=r"exceeded maximum time limit of 55\.00s"):
        await asked
    refused = stuck.counts.queries["refused"]
    assert (refused.count, refused.sum_s) == (1, QUERY_DEADLINE_S + KILLED_AFTER_S)
    assert not psutil.pid_exists(pid)
    again = asyncio.create_task(stuck.query("p", "l", ALL))
    await eventually(lambda: silent.pids)
    assert silent.pids != [pid]
    again.cancel()


async def test_a_query_whose_caller_is_gone_is_ended(
    stuck: LogStorage, clocks: FakeClocks, silent: QueryProcesses
) -> None:
    asked = asyncio.create_task(stuck.query("p", "l", ALL))
    await eventually(lambda: silent.pids)
    (pid,) = silent.pids
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await clocks.pass_time(KILLED_AFTER_S)
    await eventually(lambda: not psutil.pid_exists(pid))


async def test_a_process_that_dies_costs_its_query_alone(tmp_path: Path, clocks: FakeClocks) -> None:
    processes = processes_of(MORTAL)
    storage = await opened(tmp_path, clocks, processes)
    for _query in range(2):
        with pytest.raises(QueryRefused, match=r"ended abnormally \(SIGABRT\)"):
            await storage.query("p", "l", ALL)
    await storage.close()
    processes.close()


async def test_a_process_that_dies_between_two_queries_is_replaced(storage: LogStorage) -> None:
    processes = query_processes()
    await storage.query("p", "l", ALL)
    for pid in processes.pids:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: processes.pids == [])
    found = await storage.query("p", "l", Query("* | select count(*) as c", NOW_S, NOW_S + 1))
    assert rows_of(found) == [{"c": "0"}]


async def test_a_process_that_dies_idle_is_replaced_before_the_next_query(tmp_path: Path, clocks: FakeClocks) -> None:
    processes = processes_of(ANSWERING)
    storage = await opened(tmp_path, clocks, processes)
    await storage.expect_queries()
    assert rows_of(await storage.query("p", "l", ALL)) == []
    (pid,) = processes.pids
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: processes.pids not in ([], [pid]))
    # Whoever never answered is not started over and over.
    (other,) = processes.pids
    os.kill(other, signal.SIGKILL)
    await eventually(lambda: processes.pids == [])
    await storage.close()
    processes.close()


async def test_the_process_may_write_no_file_and_take_so_much_memory(storage: LogStorage) -> None:
    await storage.query("p", "l", ALL)
    limits = {}
    for pid in query_processes().pids:
        assert os.getpgid(pid) == pid
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
        soft, hard = limits[pid] = resource.prlimit(pid, resource.RLIMIT_AS)
        size = psutil.Process(pid).memory_info().vms
        assert 0 < soft == hard < size + 4 * 1024**3
        # A process that is nearly as large as it may be answers, too.
        resource.prlimit(pid, resource.RLIMIT_AS, (size + 32 * 1024**2, hard))
    try:
        logs = tuple(LogRecord(NOW_S, 0, (("level", "x" * 4000),)) for _log in range(20_000))
        await storage.append("p", "l", LogGroup(logs))
        with pytest.raises(QueryRefused, match="exceeded max memory size of 1GB"):
            await storage.query("p", "l", Query("* | select level, count(*) group by level", NOW_S, NOW_S + 1))
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_AS, limit)
    assert limits.keys() <= set(query_processes().pids)


async def test_where_queries_are_expected_a_process_is_ready_once_there_is_an_index(
    tmp_path: Path, clocks: FakeClocks, silent: QueryProcesses
) -> None:
    storage = await opened(tmp_path, clocks, silent)
    assert silent.pids == []
    await storage.expect_queries()
    (pid,) = silent.pids
    await storage.create_logstore(Logstore("p", "other", ttl_days=7))
    await storage.create_index("p", "other", INDEX)
    assert silent.pids == [pid]
    await storage.close()
    silent.close()
    assert not psutil.pid_exists(pid)
