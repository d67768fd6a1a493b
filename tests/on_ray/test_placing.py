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
from tests.support.rays import PYTHON, Ray

PATIENCE_S = 240.0

pytestmark = pytest.mark.torture

# Stands for Sesame on a machine: for a node, with its name in the place of its data, which is gone once it ended in
# peace; and for what a node is asked, and upgraded by. The file that it is told has the version that is installed.
SESAME = """
import json, pathlib, signal, socket, sys, time
installed, what, *rest = sys.argv[1:]
version, own = pathlib.Path(installed).read_text(), pathlib.Path("{own}")
def write(name, document):
    (own / "new").write_text(json.dumps(document))
    (own / "new").rename(own / name)
def serve():
    role = "leads" if socket.gethostname() == "n1" else "follows"
    write("node.json", {{"version": version, "speaks": "s", "role": role, "epoch": 1}})
    write("endpoints.json", {{"version": version, "fc": "http://0.0.0.0:9000", "started_at": time.time()}})
if rest == ["--tell"]:
    print(json.dumps({{"version": version, "speaks": "s"}}))
elif what == "upgrade":
    if (own / "refuses").exists():
        sys.exit('{{"error": {{"message": "Sesame goes on as it is: no such module"}}}}')
    serve()
else:
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
    path = own / "node"
    path.write_text(" ".join(rest))
    serve()
    signal.sigwait({{signal.SIGTERM}})
    path.unlink()
"""
# Stands for `sesame start --cluster`: says what changes until it is asked to end, and drains.
STARTS = """
import os, signal, sys, threading
from sesame import __version__
from sesame.on_ray.cluster import Elsewhere, begun
from sesame.on_ray.order import ADDRESS, NODE, Order
program, own = tuple(sys.argv[1:3]), sys.argv[3]
order = Order(
    __version__, (*program, "node", ADDRESS, NODE), tells=own + "/endpoints.json", stands=own + "/node.json",
    program=program, drain_s=5.0,
)
over = threading.Event()
with begun(None, order) as cluster:
    # Ray has set its own way with signals.
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    print("begun", flush=True)
    try:
        cluster.watch(lambda line: print(line, flush=True), over.wait)
    except Elsewhere:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
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
        program, self.installed = folder / "stands_for_sesame.py", folder / "installed"
        program.write_text(SESAME.format(own=OWN))
        self.installed.write_text("0.2.0")
        self.command = self.ray.python(self.first, STARTS, str(program), str(self.installed), str(OWN))

    def nodes(self, machine: Machine) -> list[int]:
        """Programs that run there, without the processes between them and their actors, and without the command."""
        return machine.pids("stands_for_sesame.py", "lifeline", "threading.Event")

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
    again = ", start 2\n    ended by signal 9"
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


def sesame(placing: Placing, *words: str, expect: int = 0) -> str:
    """What a command says, on the machine of Ray's head."""
    return placing.ray.head.run(PYTHON, "-m", "sesame", *words, environ=placing.ray.environ, expect=expect)


def ray_ends(machine: Machine) -> None:
    """Waits until its command has, which says how the raylet ended into the log that the next one begins."""
    until(lambda: not machine.pids("bin/ray start"), lambda: str(machine.lines()))


def test_nodes_are_upgraded_one_after_the_other_by_one_command(placing: Placing) -> None:
    first, second, third = (placing.network.machines[name] for name in ("n1", "n2", "n3"))
    until(lambda: (third.folder / "endpoints.json").exists(), placing.said)
    assert "there is nothing to do" in sesame(placing, "cluster", "upgrade")
    placing.installed.write_text("0.2.1")
    planned = sesame(placing, "cluster", "upgrade", "--dry-run")
    for number, machine in enumerate((second, third), start=1):
        assert f"{machine.address} ({machine.name}): 0.2.0 → 0.2.1, {number} of 3\n" in planned
    assert f"{first.address} ({first.name}): 0.2.0 → 0.2.1, 3 of 3, leads\n" in planned
    (third.folder / "refuses").touch()
    said = sesame(placing, "cluster", "upgrade", expect=1)
    assert f"{third.address} (n3) was not upgraded: Sesame goes on as it is: no such module" in said
    assert f"0.2.1 runs on {second.address} (n2); not yet on {first.address} (n1) (0.2.0), {third.address} (n3)" in said
    (third.folder / "refuses").unlink()
    status = sesame(placing, "cluster", "status", expect=1)
    assert "wrong: nodes run different versions: 0.2.0, 0.2.1" in status
    said = sesame(placing, "cluster", "upgrade")
    assert f"{second.address} (n2): runs 0.2.1 already" in said
    assert "Every node runs 0.2.1 and serves." in said
    status = sesame(placing, "cluster", "status")
    assert (
        f"{first.address} (n1): serves at http://{first.address}:9000, leads\n    Sesame 0.2.1, serves since " in status
    )
    assert "3 of 3 nodes serve, and nothing is wrong." in status


def test_a_node_ends_with_its_machines_ray(placing: Placing) -> None:
    third = placing.network.machines["n3"]
    os.kill(placing.ray.raylet(third), signal.SIGKILL)
    until(lambda: not placing.nodes(third), lambda: f"a node is left on {third.name}")
    others = {machine.name: placing.runs_on(machine) for machine in (placing.first, placing.second)}
    placing.ray.start(third)
    placing.runs_on(third)
    assert others == {machine.name: placing.runs_on(machine) for machine in (placing.first, placing.second)}


def test_one_machine_is_drained_and_has_a_node_again_when_its_ray_was_started_anew(placing: Placing) -> None:
    third = placing.network.machines["n3"]
    assert "expected the address or the host name of one" in sesame(placing, "cluster", "drain", "n9", expect=1)
    placing.runs_on(third)
    assert f"{third.address} (n3): has ended." in sesame(placing, "cluster", "drain", "n3")
    assert not (third.folder / "node").exists()
    assert "wrong: its node was drained" in sesame(placing, "cluster", "status", expect=1)
    os.kill(placing.ray.raylet(third), signal.SIGKILL)
    ray_ends(third)
    placing.ray.start(third)
    placing.runs_on(third)


def test_where_a_new_head_has_come_nodes_are_placed_again_once_ray_was_started_anew(placing: Placing) -> None:
    head, machines = placing.ray.head, [placing.network.machines[name] for name in ("n1", "n2", "n3")]
    (gcs,) = head.pids("gcs_server")
    os.kill(gcs, signal.SIGKILL)
    for machine in (head, *machines):
        # Machines notice once the new head is there.
        ray_ends(machine)
        if machine is head:
            placing.ray.start(head)
    until(lambda: not any(placing.nodes(machine) for machine in machines), lambda: "a node is left")
    for machine in machines:
        # Of the one that was killed.
        (machine.folder / "node").unlink()
    placing.ray.start(*machines)
    for machine in machines:
        placing.runs_on(machine)


def test_it_ends_in_peace_everywhere_when_the_command_is_asked_to(placing: Placing) -> None:
    machines = (placing.first, placing.second, placing.network.machines["n3"])
    (inside,) = [pid for pid in placing.first.pids("threading.Event") if pid != placing.command.pid]
    os.kill(inside, signal.SIGTERM)
    assert placing.command.wait(PATIENCE_S) == 0, placing.said()
    assert "left []\n" in placing.said()
    for machine in machines:
        assert placing.nodes(machine) == []
        assert not (machine.folder / "node").exists()
