"""Ray sees to it that a node runs on each machine: also on one that comes later, after deaths, and without its head.

A real Ray on machines of the test's own. What is placed here is a program that says where it runs; Sesame itself is
placed in journeys/test_cluster_faults.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.machines import OWN, Machine, Network, network
from tests.support.rays import Ray

PATIENCE_S = 240.0

pytestmark = pytest.mark.torture

# Stands for a node of Sesame: in the place of its data there is its name, which is gone once it ended in peace.
NODE = """
import pathlib, signal, sys, time
path = pathlib.Path(sys.argv[1])
path.write_text(" ".join(sys.argv[2:]))
def end(*_):
    path.unlink()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True: time.sleep(60)
"""
# Stands for `sesame start --cluster`: says what changes until it is asked to end, and drains.
STARTS = f"""
import signal, sys, threading
from sesame import __version__
from sesame.on_ray.cluster import begun
from sesame.on_ray.order import ADDRESS, NODE, Order
order = Order(__version__, ("-c", {NODE!r}, "{OWN / "node"}", ADDRESS, NODE), drain_s=5.0)
over = threading.Event()
with begun(None, order) as cluster:
    # Ray has set its own way with signals.
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    print("begun", flush=True)
    cluster.watch(lambda line: print(line, flush=True), over.wait)
    print("left", cluster.drain(), flush=True)
"""


def until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


class Placing:
    """Two machines with Ray beside its head, and the command that places nodes, on the first of them."""

    def __init__(self, folder: Path, made: Network) -> None:
        self.folder, self.network = folder, made
        self.ray = Ray(folder, made.add("head"))
        self.first, self.second = made.add("n1"), made.add("n2")
        self.ray.start(self.ray.head)
        self.ray.start(self.first, self.second)
        self.command = self.ray.python(self.first, STARTS)

    def nodes(self, machine: Machine) -> list[int]:
        """Programs that run there, without the processes between them and their actors, and without the command."""
        return machine.pids("path.write_text", "lifeline", "threading.Event")

    def runs_on(self, machine: Machine, *, but: int = 0) -> int:
        """Waits until a node runs there, another than `but`."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [pid for pid in self.nodes(machine) if pid != but]
            return bool(found) and (machine.folder / "node").exists()

        until(look, lambda: f"no node on {machine.name}: {self.said()}")
        (pid,) = found
        return pid

    def said(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("program-*.log"))


@pytest.fixture(scope="module")
def placing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placing]:
    folder = tmp_path_factory.mktemp("placing")
    with network(folder) as made:
        yield Placing(folder, made)


def test_a_node_runs_on_each_machine_but_the_head(placing: Placing) -> None:
    for machine in (placing.first, placing.second):
        placing.runs_on(machine)
        address, name = (machine.folder / "node").read_text().split()
        assert address == machine.address
        assert len(name) == 12
    assert placing.nodes(placing.ray.head) == []


def test_a_node_that_is_killed_is_started_again_and_said(placing: Placing) -> None:
    pid = placing.runs_on(placing.second)
    os.kill(pid, signal.SIGKILL)
    placing.runs_on(placing.second, but=pid)
    again = f"{placing.second.address} ({placing.second.name}): running, start 2\n    ended by signal 9"
    until(lambda: again in placing.said(), placing.said)


def test_an_actor_that_is_killed_takes_its_node_with_it_and_both_come_back(placing: Placing) -> None:
    pid = placing.runs_on(placing.second)
    (actor,) = placing.second.pids("ray::Node")
    os.kill(actor, signal.SIGKILL)
    placing.runs_on(placing.second, but=pid)
    assert len(placing.nodes(placing.second)) == 1


def test_a_machine_that_comes_later_gets_a_node(placing: Placing) -> None:
    third = placing.network.add("n3")
    placing.ray.start(third)
    placing.runs_on(third)


def test_a_node_ends_with_its_machines_ray(placing: Placing) -> None:
    third = placing.network.machines["n3"]
    os.kill(placing.ray.raylet(third), signal.SIGKILL)
    until(lambda: not placing.nodes(third), lambda: f"a node is left on {third.name}")
    others = {machine.name: placing.runs_on(machine) for machine in (placing.first, placing.second)}
    placing.ray.start(third)
    placing.runs_on(third)
    assert others == {machine.name: placing.runs_on(machine) for machine in (placing.first, placing.second)}


def test_it_ends_in_peace_everywhere_when_the_command_is_asked_to(placing: Placing) -> None:
    machines = (placing.first, placing.second, placing.network.machines["n3"])
    (inside,) = [pid for pid in placing.first.pids("threading.Event") if pid != placing.command.pid]
    os.kill(inside, signal.SIGTERM)
    assert placing.command.wait(PATIENCE_S) == 0, placing.said()
    assert placing.said().endswith("left []\n")
    for machine in machines:
        assert placing.nodes(machine) == []
        assert not (machine.folder / "node").exists()
