"""A cluster of three machines under load: machines are killed and cut off, an agent and Ray's head killed; then judged.

Used by test_cluster_faults here and in the journeys. Machines are namespaces of the kernel; Ray, PostgreSQL and the
S3-speaking store are real. Never kills anything but what it started.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import requests
from tests.support import few_runtimes
from tests.support.machines import OWN, Machine, Network, network
from tests.support.postgresql import own_server
from tests.support.rays import PYTHON, Ray
from tests.support.s3 import own_store
from tests.support.signer import Api
from tests.torture import async_callers, cluster_calls, queue_check
from tests.torture.cluster_calls import ANYWHERE, CAP, CAPPED, Fault
from tests.torture.forked_sesame import ACCOUNT_ID, KEY_ID, REGION, SANDBOX, SECRET
from tests.torture.goodput import good_again
from tests.torture.ledger import Ledger
from tests.torture.queue_check import Kill
from tests.torture.queue_kill import ROLE, RUNTIME, deploy, deploy_function

from sesame.cluster.keys import make_key

NAMES = ("n1", "n2", "n3")
PORT = 9000
# Everything of a machine starts: Ray, its actor, the node, zygotes.
SERVES_S = 400.0
SETTLED_S = 400.0
# Calls flow undisturbed for so long before each fault.
CALM_S = 8.0
# Longer than it takes until a machine counts as lost.
CUT_S = 25.0
FAILED_SHARE_MAX = 0.001


class Plan(msgspec.Struct, frozen=True):
    """Which machines are killed and cut off, in this order; and whether an agent and Ray's head are killed."""

    killed: tuple[str, ...]
    cut: tuple[str, ...] = ()
    agent: bool = False
    head: bool = False


class Verdict(msgspec.Struct):
    """`recovered_s`: how long after each fault the machines that are left answer as often as before (`good_again`)."""

    events: str
    calls: int
    failed: list[cluster_calls.Call]
    most_instances: tuple[int, str]
    recovered_s: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        recovered = ", ".join(
            f"{what} {first:.1f} s (the last dip ended after {last:.1f} s)"
            for what, (first, last) in self.recovered_s.items()
        )
        return (
            f"{self.events}; {self.calls} calls, {len(self.failed)} of them failed without a reason; at most "
            f"{self.most_instances[0]} instances of a function that may have {CAP}; full goodput after {recovered}"
        )


def run(folder: Path, plan: Plan) -> Verdict:
    """Raises `AssertionError` for what is amiss; how long recoveries took is for the caller to judge."""
    with network(folder) as made, contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder / "ledger.jsonl", made.here))
        cluster = OnRay(folder, made, NAMES)
        server, store = stack.enter_context(own_server(made.here)), stack.enter_context(own_store(made.here))
        server.sql("CREATE DATABASE sesame TEMPLATE template0")
        database = server.url("sesame").replace("127.0.0.1", made.here)
        try:
            # The command loses Ray with the head, and is not needed for what goes on.
            detached = ("--detach",) if plan.head else ()
            cluster.start("--database", database, "--objects", store.new_url(), *detached)
            faults = _Faults(cluster, ledger)
            faults.deploy()
            faults.go_through(plan)
            verdict = faults.judged()
            if not plan.head:
                cluster.stop()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cluster.said()}") from error
    print(verdict)
    return verdict


