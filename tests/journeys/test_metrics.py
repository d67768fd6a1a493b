"""The metrics of a running server say exactly what was done with it, and `sesame top` shows them.

Run by pytest, with the official SDK.
"""

import concurrent.futures
import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import fc2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.journeys.conftest import Deploy, Sesame, run, running, wait_until
from tests.support.interpreters import INTERPRETERS

RUNTIME = next((name for name in ("python3.10", "python3.9", "python3.12") if name in INTERPRETERS), "python3")

CALLERS = 4


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("measured"), "--metrics-port", "0", runtime=RUNTIME) as server:
        yield server


def samples(server: Sesame) -> dict[tuple[str, ...], float]:
    url = json.loads((server.data_dir / "endpoints.json").read_text())["metrics"]
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return {
        (
            sample.name,
            *(value for name, value in sorted(sample.labels.items(), reverse=True) if name != "le"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_say_what_was_done(measured: Sesame) -> None:
    client = measured.client()
    client.create_service("counted")
    deploy = Deploy(client, "counted", RUNTIME)
    call, fail = deploy("echo"), deploy("raises", handler="index.handler")
    before = samples(measured)
    for _ in range(5):
        call(b"event")
    for _ in range(2):
        with pytest.raises(fc2.FcError):
            fail(b"0")
    call(b"later", x_fc_invocation_type="Async")
    for _ in range(3):
        with pytest.raises(fc2.FcError):
            client.invoke_function("counted", "missing")

    def ran() -> Any:
        found = samples(measured)
        return found if found.get(("sesame_calls_total", "async", "counted", "success", "echo")) else None

    found = wait_until(ran, "the asynchronous call", 30)
    calls = {key[1:]: value for key, value in found.items() if key[0] == "sesame_calls_total"}
    assert calls == {
        ("sync", "counted", "success", "echo"): 5,
        ("async", "counted", "success", "echo"): 1,
        ("sync", "counted", "unhandled", "raises"): 2,
        ("sync", "(other)", "refused", "(other)"): 3,
    }
    assert found["sesame_call_duration_seconds_count", "sync", "counted", "echo"] == 5
    assert found["sesame_cold_starts_total", "counted", "raises"] == 1
    cold = found["sesame_cold_starts_total", "counted", "echo"]
    assert 1 <= cold <= 2
    assert found["sesame_cold_start_phase_seconds_count", "start"] == cold + 1
    assert found["sesame_instance_requests_total", "cold"] == cold + 1
    assert found["sesame_instance_requests_total", "warm"] == 8 - (cold + 1)
    assert found["sesame_function_memory_peak_bytes", "counted", "echo"] > 1024 * 1024
    assert found["sesame_store_writes_total",] > before["sesame_store_writes_total",]
    assert found["sesame_store_up",] == 1
    wait_until(lambda: samples(measured)["sesame_calls_in_flight",] == 0, "no call in flight")
    shown = json.loads(run(measured, "top", "--once", "--json").stdout)
    rows = {(row["service"], row["function"]): row for row in shown["functions"]}
    assert rows["counted", "echo"]["calls"] == 6
    assert rows["counted", "raises"]["errors"] == 2


def test_calls_in_flight_are_counted_wherever_they_are(measured: Sesame) -> None:
    client = measured.client()
    client.create_service("flying")
    Deploy(client, "flying", RUNTIME)("times")
    seen = threading.Event()

    def calling(_number: int) -> None:
        own = measured.client()
        while not seen.is_set():
            own.invoke_function("flying", "times", payload=b"0.5")

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(calling, number) for number in range(CALLERS)]
        try:
            wait_until(lambda: samples(measured)["sesame_calls_in_flight",] == CALLERS, "all calls in flight")
        finally:
            seen.set()
    for each in calls:
        each.result()
    wait_until(lambda: samples(measured)["sesame_calls_in_flight",] == 0, "no call in flight")


def test_top_says_how_a_server_gets_metrics(sesame: Sesame) -> None:
    assert "start it with --metrics-port" in run(sesame, "top", "--once", expect=1).stderr
