"""The Ray actors of a cluster: one on each machine, which keeps a node of Sesame running, and one that places them.

Created by `on_ray.cluster`; they run in Ray's processes, on machines where Sesame is installed.
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import ray
import structlog
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sesame import timed_programs
from sesame.model.host_and_port import bracketed
from sesame.model.standing import Standing, standing_of
from sesame.on_ray.library import AUTH_MODE, NAMESPACE, TOKEN
from sesame.on_ray.node_process import NodeProcess
from sesame.on_ray.order import LOST, STARTING, Order, Ran, Report, filled
from sesame.on_ray.policies import Machine, Turn, machines, missing
from sesame.sandbox.disk_reserve import DiskReserve

# How often the placer looks for new and lost machines.
LOOK_S = 1.0
# An actor that does not report on its node within this time counts as lost.
REPORT_S = 5.0
# How long a drain may take in addition to the time that calls get to end.
DRAIN_MORE_S = 30.0
PLACER = "placer"
NEVER_GIVE_UP = -1
# Lets reports, drains and commands run at the same time.
CONCURRENCY = 4

log = structlog.get_logger("sesame.on_ray")


def actor_name(machine_id: str) -> str:
    return f"node-{machine_id}"


def reached(url: str, address: str) -> str:
    """The URL with a wildcard host replaced by the machine's `address`, so that other machines can use it."""
    for everywhere in ("0.0.0.0", "[::]"):
        url = url.replace(f"://{everywhere}:", f"://{bracketed(address)}:")
    return url


class Refused:
    """Used instead of a `NodeProcess` if no node may be started until the machine's setup has been changed."""

    def __init__(self, why: str) -> None:
        self._why = why

    def seen(self) -> tuple[str, int, str]:
        return "refused", 0, self._why

    def told(self, path: Path) -> dict[str, Any]:
        return {}

    def stop(self, within_s: float) -> bool:
        """Returns True: no process runs."""
        return True


class Node:
    """The actor of one machine. If its process ends, its node ends too, and Ray creates both again.

    Parameters and results are plain values (`on_ray.order`).
    """

    def __init__(self, machine: dict[str, Any], order: dict[str, Any]) -> None:
        self._machine = msgspec.convert(machine, Machine)
        self._order = msgspec.convert(order, Order)
        self._folder: Path | None = None
        self._environment: dict[str, str] = {}
        self._process: NodeProcess | Refused = self._start()

    def report(self) -> dict[str, Any]:
        state, starts, said = self._process.seen()
        machine, order = self._machine, self._order
        served = self._process.told(Path(order.tells)) if order.tells else {}
        standing = standing_of(self._process.told(Path(order.stands))) if order.stands else Standing()
        report = Report(
            machine.id, machine.address, machine.host, str(state), starts, said,
            url=reached(str(served.get("fc", "")), machine.address),
            version=str(served.get("version", standing.version)),
            since=float(served.get("started_at", 0.0)),
            standing=standing,
            short=_short(Path(order.tells).parent) if order.tells else "",
            wall=time.time(),
        )  # fmt: skip
        told: dict[str, Any] = msgspec.to_builtins(report)
        return told

    def run(self, arguments: list[str], within_s: float) -> dict[str, Any]:
        """Runs a command of the Sesame that is installed now, with the node's settings. Returns a `Ran`."""
        if isinstance(self._process, Refused):
            return {"code": 1, "out": "", "err": self._process.seen()[2]}
        command = [sys.executable, *self._order.program, *arguments]
        try:
            done = timed_programs.run(command, within_s, env=self._environment)
            ran = Ran(done.returncode, done.stdout, done.stderr)
        except subprocess.TimeoutExpired:
            ran = Ran(1, "", f"{' '.join(arguments)} has not ended within {within_s:g} s")
        except OSError as error:
            ran = Ran(1, "", f"{sys.executable} cannot be started: {error.strerror}")
        told: dict[str, Any] = msgspec.to_builtins(ran)
        return told

    def drain(self) -> bool:
        """Shuts the node down gracefully and for good. Returns False if it did not end in time."""
        ended = self._process.stop(self._order.drain_s + DRAIN_MORE_S)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        return ended

    def _start(self) -> NodeProcess | Refused:
        order, machine = self._order, self._machine
        mode = os.environ.get(AUTH_MODE)
        if mode != TOKEN:
            return Refused(f"Ray was started there with {AUTH_MODE}={mode}; expected {AUTH_MODE}={TOKEN}")
        # The node must not see Ray's variables, which include its token; its settings come from the order only.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SESAME_"))}
        environment |= {name: filled(value, machine.name, machine.address) for name, value in order.environment.items()}
        if order.files:
            self._folder = _folder_of(machine)
            for name, content in order.files.items():
                path = self._folder / name.lower()
                path.touch(0o600)
                path.write_text(filled(content, machine.name, machine.address))
                environment[name] = str(path)
        self._environment = environment
        command = [sys.executable, *(filled(word, machine.name, machine.address) for word in order.command)]
        return NodeProcess(command, environment, [Path(each) for each in (order.tells, order.stands) if each])


def _short(data_dir: Path) -> str:
    """Which resource is too short on this machine for instances to start; "" if none is."""
    try:
        return DiskReserve(data_dir).shortage()
    except OSError as error:
        # A missing directory is no shortage: the node creates it, or reports why it cannot.
        return "" if isinstance(error, FileNotFoundError) else f"{data_dir} cannot be looked at: {error.strerror}"