class OnRay:
    """Ray, and Sesame on it, which a command on the head's machine starts and watches unless it is detached."""

    def __init__(
        self, folder: Path, made: Network, names: Sequence[str], environ: Mapping[str, str] | None = None
    ) -> None:
        """`environ` is set for Ray, and so for all that it starts."""
        self._folder = folder
        self.network = made
        self.ray = Ray(folder, made.add("head"))
        self.ray.environ |= environ or {}
        self.nodes = {name: made.add(name) for name in names}
        self._log = folder / "command.log"

    def start(self, *flags: str) -> None:
        """On return every node serves."""
        self.ray.start(self.ray.head)
        self.ray.start(*self.nodes.values())
        key, config = self._folder / "cluster.key", self._folder / "sesame.toml"
        make_key(key)
        config.write_text(f'[roles.{ROLE}]\npolicies = ["AliyunFCInvocationAccess"]\n')
        command = [PYTHON, "-m", "sesame", "start", "--cluster", "--cluster-key-file", str(key)]
        command += ["--config", str(config), "--data-dir", str(OWN / "data"), "--port", str(PORT), "--region", REGION]
        command += ["--sandbox", SANDBOX, "--network", "host", "--account-id", ACCOUNT_ID, "--access-key-id", KEY_ID]
        command += ["--access-key-secret", SECRET, *few_runtimes.flags(RUNTIME), *flags]
        with self._log.open("wb") as log:
            self._command = self.ray.head.popen(*command, log=log, environ=self.ray.environ)
        for machine in self.nodes.values():
            self.serves(machine)

    def stop(self) -> None:
        """Asks Ray for the end of all nodes, which had been said to serve; the command that watches ends with them."""
        status = self.sesame("cluster", "status")
        for machine in self.nodes.values():
            serves = f"{machine.address} ({machine.name}): serves at http://{machine.address}:{PORT}"
            assert serves in status, status
            assert serves in self._log.read_text()
        self.sesame("cluster", "stop")
        for machine in self.nodes.values():
            assert not machine.pids("sesame node"), machine.lines()
        assert self._command.wait(SERVES_S) == 0
        # Ray may have more to say.
        assert "Stopped, by another command.\n" in self._log.read_text()

    def sesame(self, *words: str, expect: int = 0) -> str:
        """What a command says on the head's machine."""
        return self.ray.head.run(PYTHON, "-m", "sesame", *words, environ=self.ray.environ, expect=expect)

    def api(self, machine: Machine) -> Api:
        return Api(f"http://{machine.address}:{PORT}", KEY_ID, SECRET)

    def serves(self, machine: Machine) -> None:
        """Waits until the node there answers."""
        _wait(lambda: self._answers(machine), f"an answer of {machine.name}", SERVES_S)

    def _answers(self, machine: Machine) -> bool:
        try:
            return self.api(machine)("GET", "/services").status_code == 200
        except requests.RequestException:
            return False

    def start_again(self, machine: Machine) -> None:
        """What a supervisor of machines does: Ray runs there again, if it does not."""
        if not machine.pids("/raylet/raylet "):
            self.ray.start(machine)

    def said(self) -> str:
        try:
            status = self.sesame("cluster", "status")
        except AssertionError as error:
            status = str(error)
        logs = [*self._folder.glob("command.log"), *sorted(self._folder.glob("n*/ray/session_2*/logs/worker-*.err"))]
        return status + "".join(f"--- {path}\n{path.read_text(errors='replace')[-3000:]}\n" for path in logs)


