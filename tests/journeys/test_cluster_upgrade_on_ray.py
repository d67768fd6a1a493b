"""Two real nodes under a real Ray, upgraded by `sesame cluster upgrade`: what goes on meanwhile, and what stops it."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import requests
from tests.journeys.conftest import wait_until
from tests.support.installed import Installed
from tests.support.machines import Machine, network
from tests.support.postgresql import Server, own_server
from tests.support.rays import PYTHON
from tests.support.s3 import own_store
from tests.support.zips import zip_of
from tests.torture.cluster_faults import OnRay
from tests.torture.queue_kill import RUNTIME

PATIENCE_S = 240.0
NAMES = ("n1", "n2")
SERVICE, FUNCTION = "upgraded", "waits"
CODE = b"""
import time
def handler(event, context):
    time.sleep(float(event or 0))
    return "waited"
"""
# Longer than a command takes to begin on a busy machine.
LONG_S = "20"

pytestmark = pytest.mark.thorough


class Upgraded:
    """A cluster whose Sesame is a copy that changes, and a function in it that takes as long as it is told."""

    def __init__(self, folder: Path, cluster: OnRay, installed: Installed, database: Server) -> None:
        self.cluster, self.installed = cluster, installed
        self._folder, self._database = folder, database

    def sql(self, statement: str) -> str:
        return self._database.sql(statement, "sesame")

    def deploy(self) -> None:
        api = self.cluster.api(self.cluster.nodes["n1"])
        assert api("POST", "/services", msgspec.json.encode({"serviceName": SERVICE})).status_code == 200
        code = msgspec.json.encode(zip_of({"index.py": CODE})).decode().strip('"')
        function = {"functionName": FUNCTION, "runtime": RUNTIME, "handler": "index.handler", "memorySize": 128}
        function |= {"timeout": 60, "code": {"zipFile": code}}
        answer = api("POST", f"/services/{SERVICE}/functions", msgspec.json.encode(function))
        assert answer.status_code == 200, answer.text

    def calls(self, machine: Machine, event: str = "") -> requests.Response:
        answer = self.cluster.api(machine).invoke(SERVICE, FUNCTION, event)
        assert (answer.status_code, answer.text) == (200, "waited"), answer.text
        return answer

    @contextlib.contextmanager
    def called(self, machine: Machine, event: str = "0", *, times: int = 1_000_000) -> Iterator[None]:
        """One call after the other there, each on a connection of its own, until the block ends; none fails."""
        over, answered = threading.Event(), list[requests.Response]()
        failed: list[Exception] = []

        def call() -> None:
            while not over.is_set() and len(answered) < times:
                try:
                    answered.append(self.calls(machine, event))
                except (AssertionError, requests.RequestException) as error:
                    failed.append(error)
                    return
                over.wait(0.1)

        calling = threading.Thread(target=call, daemon=True)
        calling.start()
        try:
            yield
        finally:
            over.set()
            calling.join(PATIENCE_S)
        assert not failed, failed
        assert answered

    def upgrade(self, *words: str, expect: int = 0) -> str:
        return self.cluster.sesame("cluster", "upgrade", *words, expect=expect)

    @contextlib.contextmanager
    def upgrading(self) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[], str]]]:
        """The command while it goes on, and what it has said."""
        path = self._folder / "upgrade.log"
        with path.open("wb") as log:
            head, environ = self.cluster.ray.head, self.cluster.ray.environ
            command = head.popen(PYTHON, "-m", "sesame", "cluster", "upgrade", log=log, environ=environ)
        try:
            yield command, path.read_text
        finally:
            if command.poll() is None:
                command.kill()
            command.wait()

    def led_by(self) -> tuple[Machine, Machine]:
        """The machine that leads, and the other one."""

        def found() -> list[Machine]:
            host = self.sql("SELECT address FROM cluster_leadership").rpartition(":")[0]
            return [each for each in self.cluster.nodes.values() if each.address == host]

        (leader,) = wait_until(found, "one node that leads", PATIENCE_S)
        (other,) = [each for each in self.cluster.nodes.values() if each is not leader]
        return leader, other

    def serves(self) -> None:
        """Waits until nothing is wrong but that versions may differ."""

        def nothing_else() -> bool:
            try:
                said = self.cluster.sesame("cluster", "status")
            except AssertionError as wrong:
                said = str(wrong)
            return "2 of 2 nodes serve" in said

        wait_until(nothing_else, "two nodes that serve", PATIENCE_S)

    def said_by(self, machine: Machine) -> str:
        logs = machine.folder.glob("ray/session_2*/logs/worker-*.err")
        return "".join(path.read_text(errors="replace") for path in logs)

    def supervisor(self, machine: Machine) -> int:
        (lifeline,) = machine.pids("-m sesame.on_ray.lifeline")
        (found,) = [each.pid for each in psutil.Process(lifeline).children()]
        return found

    def candidate(self, machine: Machine) -> psutil.Process:
        """The process that leads, or waits for it."""
        children = psutil.Process(self.supervisor(machine)).children()
        (found,) = [each for each in children if each.name() == "sesame-agent-1"]
        return found


@contextlib.contextmanager
def upgraded(folder: Path) -> Iterator[Upgraded]:
    installed = Installed(folder / "installed")
    installed.becomes("1.0.0")
    with network(folder) as made, contextlib.ExitStack() as stack:
        stack.callback(installed.forgets_bytecode)
        server, store = stack.enter_context(own_server(made.here)), stack.enter_context(own_store(made.here))
        server.sql("CREATE DATABASE sesame TEMPLATE template0")
        cluster = OnRay(folder, made, NAMES, {"PYTHONPATH": str(installed.folder)})
        database = server.url("sesame").replace("127.0.0.1", made.here)
        try:
            # As long as a call takes that runs while its node ends.
            cluster.start("--database", database, "--objects", store.new_url(), "--drain-s", "60")
            found = Upgraded(folder, cluster, installed, server)
            found.deploy()
            yield found
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cluster.said()}") from error


def test_nodes_are_upgraded_by_one_command_whatever_comes_in_between(tmp_path: Path) -> None:
    with upgraded(tmp_path) as there:
        another_build_of_the_same_version(there)
        the_same_build_again(there)
        stopped_after_the_first_node_while_another_command_waits(there)
        an_old_node_serves_beside_a_database_that_a_new_one_has_changed(there)
        one_that_is_killed_midway_stops_the_command_and_comes_back_as_the_new_version(there)
        said = there.upgrade()
        assert "Every node runs 1.0.1, build " in said
        assert "there is nothing to do" in said
        assert "2 of 2 nodes serve, and nothing is wrong." in there.cluster.sesame("cluster", "status")


def another_build_of_the_same_version(there: Upgraded) -> None:
    leader, other = there.led_by()
    assert "there is nothing to do" in there.upgrade()
    there.installed.is_built_anew()
    with there.called(leader), there.called(other):
        said = there.upgrade()
    assert re.search(
        rf"{other.address} \(\w+\): 1.0.0, build (\w{{8}}) → 1.0.0, build (?!\1)\w{{8}}, 1 of 2\n", said
    ), said
    assert re.search(r"Every node runs 1.0.0, build \w{8} and serves.", said), said


def the_same_build_again(there: Upgraded) -> None:
    leader, other = there.led_by()
    with there.called(leader), there.called(other):
        said = there.upgrade("--restart")
    assert re.search(r"1.0.0, build \w{8}, starts again, 2 of 2, leads\n", said), said


def stopped_after_the_first_node_while_another_command_waits(there: Upgraded) -> None:
    leader, other = there.led_by()
    there.installed.becomes("1.0.1")
    there.installed.brings_a_migration("9999", "later")
    assert "1.0.1 brings migrations of the database (9999)" in there.upgrade("--dry-run")
    with there.called(other, LONG_S, times=1), there.upgrading() as (command, said):
        wait_until(lambda: "1 of 2: " in said(), "the first node", PATIENCE_S)
        assert "nothing was upgraded: process " in (refused := there.upgrade(expect=1))
        assert "upgrades the cluster: wait until that has ended" in refused
        # The command itself is the last one of the processes that lead to it.
        os.kill(there.cluster.ray.head.pids("sesame cluster upgrade", "nsenter")[-1], signal.SIGINT)
        wait_until(lambda: "Stopping once this node serves again" in said(), "an answer to the signal", PATIENCE_S)
        assert command.wait(PATIENCE_S) == 1, said()
    assert "stopped by a signal: no further node was begun" in said()
    assert (
        f"runs on {other.address} ({other.name}); not yet on {leader.address} ({leader.name}) (1.0.0, build " in said()
    )
    assert there.led_by() == (leader, other)


def an_old_node_serves_beside_a_database_that_a_new_one_has_changed(there: Upgraded) -> None:
    leader, other = there.led_by()
    assert there.sql("SELECT version_num FROM alembic_version") != "9999"
    epoch = int(there.sql("SELECT epoch FROM cluster_leadership"))
    held = [there.supervisor(leader), there.candidate(leader).pid]
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: int(there.sql("SELECT epoch FROM cluster_leadership")) > epoch, "another writer", PATIENCE_S)
    for pid in held:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: there.sql("SELECT version_num FROM alembic_version") == "9999", "the migration", PATIENCE_S)
    assert there.led_by() == (other, leader)
    for machine in (leader, other):
        there.calls(machine)
    answer = there.cluster.api(leader)("PUT", f"/services/{SERVICE}", b'{"description": "changed at the old node"}')
    assert answer.status_code == 200, answer.text
    wait_until(lambda: "a newer Sesame has changed the database" in there.said_by(leader), "a word", PATIENCE_S)
    there.serves()
    assert there.led_by() == (other, leader)
    assert "nodes run different versions: 1.0.0, 1.0.1" in there.cluster.sesame("cluster", "status", expect=1)


def one_that_is_killed_midway_stops_the_command_and_comes_back_as_the_new_version(there: Upgraded) -> None:
    _leader, old = there.led_by()
    supervisor = there.supervisor(old)
    long = threading.Thread(target=lambda: there.cluster.api(old).invoke(SERVICE, FUNCTION, LONG_S), daemon=True)
    long.start()
    with there.upgrading() as (command, said):
        wait_until(lambda: "1 of 1: " in said(), "the node", PATIENCE_S)
        wait_until(lambda: not (old.folder / "data" / "endpoints.json").exists(), "the node's end", PATIENCE_S)
        os.kill(supervisor, signal.SIGKILL)
        assert command.wait(PATIENCE_S) == 1, said()
    assert f"{old.address} ({old.name}) was not upgraded: the Sesame on " in said()
    assert "has ended instead of starting again" in said()
    there.serves()
