"""Faults of the machine under asynchronous calls: a full disk, a database that is gone, a destination that hangs.

Each ends by itself: callers hear what is wrong, what was accepted is kept and run, and Sesame is not restarted.
"""

import asyncio
import base64
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.journeys.conftest import ACCOUNT_ID, KEY_ID, REGION, SECRET, Sesame, running, wait_until
from tests.support.postgresql import TEMPLATE, Server, own_server
from tests.support.signer import Api
from tests.support.zips import zip_of

from sesame import app
from sesame.model.clocks import SystemClocks
from sesame.settings import Settings

RUNTIME = "python3.10"
DISK_MB = 32
# A caller must hear within this time that its event cannot be kept.
REFUSED_WITHIN_S = 45.0
SETTLED_WITHIN_S = 60.0
UNDER_WAY = ("Enqueued", "Dequeued", "Running", "Retrying")
ECHO = "def my_handler(event, context):\n    return event\n"


class Calls:
    """Asynchronous calls of one function, and what was answered to each."""

    def __init__(self, api: Api, function: str = "echo") -> None:
        self.api = api
        self.function = function
        self.accepted: list[str] = []

    def call(self, name: str, payload: bytes = b"event") -> requests.Response:
        headers = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": name}
        answer = self.api.invoke("s", self.function, payload, headers)
        if answer.status_code == 202:
            self.accepted.append(name)
        return answer

    def refused(self, name: str, payload: bytes = b"event") -> bool:
        """Whether this call was refused; a refusal comes in time and says that nothing was accepted."""
        began = time.monotonic()
        answer = self.call(name, payload)
        assert time.monotonic() - began < REFUSED_WITHIN_S
        if answer.status_code == 202:
            return False
        assert (answer.status_code, answer.json()["ErrorCode"]) == (503, "ServiceUnavailable"), answer.text
        assert "was not accepted" in answer.json()["ErrorMessage"], answer.text
        assert answer.headers["X-Fc-Request-Id"]
        return True

    def states(self) -> dict[str, str]:
        return {name: self.record(name)["status"] for name in self.accepted}

    def record(self, name: str) -> dict[str, Any]:
        answer = self.api("GET", f"/services/s/functions/{self.function}/stateful-async-invocations/{name}")
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def all_succeeded(self) -> bool:
        return set(self.states().values()) == {"Succeeded"}


def deploy(api: Api, name: str = "echo", code: str = ECHO, **destinations: str) -> Calls:
    api("POST", "/services", json.dumps({"serviceName": "s"}))
    function = {
        "functionName": name,
        "runtime": RUNTIME,
        "handler": "index.my_handler",
        "memorySize": 128,
        "timeout": 20,
        "code": {"zipFile": base64.b64encode(zip_of({"index.py": code})).decode()},
    }
    assert api("POST", "/services/s/functions", json.dumps(function)).status_code == 200
    config = {
        "statefulInvocation": True,
        "maxAsyncRetryAttempts": 0,
        "destinationConfig": {outcome: {"destination": url} for outcome, url in destinations.items()},
    }
    answer = api("PUT", f"/services/s/functions/{name}/async-invoke-config", json.dumps(config))
    assert answer.status_code == 200, answer.text
    return Calls(api, name)


