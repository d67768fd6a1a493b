"""The servers that tests start: nothing is left of them when the process of the tests is killed.

Run by pytest. The child process that is killed calls `keep_s3` or `keep_postgresql` of this file.
"""

import tempfile
import time
from pathlib import Path

import psutil
import pytest
from tests.support import forked, postgresql, s3

PATIENCE_S = 60.0


def keep_s3(folder: str) -> None:
    store = s3.Store(Path(folder), s3.binary() or "")
    store.start()
    _keep(store.pid)


def keep_postgresql(folder: str) -> None:
    found = postgresql.binaries()
    assert found is not None
    server = postgresql.Server(Path(folder), found)
    server.start()
    _keep(server.pid)


def _keep(pid: int) -> None:
    tree = [pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))]
    print(*tree, flush=True)
    time.sleep(3600)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("kept", ["s3", "postgresql"])
def test_a_server_ends_with_the_tests_that_started_it(kept: str) -> None:
    if {"s3": s3.binary, "postgresql": postgresql.binaries}[kept]() is None:
        pytest.skip(f"there is no server for {kept}")
    with tempfile.TemporaryDirectory(prefix="sesame-left-", ignore_cleanup_errors=True) as folder:
        (printed,) = forked.call_and_kill(f"tests.test_servers_of_tests:keep_{kept}", folder, after=1)
        pids = [int(word) for word in printed.split()]
        deadline = time.monotonic() + PATIENCE_S
        while left := [pid for pid in pids if lives(pid)]:
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.05)
