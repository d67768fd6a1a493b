"""Nodes of a cluster on one machine, each a real `sesame node` with a data directory and ports of its own.

Used by journeys; the nodes share a PostgreSQL and an S3-speaking store of their own.
"""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, REGION, SANDBOX, SECRET, Sesame, lives, wait_until
from tests.support import few_runtimes
from tests.support.postgresql import TEMPLATE, Server, own_server
from tests.support.s3 import own_store

from sesame.cluster.keys import make_key

# A takeover waits for what others held, and on a busy machine each step takes long.
PATIENCE_S = 120.0


class Node(Sesame):
    """As a server of the journeys."""

    def __init__(self, name: str, folder: Path, *flags: str, runtime: str, program: tuple[str, ...] = ()) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, runtime=runtime, program=program)
        self.name = name
        self._arguments = [*few_runtimes.flags(runtime), *flags]

    def begin(self) -> None:
        """Starts it without waiting."""
        with self.log.open("ab") as log:
            self._process = self._started(self.arguments(), log)

    def arguments(self) -> list[str]:
        """Of its command."""
        arguments = ["node", "--node", self.name, "--agent-port", "0", "--data-dir", str(self.data_dir)]
        arguments += ["--sandbox", SANDBOX, "--network", "host", "--port", "0", "--oss-port", "0"]
        arguments += ["--account-id", ACCOUNT_ID, "--region", REGION]
        return [*arguments, "--access-key-id", KEY_ID, "--access-key-secret", SECRET, *self._arguments]

    def started_by(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Another command of the program that it was started from, with pipes for what it says."""
        command = [sys.executable, *self._program, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environ)

    def ready(self) -> None:
        """Waits until it answers."""
        told, supervisor = self.data_dir / "endpoints.json", psutil.Process(self.pid)
        wait_until(lambda: told.exists() or not lives(supervisor), f"node {self.name}", PATIENCE_S)
        assert lives(supervisor), self.said()
        self.endpoint = json.loads(told.read_text())["fc"]

    def start(self) -> None:
        self.begin()
        self.ready()

    def agents(self) -> list[psutil.Process]:
        """The processes that its supervisor started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [each for each in psutil.Process(self.pid).children() if lives(each)]
        return []

    def candidate(self) -> psutil.Process:
        """The process that leads the cluster, or waits for it."""
        return self._agent(1)

    def follower(self) -> psutil.Process:
        return self._agent(2)

    def _agent(self, number: int) -> psutil.Process:
        def found() -> list[psutil.Process]:
            return [each for each in self.agents() if _name_of(each) == f"sesame-agent-{number}"]

        process: psutil.Process = wait_until(found, f"agent {number} of node {self.name}", PATIENCE_S)[0]
        return process

    def leads(self) -> bool:
        """Its writer alone has the data directory."""
        with contextlib.suppress(OSError):
            text = (self.data_dir / "lock").read_text()
            return any(str(each.pid) == text for each in self.agents())
        return False

    def power_off(self) -> None:
        """Every process of the machine at once."""
        self._signal(signal.SIGKILL)
        self.kill()

    def stop_all(self) -> None:
        """No process of the machine runs on, until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for each in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)


def _name_of(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


class Cluster:
    """Its nodes, by their names, and what they share."""

    def __init__(
        self,
        folder: Path,
        flags: Sequence[str],
        runtime: str,
        database: Server,
        name: str,
        program: tuple[str, ...] = (),
    ) -> None:
        key = folder / "cluster.key"
        make_key(key)
        self._flags, self._runtime = ("--cluster-key-file", str(key), *flags), runtime
        self._folder, self._program = folder, program
        self._database = database
        self._database_name = name
        self.nodes: dict[str, Node] = {}

    def start(self, *names: str) -> None:
        for name in names:
            self.nodes.setdefault(name, self.another(name)).begin()
        for name in names:
            self.nodes[name].ready()

    def another(self, name: str, *flags: str) -> Node:
        """One that has not been started, with its own `flags` in the place of those of the others."""
        return Node(name, self._folder / name, *self._flags, *flags, runtime=self._runtime, program=self._program)

    def leader(self) -> Node:
        """The node whose writer the database names, once it has the data directory."""

        def found() -> list[Node]:
            led = self.sql("SELECT node FROM cluster_leadership").rpartition("-")[0]
            return [node for node in self.nodes.values() if node.name == led and node.leads()]

        node: Node = wait_until(found, "a writer of the cluster", PATIENCE_S)[0]
        return node

    def others(self) -> list[Node]:
        leader = self.leader()
        return [node for node in self.nodes.values() if node is not leader]

    def epoch(self) -> int:
        return int(self.sql("SELECT epoch FROM cluster_leadership"))

    def sql(self, statement: str) -> str:
        return self._database.sql(statement, self._database_name)

    def said(self) -> str:
        return "".join(f"--- {node.name}\n{node.said()}" for node in self.nodes.values())


@contextlib.contextmanager
def running(
    folder: Path, *names: str, runtime: str, flags: Sequence[str] = (), program: tuple[str, ...] = ()
) -> Iterator[Cluster]:
    """Nodes of these names that serve, until the block ends; with a `program`, each by its own command line."""
    with own_server() as database, own_store() as store:
        database.sql(f"CREATE DATABASE sesame TEMPLATE {TEMPLATE}")
        shared = ("--database", database.url("sesame"), "--objects", store.new_url())
        cluster = Cluster(folder, (*shared, *flags), runtime, database, "sesame", program)
        try:
            cluster.start(*names)
            yield cluster
        finally:
            for node in cluster.nodes.values():
                node.go_on()
                node.power_off()
                for process in node.processes():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
