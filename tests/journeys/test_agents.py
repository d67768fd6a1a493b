"""Several agents on one port: each API at each of them, caps that hold over all, and what dies comes back."""

import contextlib
import functools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import fc2
import psutil
import pytest
import requests
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import FUNCTIONS, Sesame, run, running, wait_until
from tests.support.timed_calls import THREADS, require_cap, timed_calls
from tests.torture.agents_calls import Calls

RUNTIME = "python3"
AGENTS = 3
CALLS_A_SECOND = 10.0
REPLACED = "All agents have been replaced"
HELLO, TIMES = str(FUNCTIONS / "journey_hello"), str(FUNCTIONS / "journey_times")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("agents"), "--agents", str(AGENTS), runtime=RUNTIME) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


def agents_of(server: Sesame) -> list[psutil.Process]:
    return [each for each in psutil.Process(server.pid).children() if _lives(each)]


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def writer_of(server: Sesame) -> psutil.Process:
    """It alone has the data directory."""

    def found() -> list[psutil.Process]:
        text = (server.data_dir / "lock").read_text()
        return [each for each in agents_of(server) if str(each.pid) == text]

    writer: psutil.Process = wait_until(found, "a writer")[0]
    return writer


def deployed(server: Sesame, service: str, folder: str) -> fc2.Client:
    client = server.client()
    client.create_service(service)
    client.create_function(service, "f", RUNTIME, "index.my_handler", codeDir=folder, memorySize=128)
    return client


def test_a_function_that_is_called_now_and_then_has_one_instance(several: Sesame) -> None:
    client = deployed(several, "seldom", HELLO)
    answers = [client.invoke_function("seldom", "f") for _ in range(3 * AGENTS)]
    assert len({answer.headers["X-Fc-Instance-Id"] for answer in answers}) == 1
    assert [answer.headers.get("X-Sesame-Cold-Start") for answer in answers] == ["true"] + [None] * (3 * AGENTS - 1)


def test_every_agent_serves_calls_and_all_instances_are_listed(several: Sesame) -> None:
    client = deployed(several, "spread", TIMES)
    served: set[str] = set()

    def every_agent_has_some() -> bool:
        served.update(instance for instance, _began, _ended in timed_calls([client], "spread", 5 * THREADS))
        return len({agent_of(each, several) for each in several.instances()} - {0}) == AGENTS

    wait_until(every_agent_has_some, "instances on every agent")
    listed = {each["instanceId"] for each in client.list_instances("spread", "LATEST", "f").data["instances"]}
    assert served <= listed


def agent_of(instance: psutil.Process, server: Sesame) -> int:
    """The process below the supervisor from which the instance comes; 0 for one that has ended meanwhile."""
    try:
        line = [instance.pid, *(each.pid for each in instance.parents())]
    except psutil.NoSuchProcess:
        return 0
    return line[line.index(server.pid) - 1] if server.pid in line else 0


@pytest.mark.parametrize("cap", [1, 3])
def test_a_cap_holds_over_all_agents(several: Sesame, cap: int) -> None:
    service = f"cap-{cap}"
    client = deployed(several, service, TIMES)
    client.put_on_demand_config(service, "LATEST", "f", cap)
    require_cap(timed_calls([client], service, 20 * THREADS), cap)


def test_an_update_is_seen_by_every_agent_from_the_moment_it_is_answered(several: Sesame, tmp_path: Path) -> None:
    client = deployed(several, "updated", HELLO)
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "index.py").write_text(f"def my_handler(event, context):\n    return 'state {number}'\n")
        client.update_function("updated", "f", codeDir=str(folder))
        answers = [client.invoke_function("updated", "f").data for _ in range(2 * AGENTS)]
        assert answers == [f"state {number}".encode()] * (2 * AGENTS)
    client.delete_function("updated", "f")
    for _ in range(2 * AGENTS):
        with pytest.raises(FcError) as missing:
            client.invoke_function("updated", "f")
        assert missing.value.status_code == 404


class Load:
    """Calls in as many threads as there may be, each on a connection of its own, until the end."""

    def __init__(self, client: fc2.Client, service: str) -> None:
        self._client, self._service = client, service
        self._over = threading.Event()
        self.served = 0
        self.lost: list[requests.ConnectionError] = []
        self.failed: list[Exception] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        while not self._over.is_set():
            try:
                self._client.invoke_function(self._service, "f", payload=b"0.02")
                self.served += 1
            except requests.ConnectionError as error:
                self.lost.append(error)
            except Exception as error:  # noqa: BLE001 (told by the test)
                self.failed.append(error)

    def goes_on(self) -> None:
        before = self.served
        wait_until(lambda: self.served > before + 5 * THREADS or self.failed, "calls that go on")

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("which", ["a follower", "the writer"])
def test_calls_that_were_not_on_a_killed_agent_are_served_and_it_comes_back(several: Sesame, which: str) -> None:
    service = which.replace(" ", "-")
    client = deployed(several, service, TIMES)
    load = Load(client, service)
    try:
        for _ in range(2):
            load.goes_on()
            writer, lost = writer_of(several), len(load.lost)
            killed = writer if which == "the writer" else next(a for a in agents_of(several) if a != writer)
            killed.kill()
            load.goes_on()
            wait_until(lambda: len(agents_of(several)) == AGENTS, "as many agents as before")
            assert len(load.lost) - lost <= THREADS
    finally:
        load.end()
    assert load.failed == []
    assert "a message of another agent failed" not in several.said()
    wait_until(lambda: client.get_function(service, "f").data["functionName"] == "f", "the control plane")
    client.delete_function(service, "f")