class SmallDisk:
    """A Sesame whose data directory is a file system of its own that can be filled; killed and started like any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._disk = folder / "disk"
        self._disk.mkdir()

    def start(self) -> Api:
        sesame = [sys.executable, "-m", "sesame", "start", "--data-dir", str(self._disk / "data"), "--sandbox", "plain"]
        sesame += ["--port", "0", "--oss-port", "0", "--account-id", ACCOUNT_ID, "--region", REGION]
        sesame += ["--access-key-id", KEY_ID, "--access-key-secret", SECRET, "--log-max-mb", "16"]
        mount = 'mount -t tmpfs -o size="$1"m none "$2" && shift 2 && exec "$@"'
        namespace = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user"))]
        with (self._folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(
                [*namespace, "sh", "-c", mount, "sh", str(DISK_MB), str(self._disk), *sesame],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ready = self.inside("data/endpoints.json")
        wait_until(lambda: process.poll() is not None or _there(ready), "endpoints.json", 60)
        assert process.poll() is None, self.said()
        return Api(json.loads(ready.read_text())["fc"], KEY_ID, SECRET)

    def inside(self, name: str) -> Path:
        """A path on the disk, which only this process's mount namespace has."""
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/root{self._disk}") / name

    def fill(self) -> None:
        """To the last byte."""
        with self.inside("ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(bytes(size))

    def free(self) -> None:
        self.inside("ballast").unlink()

    def said(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def test_a_full_disk_is_said_and_nothing_accepted_is_lost(tmp_path: Path) -> None:
    sesame = SmallDisk(tmp_path)
    api = sesame.start()
    try:
        calls = deploy(api)
        assert api.invoke("s", "echo", b"warm").content == b"warm"
        assert calls.call("before").status_code == 202
        wait_until(calls.all_succeeded, "the record of the first call", SETTLED_WITHIN_S)
        sesame.fill()
        large = os.urandom(100 * 1024)
        refusals = [calls.refused(f"full-{number}", large) for number in range(20)]
        assert any(refusals), "a full disk refused nothing"
        assert all(refusals[refusals.index(True) :]), "what was refused for a full disk is accepted on it later"
        # What needs no disk goes on.
        assert api.invoke("s", "echo", b"still warm").content == b"still warm"
        assert "No space left" in sesame.said() or "disk is full" in sesame.said()
        sesame.free()
        wait_until(lambda: calls.call("after").status_code in (202, 409), "acceptance once there is space", 30)
        wait_until(calls.all_succeeded, "the record of every accepted call", SETTLED_WITHIN_S)
        assert {"before", "after"} <= set(calls.accepted)
        refused = [f"full-{number}" for number, was in enumerate(refusals) if was]
        for name in refused:
            path = f"/services/s/functions/echo/stateful-async-invocations/{name}"
            assert api("GET", path).status_code == 404, f"{name} was refused and is recorded"
    finally:
        assert sesame.stop() == 0, sesame.said()[-4000:]


@pytest.fixture
def server() -> Iterator[Server]:
    with own_server() as found:
        found.sql(f"CREATE DATABASE faults TEMPLATE {TEMPLATE}")
        yield found


@contextlib.contextmanager
def on_postgresql(folder: Path, server: Server) -> Iterator[Sesame]:
    with running(folder, "--database", server.url("faults"), runtime=RUNTIME) as sesame:
        yield sesame


FAULTS: dict[str, tuple[Callable[[Server], None], Callable[[Server], None]]] = {
    "stopped": (Server.stop, Server.start),
    "killed": (Server.kill, Server.start),
    "silent": (lambda server: server.pause(on=True), lambda server: server.pause(on=False)),
}


# A database that says nothing is given up after half a minute.
SLOW = pytest.param("silent", marks=pytest.mark.torture)


@pytest.mark.parametrize("fault", [pytest.param("stopped", marks=pytest.mark.thorough), "killed", SLOW])
def test_a_database_that_is_gone_is_said_and_comes_back(tmp_path: Path, server: Server, fault: str) -> None:
    break_it, mend_it = FAULTS[fault]
    with on_postgresql(tmp_path, server) as sesame:
        calls = deploy(sesame.api())
        slow = deploy(sesame.api(), "slow", "import time\n\ndef my_handler(e, c):\n    time.sleep(2)\n    return e\n")
        assert sesame.api().invoke("s", "echo", b"warm").content == b"warm"
        for number in range(3):
            assert calls.call(f"before-{number}").status_code == 202
            assert slow.call(f"running-{number}").status_code == 202
        wait_until(lambda: "Running" in slow.states().values(), "a running call", 30)
        break_it(server)
        try:
            assert calls.refused("during"), "accepted without a database"
            # A warm function is called without the database.
            assert sesame.api().invoke("s", "echo", b"still warm").content == b"still warm"
            # Those that run meanwhile end, and cannot be recorded yet.
            ended = time.monotonic() + 3
            wait_until(lambda: time.monotonic() > ended, "the end of what runs", 10)
        finally:
            mend_it(server)
        wait_until(lambda: calls.call("after").status_code in (202, 409), "acceptance with the database back", 60)
        wait_until(lambda: calls.all_succeeded() and slow.all_succeeded(), "every record", SETTLED_WITHIN_S)


class Destination:
    """Takes records by HTTP. While it hangs it reads requests and answers none; then it answers what it has, too."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.answering = threading.Event()
        if not hangs:
            self.answering.set()
        self.requests = 0
        self.answered: list[str] = []
        destination = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                destination.requests += 1
                destination.answering.wait(120)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                destination.answered.append(record["requestContext"]["requestId"])

            def log_message(self, *_arguments: Any) -> None:
                """What arrived is kept."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_destination_that_hangs_holds_up_nothing_else_and_loses_nothing(tmp_path: Path) -> None:
    hanging, sound = Destination(hangs=True), Destination()
    allowed = ",".join(each.url.removeprefix("http://").rstrip("/") for each in (hanging, sound))
    with contextlib.ExitStack() as stack:
        for each in (hanging, sound):
            stack.callback(each.close)
        own_sesame = stack.enter_context(running(tmp_path, "--network-allow", allowed, runtime=RUNTIME))
        held_up = deploy(own_sesame.api(), "held-up", onSuccess=hanging.url)
        others = deploy(own_sesame.api(), "others", onSuccess=sound.url)
        for number in range(30):
            assert held_up.call(f"h-{number}").status_code == 202
        wait_until(lambda: hanging.requests, "the first record at the destination that hangs", 30)
        wait_until(held_up.all_succeeded, "the records of calls whose destination hangs", 30)
        for number in range(10):
            assert others.call(f"o-{number}").status_code == 202
        wait_until(lambda: len(set(sound.answered)) == 10, "the records at the sound destination", 20)
        assert own_sesame.api().invoke("s", "others", b"synchronous").content == b"synchronous"
        assert hanging.answered == []
        # What waits for an answer does not keep Sesame from stopping, and is sent again afterwards.
        own_sesame.stop()
        own_sesame.start()
        hanging.answering.set()
        again = Calls(own_sesame.api(), "held-up")
        expected = {again.record(name)["requestId"] for name in held_up.accepted}
        wait_until(lambda: set(hanging.answered) >= expected, "every record at the destination", SETTLED_WITHIN_S)


class ShiftedClocks(SystemClocks):
    """The machine's clocks, with a wall clock that is set as an operator does."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.shift_s


# Appends a line to a file of the test, and ends when it may.
NOTES = """
import json, os, time

def my_handler(event, context):
    asked = json.loads(event)
    with open(asked['file'], 'a') as file:
        file.write(asked['id'] + chr(10))
    while not os.path.exists(asked['file'] + '.go'):
        time.sleep(0.01)
"""


@pytest.mark.usefixtures("few_runtimes")
@pytest.mark.parametrize("shift_s", [-3600.0, 3600.0], ids=["back", "forward"])
async def test_a_clock_that_is_set_by_an_hour_delays_and_repeats_nothing(tmp_path: Path, shift_s: float) -> None:
    clocks, noted = ShiftedClocks(), tmp_path / "noted"
    settings = Settings(
        port=0, oss_port=0, data_dir=tmp_path / "data", sandbox="plain", max_instances=2,
        access_key_id=KEY_ID, access_key_secret=SECRET,
    )  # fmt: skip
    sesame = app.Sesame(settings, clocks)
    await sesame.start()
    try:
        await asyncio.to_thread(_calls_around_a_shift, sesame.endpoints.fc, clocks, noted, shift_s)
    finally:
        await sesame.stop()


def _some_run_and_some_wait(states: set[str]) -> bool:
    """In one answer: a call that waits now may run by the next."""
    return "Running" in states and bool(states & {"Enqueued", "Dequeued"})


def _calls_around_a_shift(endpoint: str, clocks: ShiftedClocks, noted: Path, shift_s: float) -> None:
    calls = deploy(Api(endpoint, KEY_ID, SECRET, clocks.wall), code=NOTES)
    names = [f"{when}-{number}" for when in ("before", "after") for number in range(6)]
    for name in names:
        if name == "after-0":
            # Some run, some wait for their turn.
            wait_until(lambda: _some_run_and_some_wait(set(calls.states().values())), "a running call", 30)
            clocks.shift_s = shift_s
            wrong = Api(endpoint, KEY_ID, SECRET).invoke("s", "echo", b"", {"x-fc-invocation-type": "Async"})
            assert wrong.status_code == 403, "a caller whose clock differs by an hour is told so"
        assert calls.call(name, json.dumps({"file": str(noted), "id": name}).encode()).status_code == 202
    noted.with_name(f"{noted.name}.go").touch()
    wait_until(calls.all_succeeded, "every record, long before an hour has passed", 120)
    assert sorted(noted.read_text().split()) == sorted(names)
    for name in names:
        assert 0 <= calls.record(name)["durationMs"] < 30_000
