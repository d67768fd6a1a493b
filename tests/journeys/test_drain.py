"""How Sesame stops while calls are under way: they end, within their time, and new connections are refused."""

import concurrent.futures
import signal
import time
from pathlib import Path

import fc2
import psutil
import pytest
import requests
from fc2.fc_exceptions import FcError
from tests.journeys.conftest import Sesame, running, wait_until

CODE = """
import time

def my_handler(event, context):
    print("begun")
    time.sleep(float(event))
    return "slept"
"""
RUNTIME = "python3"
BEGUN_WITHIN_S = 60.0
# What stopping takes beside waiting for calls.
STOPPING_S = 40.0


def deploy(sesame: Sesame, folder: Path) -> fc2.Client:
    (folder / "code").mkdir()
    (folder / "code" / "main.py").write_text(CODE)
    client = sesame.client()
    client.create_service("s")
    code = str(folder / "code")
    client.create_function("s", "sleeps", RUNTIME, "main.my_handler", codeDir=code, timeout=60)
    return client


def begun(sesame: Sesame) -> None:
    """Returns when the function runs: its instance has come up."""
    wait_until(lambda: bool(sesame.instances()), "the call's instance", BEGUN_WITHIN_S)
    time.sleep(0.3)


def test_a_call_under_way_ends_well_and_no_other_is_let_in(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--drain-s", "30", runtime=RUNTIME) as sesame,
        concurrent.futures.ThreadPoolExecutor() as callers,
    ):
        client = deploy(sesame, tmp_path)
        call = callers.submit(client.invoke_function, "s", "sleeps", b"5")
        begun(sesame)
        process = psutil.Process(sesame.pid)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in sesame.said(), "its word that it stops")
        # Not by the SDK, which would try again for half a minute.
        with pytest.raises(requests.ConnectionError):
            requests.get(sesame.endpoint, timeout=60)
        assert not call.done()
        assert call.result(60).data == b"slept"
        sesame.ended()
        assert "running ones get 30 s to end" in sesame.said()


def test_a_call_that_takes_longer_is_ended_and_told(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--drain-s", "0.5", runtime=RUNTIME) as sesame,
        concurrent.futures.ThreadPoolExecutor() as callers,
    ):
        client = deploy(sesame, tmp_path)
        call = callers.submit(client.invoke_function, "s", "sleeps", b"55")
        begun(sesame)
        began = time.monotonic()
        psutil.Process(sesame.pid).send_signal(signal.SIGTERM)
        with pytest.raises(FcError) as failed:
            call.result(60)
        assert failed.value.status_code == 500
        sesame.ended()
        assert time.monotonic() - began < STOPPING_S


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with (
        running(tmp_path, "--drain-s", "50", runtime=RUNTIME) as sesame,
        concurrent.futures.ThreadPoolExecutor() as callers,
    ):
        client = deploy(sesame, tmp_path)
        call = callers.submit(client.invoke_function, "s", "sleeps", b"55")
        begun(sesame)
        began = time.monotonic()
        process = psutil.Process(sesame.pid)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in sesame.said(), "its word that it stops")
        process.send_signal(signal.SIGINT)
        with pytest.raises((FcError, requests.ConnectionError)):
            call.result(60)
        sesame.ended(code=130)
        assert time.monotonic() - began < STOPPING_S
        assert "Stopped at once." in sesame.said()