def a_follower_of(server: Sesame) -> psutil.Process:
    writer = writer_of(server)
    return next(each for each in agents_of(server) if each != writer)


def ended(hung: psutil.Process) -> None:
    """Whoever has not killed it yet does so now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        hung.kill()


def test_a_follower_that_hangs_is_killed_before_a_change_is_answered(several: Sesame, tmp_path: Path) -> None:
    client = deployed(several, "hangs", HELLO)
    hung = a_follower_of(several)
    hung.send_signal(signal.SIGSTOP)
    (tmp_path / "index.py").write_text("def my_handler(event, context):\n    return 'new'\n")
    try:
        client.update_function("hangs", "f", codeDir=str(tmp_path))
        assert "does not answer: it is killed" in several.said()
    finally:
        ended(hung)
    wait_until(lambda: len(agents_of(several)) == AGENTS, "as many agents as before")
    assert [client.invoke_function("hangs", "f").data for _ in range(2 * AGENTS)] == [b"new"] * (2 * AGENTS)


@pytest.mark.thorough
def test_a_follower_that_hangs_does_not_hold_up_the_next_writer(several: Sesame) -> None:
    client = deployed(several, "hangs-too", HELLO)
    hung, writer = a_follower_of(several), writer_of(several)
    hung.send_signal(signal.SIGSTOP)
    writer.kill()
    try:
        wait_until(lambda: len(agents_of(several)) == AGENTS and hung not in agents_of(several), "as many agents")
        assert client.get_function("hangs-too", "f").data["functionName"] == "f"
    finally:
        ended(hung)


def test_the_writer_that_hangs_is_killed_and_the_next_one_serves(several: Sesame) -> None:
    client = deployed(several, "hung-writer", HELLO)
    hung = writer_of(several)
    hung.send_signal(signal.SIGSTOP)
    try:
        assert client.get_function("hung-writer", "f").data["functionName"] == "f"
    finally:
        ended(hung)
    assert writer_of(several) != hung
    assert "Agent 1 does not answer: it is killed" in several.said()


@pytest.fixture(scope="module")
def restarting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """One that has its own command line, as from a shell, and settings that can change."""
    folder = tmp_path_factory.mktemp("restarting")
    (folder / "sesame.toml").write_text(f'agents = "{AGENTS}"\n')
    flags = ("--config", str(folder / "sesame.toml"), "--drain-s", "60")
    with running(folder, *flags, runtime=RUNTIME, program=("-m", "sesame"), agents=None) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


@pytest.mark.parametrize("commands", [("upgrade",), pytest.param(("restart", "upgrade"), marks=pytest.mark.thorough)])
def test_a_restart_or_an_upgrade_replaces_every_agent_and_no_call_fails(
    restarting: Sesame, commands: tuple[str, ...]
) -> None:
    service, times = f"replaced-{len(commands)}", restarting.said().count(REPLACED)
    calls, before = Calls(restarting, service, RUNTIME), agents_of(restarting)
    with calls.at(CALLS_A_SECOND) as callers:
        for number, command in enumerate(commands, times + 1):
            assert "ready again" in run(restarting, command).stderr
            wait_until(functools.partial(_all_replaced, restarting, number), "its end")
        seen = callers.stop()
    assert seen.failed == {}
    assert len(seen.waits_s) > AGENTS
    calls.settled(seen.accepted)
    assert len(agents_of(restarting)) == AGENTS
    assert not set(agents_of(restarting)).intersection(before)


def _all_replaced(server: Sesame, times: int) -> bool:
    return server.said().count(REPLACED) == times


def test_a_restart_with_settings_that_do_not_hold_ends_nothing(restarting: Sesame) -> None:
    settings, before = restarting.data_dir.parent / "sesame.toml", agents_of(restarting)
    text = settings.read_text()
    settings.write_text(text + 'keep_alive = "long"\n')
    try:
        assert "goes on as it is" in run(restarting, "restart", expect=1).stderr
    finally:
        settings.write_text(text)
    assert agents_of(restarting) == before


@pytest.mark.thorough
@pytest.mark.parametrize("agents", [1, AGENTS])
def test_a_restart_with_another_number_of_agents_replaces_all_together(restarting: Sesame, agents: int) -> None:
    service = f"with-{agents}"
    deployed(restarting, service, TIMES)
    (restarting.data_dir.parent / "sesame.toml").write_text(f'agents = "{agents}"\n')
    assert "ready again" in run(restarting, "restart").stderr
    wait_until(lambda: len(agents_of(restarting)) == agents, "as many agents as are set")
    assert restarting.client().get_function(service, "f").data["functionName"] == "f"


def test_commands_reach_the_instances_of_every_agent(several: Sesame) -> None:
    client = deployed(several, "commanded", TIMES)
    timed_calls([client], "commanded", 5 * THREADS)
    instances = client.list_instances("commanded", "LATEST", "f").data["instances"]
    assert instances
    for each in instances:
        said: list[str] = []
        opened = client.instance_exec(
            "commanded",
            "LATEST",
            "f",
            each["instanceId"],
            params={"command": ["echo", "here"], "stdin": "false", "stdout": "true", "stderr": "true", "tty": "false"},
            hooks={"on_stdout": lambda _each, text, said=said: said.append(text)},
        )
        opened.ws.run_forever()
        assert said == ["here\n"]


def test_what_every_agent_ran_is_in_the_functions_log(several: Sesame) -> None:
    client = deployed(several, "logged", TIMES)
    calls = len(timed_calls([client], "logged", 5 * THREADS))

    def ends() -> int:
        return run(several, "logs", "logged/f").stdout.count("FC Invoke End")

    wait_until(lambda: ends() == calls, "the log of each call")
