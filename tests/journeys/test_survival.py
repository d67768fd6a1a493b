"""What survives: restarts, kills of the server, kills of instances."""

import collections
import concurrent.futures
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fc2
import fc2.client
import pytest
import requests
from fastcrc import crc64
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import FUNCTIONS, Sesame, running, wait_until

RUNTIME = "python3"
HELLO = str(FUNCTIONS / "journey_hello")
KILL_SEED = 20240607
CALLS, KILLED_FUNCTIONS = 1000, 20
GONE_AFTER_S = 2.0


def deployed(client: fc2.Client) -> dict[str, Any]:
    """Everything there is, as the API shows it."""
    services = client.list_services(limit=100).data["services"]
    return {
        service["serviceName"]: (service, client.list_functions(service["serviceName"], limit=100).data["functions"])
        for service in services
    }


@pytest.mark.thorough
def test_a_restart_keeps_everything(own_sesame: Sesame) -> None:
    client = own_sesame.client()
    for number in range(3):
        client.create_service(f"kept-{number}", description=f"number {number}")
        client.create_function(f"kept-{number}", "f", RUNTIME, "index.my_handler", codeDir=HELLO, timeout=7)
    client.create_service("dropped")
    client.delete_service("dropped")
    before = deployed(client)
    assert client.invoke_function("kept-1", "f").data == b"hello world"
    own_sesame.stop()
    own_sesame.start()
    client = own_sesame.client()
    assert deployed(client) == before
    assert client.invoke_function("kept-1", "f").data == b"hello world"


@pytest.fixture
def whole_sesame(tmp_path: Path) -> Iterator[Sesame]:
    """With every runtime, and so all processes that there can be."""
    with running(tmp_path) as server:
        yield server


@pytest.mark.alone  # It times the end of processes.
def test_kill_9_leaves_no_process_and_loses_nothing(whole_sesame: Sesame) -> None:
    client = whole_sesame.client()
    client.create_service("s")
    client.create_function("s", "warm", RUNTIME, "index.my_handler", codeDir=HELLO)
    client.create_function(
        "s", "busy", RUNTIME, "index.my_handler", codeDir=str(FUNCTIONS / "journey_slow"), timeout=60
    )
    client.invoke_function("s", "warm")
    calling = threading.Thread(target=lambda: _ignore_the_end(client, "busy"), daemon=True)
    calling.start()
    wait_until(lambda: len(whole_sesame.instances()) >= 2, "two instances")
    before = deployed(client)
    whole_sesame.kill()
    wait_until(lambda: not whole_sesame.processes(), "the end of every process", GONE_AFTER_S)
    whole_sesame.start()
    assert deployed(whole_sesame.client()) == before
    assert whole_sesame.client().invoke_function("s", "warm").data == b"hello world"


def _ignore_the_end(client: fc2.Client, function: str) -> None:
    try:
        fc2.Client.invoke_function(client, "s", function, payload=b"50")
    except Exception as error:  # noqa: BLE001 - whatever the killed server leaves the client with
        print(f"the call that was cut off: {type(error).__name__}")


@pytest.mark.thorough
def test_an_acknowledged_change_survives_kill_9_at_any_moment(
    own_sesame: Sesame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fc2.client, "retries", 0)
    acknowledged: list[str] = []
    for round_number in range(3):
        client, stop = own_sesame.client(), threading.Event()
        written = threading.Thread(target=_create_until, args=(client, f"r{round_number}", acknowledged, stop))
        written.start()
        wait_until(partial(_has, acknowledged, 5 * (round_number + 1)), "some changes", 30)
        own_sesame.kill()
        stop.set()
        written.join(60)
        own_sesame.start()
        client = own_sesame.client()
        assert set(acknowledged) <= set(deployed(client))
        for name in acknowledged:
            link = client.get_function_code(name, "f").data
            assert str(crc64.xz(requests.get(link["url"], timeout=60).content)) == link["checksum"]
        assert client.invoke_function(acknowledged[-1], "f").data == b"hello world"


def _has(items: list[str], least: int) -> bool:
    return len(items) >= least


def _create_until(client: fc2.Client, prefix: str, acknowledged: list[str], stop: threading.Event) -> None:
    client.timeout = 5
    for number in range(60):
        if stop.is_set():
            return
        name = f"{prefix}-{number:03d}"
        try:
            client.create_service(name)
            client.create_function(name, "f", RUNTIME, "index.my_handler", codeDir=HELLO)
        except Exception as error:  # noqa: BLE001 - not acknowledged, so nothing is promised
            print(f"{name} was not acknowledged: {type(error).__name__}")
            return
        acknowledged.append(name)


@pytest.mark.torture
def test_calls_while_instances_are_killed_at_random_thousandfold(own_sesame: Sesame) -> None:
    calls_while_killing(own_sesame, calls=5 * CALLS)


@pytest.mark.thorough
def test_calls_while_instances_are_killed_at_random(own_sesame: Sesame) -> None:
    calls_while_killing(own_sesame, calls=CALLS)


def calls_while_killing(sesame: Sesame, *, calls: int) -> None:
    """Calls whose instance lived return their exact result, the others `Process exited unexpectedly`; both add up."""
    client, chance = sesame.client(), random.Random(KILL_SEED)
    client.create_service("s")
    code = str(FUNCTIONS / "journey_square")
    functions = [f"f{number:02d}" for number in range(KILLED_FUNCTIONS)]
    for name in functions:
        client.create_function("s", name, RUNTIME, "index.my_handler", codeDir=code, timeout=30)
    results: collections.Counter[str] = collections.Counter()
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=_kill_instances, args=(sesame, chance, killed, over))

    def call(number: int) -> None:
        function = functions[number % KILLED_FUNCTIONS]
        event = json.dumps({"number": number, "pause_s": 0.1}).encode()
        failed, answer = outcome(client, function, event)
        if failed:
            assert answer["errorMessage"].startswith("Process exited unexpectedly before completing request"), answer
        else:
            assert (answer["function"], answer["square"]) == (function, number**2)
        results["killed" if failed else "answered"] += 1

    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=16) as callers:
            for done in concurrent.futures.as_completed([callers.submit(call, number) for number in range(calls)]):
                done.result()
    finally:
        over.set()
        killer.join()
    assert results["killed"] + results["answered"] == calls
    assert len(killed) > 10
    assert 0 < results["killed"] <= len(killed)
    assert results["answered"] > 0
    print(f"{calls} calls: {results['answered']} answered, {results['killed']} cut off by {len(killed)} kills")


def outcome(client: fc2.Client, function: str, event: bytes) -> tuple[bool, dict[str, Any]]:
    """Whether the function failed, and what it said; any other failure is raised."""
    try:
        return False, json.loads(client.invoke_function("s", function, payload=event).data)
    except FcError as error:
        if error.status_code != 200:
            raise
        return True, json.loads(error.message)


def _kill_instances(sesame: Sesame, chance: random.Random, killed: list[int], over: threading.Event) -> None:
    while not over.wait(chance.uniform(0.01, 0.1)):
        alive = sorted(process.pid for process in sesame.instances())
        if alive:
            victim = chance.choice(alive)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(victim)
