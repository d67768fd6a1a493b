"""Asynchronous calls beside several agents: every agent runs some, and none is lost or ends twice when one dies."""

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from tests.journeys.conftest import FUNCTIONS, Sesame, running, wait_until
from tests.journeys.test_agents import AGENTS, RUNTIME, a_follower_of, agent_of, agents_of, writer_of
from tests.journeys.test_async import ASYNC, Calls, states

EVENTS = 200
ASYNC_CODE = str(FUNCTIONS / "journey_async")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("agents"), "--agents", str(AGENTS), runtime=RUNTIME) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


def deployed(server: Sesame, service: str) -> Calls:
    client = server.client()
    client.create_service(service)
    client.create_function(service, "f", RUNTIME, "index.my_handler", codeDir=ASYNC_CODE, memorySize=128, timeout=60)
    return Calls(client, service)


def invoked(calls: Calls, sleep_s: float, count: int = EVENTS) -> list[str]:
    names = [f"event-{number}" for number in range(count)]
    for name in names:
        calls.invoke(name, {"sleep": sleep_s})
    return names


def agents_with_instances(server: Sesame) -> set[int]:
    return {agent_of(each, server) for each in server.instances()} - {0}


def require_one_end_each(calls: Calls, names: list[str]) -> list[Any]:
    ended = [calls.ended(name) for name in names]
    assert {each["status"] for each in ended} == {"Succeeded"}
    assert [states(each).count("Succeeded") for each in ended] == [1] * len(names)
    return ended


def test_every_agent_runs_some_of_many(several: Sesame) -> None:
    calls = deployed(several, "spread")
    names = invoked(calls, 0.3)
    seen: set[int] = set()

    def every_agent_has_some() -> bool:
        seen.update(agents_with_instances(several))
        return len(seen) == AGENTS

    wait_until(every_agent_has_some, "instances on every agent")
    ended = require_one_end_each(calls, names)
    assert {each["alreadyRetriedTimes"] for each in ended} == {0}
    assert len({each["instanceId"] for each in ended}) >= AGENTS


@pytest.mark.thorough
def test_versions_of_a_canary_run_on_every_agent(several: Sesame) -> None:
    deployed(several, "canary")
    client, versions = several.client(), []
    for memory_mb in (128, 192):
        client.update_function("canary", "f", memorySize=memory_mb)
        versions.append(client.publish_version("canary").data["versionId"])
    client.create_alias("canary", "live", versions[0], additionalVersionWeight={versions[1]: 0.5})
    calls = Calls(client, "canary.live")
    names = invoked(calls, 0.3, 80)
    wait_until(lambda: len(agents_with_instances(several)) == AGENTS, "instances on every agent")
    require_one_end_each(calls, names)


def test_calls_fill_instances_that_serve_several(several: Sesame) -> None:
    client = several.client()
    client.create_service("shared")
    client.create_function(
        "shared", "f", runtime="custom", handler="index.handler", codeDir=str(FUNCTIONS / "custom_server"),
        memorySize=128, timeout=20, instanceConcurrency=4,
    )  # fmt: skip
    calls, names = Calls(client, "shared"), [f"event-{number}" for number in range(40)]
    for name in names:
        headers = {**ASYNC, "x-fc-stateful-async-invocation-id": name}
        client.invoke_function("shared", "f", payload=b"sleep 0.3", headers=headers)
    ended = require_one_end_each(calls, names)
    assert len({each["instanceId"] for each in ended}) <= 10


def test_what_is_called_now_and_then_has_one_instance(several: Sesame) -> None:
    calls = deployed(several, "seldom")
    ended = []
    for number in range(2 * AGENTS):
        calls.invoke(f"event-{number}", {})
        ended.append(calls.ended(f"event-{number}"))
    assert len({each["instanceId"] for each in ended}) == 1


def test_retries_are_counted_wherever_they_run(several: Sesame) -> None:
    calls = deployed(several, "retried")
    names = [f"event-{number}" for number in range(4 * AGENTS)]
    for name in names:
        calls.invoke(name, {"failures": 1, "sleep": 0.2})
    ended = [calls.ended(name) for name in names]
    assert {(each["status"], each["alreadyRetriedTimes"]) for each in ended} == {("Succeeded", 1)}


def test_of_one_that_is_stopped_the_instance_is_killed_and_no_other(several: Sesame) -> None:
    calls = deployed(several, "stopped")
    # No more than run at a time on a busy machine of two processors.
    names = invoked(calls, 50, AGENTS)
    wait_until(lambda: all(calls.get(name)["status"] == "Running" for name in names), "all of them")
    assert agents_with_instances(several) == {each.pid for each in agents_of(several)}
    while names:
        name = names.pop()
        calls.stop(name)
        assert calls.ended(name)["status"] == "Stopped"
        assert [calls.get(other)["status"] for other in names] == ["Running"] * len(names)


@pytest.mark.parametrize("who", [pytest.param("follower", marks=pytest.mark.thorough), "writer"])
def test_none_is_lost_with_an_agent_that_is_killed(several: Sesame, who: str) -> None:
    calls = deployed(several, f"killed-{who}")
    names = invoked(calls, 0.3, 80)
    wait_until(lambda: len(agents_with_instances(several)) == AGENTS, "instances on every agent")
    killed: psutil.Process = a_follower_of(several) if who == "follower" else writer_of(several)
    killed.send_signal(signal.SIGKILL)
    ended = require_one_end_each(calls, names)
    assert {each["alreadyRetriedTimes"] for each in ended} == {0}, "an agent that ends is no failure of the function"
    wait_until(lambda: len(agents_of(several)) == AGENTS, "as many agents as before")
