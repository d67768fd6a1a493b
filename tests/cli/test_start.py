"""`sesame start` as a real process: ready, used, stopped, killed, and started again on what it left."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fc2
import psutil
import pytest
from tests.support import few_runtimes, forked
from tests.support.pauses import Pauses

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
HELLO = Path(__file__).parents[2] / "src/sesame/cli/demo/functions/hello"
RUNTIME = "python3"
# Each runtime more costs a zygote.
CLEAN = {name: value for name, value in few_runtimes.environ(RUNTIME).items() if not name.startswith("SESAME_")}
FLAGS = few_runtimes.flags(RUNTIME)


def sesame(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = forked.run(*arguments, environ=CLEAN)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Server:
    """One `sesame start` of the test's own."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sesame", "start", f"--data-dir={data_dir}", "--port=0", "--oss-port=0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=CLEAN,
        )  # fmt: skip

    def ready(self) -> dict[str, object]:
        deadline, pauses = time.monotonic() + READY_TIMEOUT_S, Pauses(0.02)
        while time.monotonic() < deadline:
            try:
                found = json.loads((self.data_dir / "endpoints.json").read_text())
                if found["pid"] == self.process.pid:
                    return found
            except FileNotFoundError:
                pass
            assert self.process.poll() is None, self.process.communicate()[0]
            pauses.block()
        raise AssertionError("not ready in time")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
        return self.process.returncode, said

    def client(self) -> fc2.Client:
        lines = [shlex.split(line)[1] for line in sesame("env", f"--data-dir={self.data_dir}").stdout.splitlines()]
        env = dict(line.split("=", 1) for line in lines)
        return fc2.Client(
            endpoint=env["FC_ENDPOINT"], accessKeyID=env["ACCESS_KEY_ID"], accessKeySecret=env["ACCESS_KEY_SECRET"]
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    # On the host's network, so that there is something to warn of wherever this runs.
    server = Server(tmp_path / "data", "--account-id=1234567890", "--region=cn-hangzhou", "--network=host", *FLAGS)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("closed", ["<&-", pytest.param("<&- >&- 2>&-", marks=pytest.mark.thorough)])
def test_a_server_that_was_started_without_standard_descriptors_stops_cleanly(tmp_path: Path, closed: str) -> None:
    """In a directory whose name is not UTF-8."""
    data_dir = tmp_path / os.fsdecode(b"d\xff")
    started = f'exec "$0" -m sesame start --data-dir="$1" --port=0 --oss-port=0 {shlex.join(FLAGS)} {closed}'
    server = Server.__new__(Server)
    server.data_dir = data_dir
    server.process = subprocess.Popen(
        ["sh", "-c", started, sys.executable, str(data_dir)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=CLEAN,
    )  # fmt: skip
    try:
        server.ready()
        assert server.client().list_services().data["services"] == []
        code, said = server.stop()
    finally:
        server.process.kill()
        server.process.wait()
    assert code == 0, said
    assert "Assertion" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)])
def test_a_server_starts_prints_its_endpoints_and_stops_cleanly(server: Server, number: int) -> None:
    endpoints = server.ready()
    assert endpoints["account_id"] == "1234567890"
    assert endpoints["region"] == "cn-hangzhou"
    assert str(endpoints["fc"]).startswith("http://127.0.0.1:")
    client = server.client()
    client.create_service("demo")
    client.create_function("demo", "hello", "python3", "main.my_handler", codeDir=str(HELLO))
    assert client.invoke_function("demo", "hello").data == b"hello world"
    client.create_function("demo", "raises", "python3", "main.missing", codeDir=str(HELLO))
    with pytest.raises(fc2.FcError, match="HandlerNotFound"):
        client.invoke_function("demo", "raises")
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    code, said = server.stop(number)
    assert code == 0
    assert f"Function Compute  {endpoints['fc']}" in said
    assert "NOT enforced" in said
    assert "Traceback" not in said
    assert re.search(r"Z  demo/hello  ok [0-9.]+ ms  cold [0-9.]+ ms \(.*start [0-9.]+\)  [0-9a-f-]{36}\n", said)
    assert re.search(r"demo/raises  failed .*\n    HandlerNotFound: .*\n    more: sesame logs demo/raises -r ", said)
    assert "\x1b" not in said
    assert not (server.data_dir / "endpoints.json").exists()
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_second_server_on_the_same_data_is_refused_and_the_first_continues(server: Server) -> None:
    server.ready()
    second = sesame("start", f"--data-dir={server.data_dir}", "--port=0", "--oss-port=0")
    assert second.returncode == 1
    assert f"in use by another Sesame (pid {server.process.pid})" in second.stderr
    assert server.ready()["pid"] == server.process.pid


def test_a_port_that_is_taken_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = sesame("start", f"--data-dir={tmp_path / 'data'}", f"--port={port}", "--oss-port=0")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "endpoints.json").exists()


@pytest.mark.thorough
def test_after_a_kill_nothing_is_left_and_the_next_start_has_everything(server: Server, tmp_path: Path) -> None:
    server.ready()
    client = server.client()
    client.create_service("demo")
    client.create_function("demo", "hello", RUNTIME, "main.my_handler", codeDir=str(HELLO))
    assert client.invoke_function("demo", "hello").data == b"hello world"
    children = psutil.Process(server.process.pid).children(recursive=True)
    server.stop(signal.SIGKILL)
    _gone, alive = psutil.wait_procs(children, timeout=30)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert sesame("env", f"--data-dir={server.data_dir}").returncode == 1
    again = Server(server.data_dir, *FLAGS)
    try:
        assert again.ready()["account_id"] == "1234567890"
        assert again.client().invoke_function("demo", "hello").data == b"hello world"
        done = sesame("invoke", "--service=demo", "--function=hello", f"--data-dir={server.data_dir}")
        assert (done.returncode, done.stdout) == (0, "hello world")
        assert "FC Invoke Start RequestId:" in done.stderr
        done = sesame("invoke", "--service=demo", "--function=nothing", f"--data-dir={server.data_dir}")
        assert done.returncode == 1
        assert "FunctionNotFound: function 'nothing' does not exist in service 'demo'" in done.stderr
    finally:
        again.stop()
