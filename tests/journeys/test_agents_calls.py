"""Calls that every one of several agents serves, beside those of the API that `test_agents` makes."""

import concurrent.futures
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tests.journeys.conftest import FUNCTIONS, KEY_ID, SECRET, Sesame, running, wait_until
from tests.journeys.test_agents import AGENTS, RUNTIME, TIMES, agent_of, deployed
from tests.support import acs
from tests.support.timed_calls import THREADS
from tests.support.web_apps import with_uvicorn
from websockets.sync.client import connect

# Answers what it was sent, a little later, so that calls are many at a time.
WEB = """
import time

def my_handler(environ, start_response):
    time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))]
"""
ALL = {"authType": "anonymous", "methods": ["GET", "POST"]}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("agents"), "--agents", str(AGENTS), runtime=RUNTIME, agents=None) as server:
        wait_until(lambda: f"{AGENTS} agents serve" in server.said(), "all agents")
        yield server


def instances_on_every_agent(server: Sesame, calls: Callable[[], object]) -> None:
    """Makes calls until each agent has instances of its own."""

    def made() -> bool:
        calls()
        return len({agent_of(each, server) for each in server.instances()} - {0}) == AGENTS

    wait_until(made, "instances on every agent")


@pytest.fixture
def site(several: Sesame, tmp_path: Path) -> str:
    """The service of an HTTP function `f`, which `t` lets anybody call."""
    (tmp_path / "index.py").write_text(WEB)
    client, service = several.client(), f"web-{next(_numbers)}"
    client.create_service(service)
    client.create_function(service, "f", RUNTIME, "index.my_handler", codeDir=str(tmp_path), memorySize=128)
    client.create_trigger(service, "f", "t", "http", ALL, None, None)
    return service


_numbers = itertools.count(1)


@pytest.mark.parametrize("way", ["proxy", "domain"])
def test_http_functions_are_served_by_every_agent(several: Sesame, site: str, way: str) -> None:
    host, path = several.endpoint.removeprefix("http://"), f"/2016-08-15/proxy/{site}/f/"
    if way == "domain":
        host, path = f"{site}.example.com", "/a"
        route = {"path": "/*", "serviceName": site, "functionName": "f"}
        several.client().create_custom_domain(host, "HTTP", {"routes": [route]})

    def called(number: int) -> str:
        body = b"%d" % number * 1000
        return requests.post(several.endpoint + path, data=body, headers={"host": host}, timeout=60).text

    def calls() -> None:
        numbers = range(5 * THREADS)
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            assert list(threads.map(called, numbers)) == [str(number) * 1000 for number in numbers]

    instances_on_every_agent(several, calls)
    if way == "proxy":
        gone = 404
        several.client().delete_trigger(site, "f", "t")
    else:
        gone = 400
        several.client().delete_custom_domain(host)
    answers = [requests.post(several.endpoint + path, headers={"host": host}, timeout=60) for _ in range(2 * AGENTS)]
    assert [each.status_code for each in answers] == [gone] * (2 * AGENTS)


def test_a_change_of_an_http_trigger_is_seen_by_every_agent(several: Sesame, site: str) -> None:
    client, url = several.client(), f"{several.endpoint}/2016-08-15/proxy/{site}/f/"

    def statuses() -> set[int]:
        return {requests.post(url, timeout=60).status_code for _ in range(2 * AGENTS)}

    assert statuses() == {200}
    for _ in range(5):
        client.update_trigger(site, "f", "t", triggerConfig={**ALL, "methods": ["GET"]})
        assert statuses() == {405}
        client.update_trigger(site, "f", "t", triggerConfig={**ALL, "authType": "function"})
        assert statuses() == {400}
        client.update_trigger(site, "f", "t", triggerConfig=ALL)
        assert statuses() == {200}


def test_calls_signed_with_a_nonce_are_served_by_every_agent_and_none_twice(several: Sesame) -> None:
    deployed(several, "nonces", TIMES)
    host, path = several.endpoint.removeprefix("http://"), "/2021-04-06/services/nonces/functions/f/invocations"
    names = (*acs.SIGNED, "x-acs-signature-nonce")

    def called(nonce: str) -> int:
        headers = {"host": host, "x-acs-signature-nonce": nonce, "x-acs-version": "2021-04-06"}
        sent = acs.signed("POST", path, headers, b"0.05", keys=(KEY_ID, SECRET), at=time.time(), names=names)
        return requests.post(several.endpoint + path, b"0.05", headers=sent, timeout=60).status_code

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:

        def calls() -> None:
            new = [f"new-{next(_numbers)}" for _ in range(5 * THREADS)]
            assert list(threads.map(called, new)) == [200] * len(new)

        instances_on_every_agent(several, calls)
        for number in range(5):
            assert sorted(threads.map(called, [f"same-{number}"] * THREADS)) == [200] + [400] * (THREADS - 1)