class _Faults:
    def __init__(self, cluster: OnRay, ledger: Ledger) -> None:
        self._cluster, self._ledger = cluster, ledger
        self.faults: list[Fault] = []
        nodes = cluster.nodes.items()
        self._events = [
            async_callers.Caller(f"event-{name}", cluster.api(machine), ledger, 1, async_callers.Pace())
            for name, machine in nodes
        ]
        self._calls = [
            cluster_calls.Caller(function, name, cluster.api(machine), ledger)
            for function in (ANYWHERE, CAPPED)
            for name, machine in nodes
        ]

    def deploy(self) -> None:
        api = self._cluster.api(self._cluster.nodes["n1"])
        deploy(api, self._ledger)
        for name in (ANYWHERE, CAPPED):
            deploy_function(api, name, "my_call")
        limit = msgspec.json.encode({"maximumInstanceCount": CAP})
        answer = api("PUT", f"/services/{async_callers.SERVICE}/functions/{CAPPED}/on-demand-config", limit)
        assert answer.status_code == 200, answer.text

    def go_through(self, plan: Plan) -> None:
        callers: list[async_callers.Caller | cluster_calls.Caller] = [*self._events, *self._calls]
        for caller in callers:
            caller.start()
        try:
            for machine in self._cluster.nodes.values():
                self._goes_on_at(machine)
            for name in plan.killed:
                self._kill(self._cluster.nodes[name])
            for name in plan.cut:
                self._cut(self._cluster.nodes[name])
            if plan.agent:
                self._kill_agent(self._cluster.nodes["n2"])
            if plan.head:
                self._kill_head()
            time.sleep(CALM_S)
        finally:
            for caller in callers:
                caller.stop()

    def _kill(self, machine: Machine) -> None:
        with self._noted("kill", machine.name):
            machine.kill()
            time.sleep(CUT_S)
            machine.start()
            self._cluster.ray.start(machine)
            self._goes_on_at(machine)

    def _cut(self, machine: Machine) -> None:
        with self._noted("cut", machine.name):
            machine.cut()
            time.sleep(CUT_S)
            machine.join()
            self._goes_on_at(machine, lambda: self._cluster.start_again(machine))

    def _kill_agent(self, machine: Machine) -> None:
        with self._noted("agent", ""):
            agents = [
                int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _is_follower(path, machine)
            ]
            assert len(agents) == 1, agents
            os.kill(agents[0], signal.SIGKILL)
            self._goes_on_at(machine)

    def _kill_head(self) -> None:
        with self._noted("head", ""):
            self._cluster.ray.head.kill()
            time.sleep(CUT_S)

    @contextlib.contextmanager
    def _noted(self, what: str, machine: str) -> Iterator[None]:
        time.sleep(CALM_S)
        began = time.monotonic()
        yield
        self.faults.append(Fault(what, machine, began, time.monotonic()))

    def _goes_on_at(self, machine: Machine, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Waits until calls are answered there that began after this."""
        now = time.monotonic()
        (caller,) = [each for each in self._calls if each.is_of(ANYWHERE, machine.name)]

        def answered() -> bool:
            meanwhile()
            return caller.answered_since(now) > 3

        _wait(answered, f"calls at {machine.name}", SERVES_S)

    def judged(self) -> Verdict:
        """Once nothing is under way any more."""
        api = self._cluster.api(self._cluster.nodes["n1"])
        _wait(lambda: not queue_check.under_way(api), "the final record of every event", SETTLED_S)
        sent = [event for caller in self._events for event in caller.sent]
        found = queue_check.all_records(api)
        _wait(
            lambda: not queue_check.missing_arrivals(sent, found, self._ledger.reports()),
            "the record of every event at its destination",
            SETTLED_S,
        )
        reports = self._ledger.reports()
        events = [report for report in reports if not report.id.startswith(cluster_calls.PREFIX)]
        kills = [Kill(f"{fault.what} {fault.machine}", fault.began, fault.ended) for fault in self.faults]
        accepted = queue_check.judge(sent, found, events, kills)
        calls = [call for caller in self._calls for call in caller.calls]
        failed = cluster_calls.failures(calls, reports, self.faults)
        verdict = Verdict(str(accepted), len(calls), failed, cluster_calls.most_instances(reports), self._recoveries())
        assert accepted.accepted > 100, f"too few events to judge anything: {verdict}"
        assert verdict.most_instances[0] <= CAP, str(verdict)
        assert len(failed) <= FAILED_SHARE_MAX * len(calls), f"{verdict}\n" + "\n".join(map(str, failed[:20]))
        return verdict

    def _recoveries(self) -> dict[str, tuple[float, float]]:
        """By fault; each is followed by some seconds in which nothing else is lost."""
        found = {}
        for fault in self.faults:
            answered = [
                call.ended for caller in self._calls for call in caller.calls if call.ran and call.at != fault.machine
            ]
            found[f"{fault.what} {fault.machine}".strip()] = good_again(answered, fault.began, fault.ended + CALM_S)
        return found


def _is_follower(comm: Path, machine: Machine) -> bool:
    with contextlib.suppress(OSError):
        return comm.read_text() == "sesame-agent-2\n" and int(comm.parent.name) in machine.lines()
    return False


def _wait(condition: Callable[[], bool], what: str, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} was not there after {within_s:.0f} s"
        time.sleep(0.25)