def _folder_of(machine: Machine) -> Path:
    """Creates a private folder for files with secrets. Removes folders left by previous actors that were killed."""
    prefix = f"sesame-node-{machine.name}-"
    # The pattern matches mkdtemp's eight random characters only, so that no other machine's folder is removed.
    for left in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}{'?' * 8}"):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix))


class Placer:
    """The actor that ensures that each machine has its `Node`, including machines added later. One per cluster."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = msgspec.convert(order, Order)
        self._nodes: dict[Machine, Any] = {}
        # When each machine's actor last reported.
        self._known: dict[Machine, float] = {}
        self._turn = Turn()
        self._draining = False
        self._changing = threading.Lock()
        threading.Thread(target=self._look, name="placer", daemon=True).start()

    def digest(self) -> str:
        """The digest of the order that the cluster was started with."""
        return self._order.digest

    def drains(self) -> bool:
        return self._draining

    def upgrades(self, who: str, *, ends: bool = False) -> str:
        """Takes, renews or, with `ends`, gives back the exclusive right to upgrade nodes.

        Returns why `who` does not get it, "" if it does.
        """
        with self._changing:
            if self._draining:
                return "the cluster is being stopped"
            other = self._turn.taken(who, time.monotonic(), ends=ends)
            return f"{other} upgrades the cluster: wait until that has ended" if other else ""

    def upgrader(self) -> str:
        """Who upgrades nodes now, "" for nobody."""
        with self._changing:
            return self._turn.owner(time.monotonic())

    def reports(self) -> list[dict[str, Any]]:
        """The `Report` of each machine."""
        with self._changing:
            nodes = dict(self._nodes)
        asked = {machine: node.report.remote() for machine, node in nodes.items()}
        _wait(asked, REPORT_S)
        reports: list[dict[str, Any]] = [self._heard(machine, said) for machine, said in asked.items()]
        return reports

    def drain(self) -> list[dict[str, Any]]:
        """Shuts all nodes down gracefully at the same time. Returns reports of those that did not end."""
        with self._changing:
            self._draining = True
            nodes = dict(self._nodes)
        asked = {machine: node.drain.remote() for machine, node in nodes.items()}
        _wait(asked, self._order.drain_s + 2 * DRAIN_MORE_S)
        left = []
        for machine, said in asked.items():
            try:
                ended = ray.get(said, timeout=0)
            except RayError as error:
                log.warning("a node was lost while it drained", machine=machine.address, error=str(error))
                ended = False
            if not ended:
                left.append(_unheard(machine, LOST))
            ray.kill(nodes[machine])
        return left

    def _heard(self, machine: Machine, said: Any) -> dict[str, Any]:
        now, heard_at = time.monotonic(), self._known.get(machine)
        heard_s = 0.0 if heard_at is None else now - heard_at
        try:
            report: dict[str, Any] = ray.get(said, timeout=0)
        except GetTimeoutError:
            return _unheard(machine, STARTING if heard_at is None else LOST, heard_s=heard_s)
        except RayError as error:
            return _unheard(machine, LOST, said=str(error), heard_s=heard_s)
        self._known[machine] = now
        return report

    def _look(self) -> None:
        pause = threading.Event()
        while not self._draining:
            try:
                self._place()
            except (RayError, ValueError, RuntimeError, ConnectionError) as error:
                # Ray's head is unreachable; nodes that run keep running.
                log.warning("machines cannot be looked at", error=str(error))
            except Exception:
                # This thread must not end, because nothing else places nodes.
                log.exception("machines cannot be looked at")
            pause.wait(LOOK_S)

    def _place(self) -> None:
        wanted = machines(ray.nodes())
        with self._changing:
            if self._draining:
                return
            for gone in self._nodes.keys() - set(wanted):
                # Frees the actor's name, so that nothing waits for the lost actor.
                ray.kill(self._nodes.pop(gone))
                self._known.pop(gone, None)
            for machine in missing(wanted, {each.id for each in self._nodes}):
                self._nodes[machine] = _placed(machine, self._order)


def _unheard(machine: Machine, state: str, **known: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(Report(machine.id, machine.address, machine.host, state, **known))
    return told


def _wait(asked: dict[Machine, Any], within_s: float) -> None:
    """Returns when every actor has answered, or after `within_s` seconds."""
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=within_s)


def _placed(machine: Machine, order: Order) -> Any:
    """The actor of a machine, created if it does not exist. It does exist if only the placer was restarted."""
    there = NodeAffinitySchedulingStrategy(machine.id, soft=False)
    return _lasting(Node, actor_name(machine.id), scheduling_strategy=there).remote(
        msgspec.to_builtins(machine), msgspec.to_builtins(order)
    )


def placer(order: Order) -> Any:
    """The cluster's placer, created if there is none."""
    return _lasting(Placer, PLACER).remote(msgspec.to_builtins(order))


def _lasting(actor: type, name: str, **options: Any) -> Any:
    """Options for an actor that is unique by name, outlives its creator, and is restarted when its process ends."""
    return ray.remote(actor).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        num_cpus=0,
        max_restarts=NEVER_GIVE_UP,
        max_concurrency=CONCURRENCY,
        **options,
    )