@pytest.mark.thorough
def test_versions_of_a_canary_are_served_by_every_agent_in_their_shares(several: Sesame) -> None:
    """Each call is drawn for once, also one that moves to the agent that has an idle instance of its version."""
    client = deployed(several, "canary", TIMES)
    versions = []
    for memory_mb in (128, 192):
        client.update_function("canary", "f", memorySize=memory_mb)
        versions.append(client.publish_version("canary").data["versionId"])
    client.create_alias("canary", "live", versions[0], additionalVersionWeight={versions[1]: 0.5})
    served: list[str] = []

    def call(_number: int) -> None:
        # On a connection of its own, to whichever agent.
        answer = several.client().invoke_function("canary", "f", payload=b"0.02", qualifier="live")
        served.append(answer.headers["X-Fc-Invocation-Service-Version"])

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        instances_on_every_agent(several, lambda: list(threads.map(call, range(10 * THREADS))))
        served.clear()
        list(threads.map(call, range(300)))
    # Within seven standard deviations.
    assert 90 < served.count(versions[1]) < 210


def test_calls_take_provisioned_instances_first_and_those_beyond_run_on_every_agent(several: Sesame) -> None:
    client = deployed(several, "provisioned", TIMES)
    client.publish_version("provisioned")
    client.create_alias("provisioned", "live", "1")
    client.put_provision_config("provisioned", "live", "f", 1)
    wait_until(
        lambda: client.get_provision_config("provisioned", "live", "f").data["current"] == 1, "a provisioned instance"
    )

    def call(number: int) -> str:
        # On a connection of its own, to whichever agent.
        sent = b"0.2" if number else b"0.02"
        answer = several.client().invoke_function("provisioned", "f", payload=sent, qualifier="live")
        return str(answer.headers["X-Fc-Instance-Id"])

    (provisioned,) = {call(0) for _ in range(3 * AGENTS)}
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        instances_on_every_agent(several, lambda: list(threads.map(call, range(1, 5 * THREADS))))
    # Others are warm on every agent by now.
    assert {call(0) for _ in range(3 * AGENTS)} == {provisioned}


def several_calls(server: Sesame, service: str, **options: object) -> Callable[[bytes], Callable[[int], str]]:
    """Deploys a function whose instances serve THREADS calls at a time; gives calls with an event, and who served."""
    client = server.client()
    client.create_service(service)
    options = {"runtime": "custom", "memorySize": 128, "timeout": 20, "instanceConcurrency": THREADS, **options}
    client.create_function(service, "f", handler="index.handler", codeDir=str(FUNCTIONS / "custom_server"), **options)

    def of(event: bytes) -> Callable[[int], str]:
        def call(_number: int) -> str:
            # On a connection of its own, to whichever agent.
            answer = server.client().invoke_function(service, "f", event)
            assert answer.data == b"slept"
            return str(answer.headers["X-Fc-Instance-Id"])

        return call

    return of


def test_one_instance_serves_several_calls_that_come_to_any_agent(several: Sesame) -> None:
    calling = several_calls(several, "one-instance")
    several.client().put_on_demand_config("one-instance", "LATEST", "f", 1)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        # More than one at a time would be refused, if each needed an instance. Cold, and warm.
        for _ in range(3):
            assert len(set(threads.map(calling(b"sleep 0.5"), range(THREADS)))) == 1


def test_instances_of_several_calls_are_on_every_agent(several: Sesame) -> None:
    calling = several_calls(several, "on-every-agent", instanceConcurrency=2)
    with concurrent.futures.ThreadPoolExecutor(2 * THREADS) as threads:
        instances_on_every_agent(several, lambda: list(threads.map(calling(b"sleep 0.1"), range(5 * THREADS))))


def test_websockets_and_requests_meet_in_one_instance_whichever_agent_they_come_to(
    several: Sesame, tmp_path: Path
) -> None:
    folder, client = with_uvicorn(FUNCTIONS / "custom_asgi", tmp_path / "code"), several.client()
    client.create_service("sockets")
    client.create_function(
        "sockets", "f", codeDir=str(folder), handler="app.app", runtime="custom.debian12", memorySize=256, timeout=600,
        instanceConcurrency=2 * THREADS,
    )  # fmt: skip
    client.create_trigger("sockets", "f", "t", "http", ALL, None, None)
    client.put_on_demand_config("sockets", "LATEST", "f", 1)
    site = f"{several.endpoint}/2016-08-15/proxy/sockets/f"
    with requests.get(f"{site}/gated", stream=True, timeout=60) as answer, contextlib.ExitStack() as opened:
        pieces = answer.iter_lines()
        assert next(pieces) == b"data: first"
        url = site.replace("http://", "ws://") + "/socket"
        sockets = [opened.enter_context(connect(url, open_timeout=60)) for _ in range(2 * AGENTS)]
        for number, each in enumerate(sockets):
            each.send(f"{number}")
            assert each.recv(60) == f"{number}"
        assert requests.post(f"{site}/open", timeout=60).text == "opened"
        assert [next(pieces), next(pieces)] == [b"", b"data: 0"]
