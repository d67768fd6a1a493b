"""A command in a running instance over its websocket: by the official SDK, and by a client below it."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import fc2
import psutil
import pytest
from tests.journeys.conftest import RUNTIMES, Deploy, Sesame, newest, running, wait_until
from tests.support.signer import API, Api
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

STDIN, STDOUT, STDERR, SERVER_ERROR, RESIZE, SERVER_CLOSE = range(6)
PATIENCE_S = 60.0
CLOSE_TIMEOUT_S = 1.0
PROMPT = "what next? "
# What enters an instance runs under its runtime's interpreter.
RUNTIME = ("python2.7", "python3.12")
pytestmark = pytest.mark.parametrize("runtime", newest([RUNTIMES[0], RUNTIMES[-1]]))


class Exec:
    """Opens commands in one instance. `place` is its path below the version."""

    def __init__(self, sesame: Sesame, place: str) -> None:
        self._sesame = sesame
        self.place = place

    def __call__(self, *command: str, api: Api | None = None, headers: Any = None, **items: Any) -> ClientConnection:
        query = urlencode([*(("command", each) for each in command), *items.items()])
        signed = headers if headers is not None else (api or self._sesame.api()).signed("GET", API + self.place)
        url = self._sesame.endpoint.replace("http", "ws", 1) + API + self.place
        # This client waits for the whole time where it does not take what comes before the server's close.
        return connect(
            f"{url}?{query}",
            additional_headers=signed,
            proxy=None,
            open_timeout=PATIENCE_S,
            close_timeout=CLOSE_TIMEOUT_S,
        )

    def refused(self, *command: str, **items: Any) -> tuple[int, str, dict[str, str]]:
        """Status, ErrorCode and headers of the answer to a handshake that is refused."""
        with pytest.raises(InvalidStatus) as caught:
            self(*command, **items)
        response = caught.value.response
        return response.status_code, json.loads(response.body)["ErrorCode"], dict(response.headers.raw_items())


def until_closed(wire: ClientConnection) -> tuple[dict[int, bytes], int, str]:
    """What was said by kind, and the code and the reason of the close."""
    said: dict[int, bytes] = dict.fromkeys(range(6), b"")
    try:
        while True:
            message = wire.recv(PATIENCE_S)
            data = message.encode() if isinstance(message, str) else message
            said[data[0]] += data[1:]
    except ConnectionClosed:
        return said, wire.close_code or 0, wire.close_reason or ""


def until_said(wire: ClientConnection, text: str) -> str:
    said = ""
    while text not in said:
        message = wire.recv(PATIENCE_S)
        assert isinstance(message, str)
        assert message[0] in "\x01\x02", (message, said)
        said += message[1:]
    return said


def processes_of(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mark in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


def instance_of(client: fc2.Client, service: str, function: str) -> str:
    return str(client.list_instances(service, "LATEST", function).data["instances"][0]["instanceId"])


@pytest.fixture(params=["auto", pytest.param("plain", marks=pytest.mark.thorough)], scope="module")
def sesame(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    """Both drivers, unless the strongest here is the plain one."""
    with running(tmp_path_factory.mktemp("exec"), "--sandbox", request.param, runtime=RUNTIME) as server:
        yield server


@pytest.fixture
def call(deploy: Deploy) -> Callable[..., Any]:
    made: Callable[..., Any] = deploy("hello")
    made()
    return made


@pytest.fixture
def run(sesame: Sesame, client: fc2.Client, service: str, call: Callable[..., Any]) -> Exec:
    instance = instance_of(client, service, "hello")
    return Exec(sesame, f"/services/{service}.LATEST/functions/hello/instances/{instance}/exec")


def test_by_the_official_sdk(sesame: Sesame, client: fc2.Client, service: str, call: Callable[..., Any]) -> None:
    said: list[str] = []
    closed = threading.Event()
    commands = ["sh", "-c", "echo hello; echo oops >&2; read line; echo got $line"]
    opened = client.instance_exec(
        service,
        "LATEST",
        "hello",
        instance_of(client, service, "hello"),
        params={"command": commands, "stdin": "true", "stdout": "true", "stderr": "true", "tty": "false"},
        hooks={
            "on_open": lambda each: each.ws.send("\0word 中\n"),
            "on_stdout": lambda _each, text: said.append(text),
            "on_stderr": lambda _each, text: said.append(f"error {text}"),
            "on_close": lambda _each: closed.set(),
        },
    )
    opened.ws.run_forever()
    assert closed.wait(PATIENCE_S)
    assert "error oops\n" in said
    assert "".join(text for text in said if not text.startswith("error")) == "hello\ngot word 中\n"


def test_echo_and_exit_codes(run: Exec) -> None:
    with run("echo", "a b", "*") as wire:
        assert until_closed(wire)[0][STDOUT] == b"a b *\n"
        assert (wire.close_code, wire.close_reason) == (1000, "exit status 0")
    with run("sh", "-c", "echo err >&2; exit 9") as wire:
        said, code, reason = until_closed(wire)
        assert (said[STDERR], said[SERVER_CLOSE], code, reason) == (b"err\n", b"exit status 9", 1000, "exit status 9")
    with run("sh", "-c", "kill -TERM $$") as wire:
        assert until_closed(wire)[2] == "exit status 143"
    with run("there-is-no-such-program") as wire:
        said, _code, reason = until_closed(wire)
        assert (b"there-is-no-such-program" in said[STDERR], reason) == (True, "exit status 127")
    with run("sh", "-c", "echo err >&2; echo out", stderr="false") as wire:
        assert until_closed(wire)[0] == {**dict.fromkeys(range(6), b""), STDOUT: b"out\n"}


def test_what_is_no_text_comes_as_bytes(run: Exec) -> None:
    with run("printf", r"\377\376") as wire:
        assert wire.recv(PATIENCE_S) == b"\x01\xff\xfe"
    with run("sh", "-c", "for each in $(seq 300); do printf %s $0; done", "中文" * 100) as wire:
        assert until_closed(wire)[0][STDOUT].decode() == "中文" * 30_000


@pytest.mark.parametrize("framed", [True, False])
def test_input_with_its_byte_or_bare_and_its_end(run: Exec, *, framed: bool) -> None:
    """The Node client sends what it is given as it is; so does every shell's key."""
    with run("cat") as wire:
        data = b"line\n" * 20_000
        for start in range(0, len(data), 10_000):
            piece = data[start : start + 10_000]
            wire.send(b"\0" + piece if framed else piece)
        wire.send("\x04")
        said, _code, reason = until_closed(wire)
        assert (said[STDOUT], reason) == (data, "exit status 0")
    with run("cat", stdin="false") as wire:
        assert until_closed(wire)[2] == "exit status 0"


def test_a_terminal_its_size_and_its_keys(run: Exec) -> None:
    with run("env", f"PS1={PROMPT}", "bash", "--norc", tty="true", stderr="false") as wire:
        wire.send(chr(RESIZE) + json.dumps({"Width": 101, "Height": 33}))
        wire.send("\0stty size; [ -t 1 ] && echo a ter''minal\n")
        assert "33 101\r\n" in until_said(wire, "a terminal\r\n")
        wire.send(b"\x04" + json.dumps({"cols": 80, "rows": 25}).encode())
        wire.send(b"stty size\n")
        until_said(wire, "25 80\r\n")
        wire.send("\0sh -c 'echo star''ted; exec sleep 60'\n")
        until_said(wire, "started\r\n")
        wire.send(b"\x03")
        # What is typed before the shell prompts again may be lost.
        until_said(wire, PROMPT)
        wire.send("\0sh -c 'echo rea''dy; cat; exit 6'; exit $?\n")
        until_said(wire, "ready\r\n")
        wire.send(b"\x04")
        said, _code, reason = until_closed(wire)
        assert reason == "exit status 6"
        assert not said[STDERR]


def test_it_ends_with_its_instance(run: Exec, client: fc2.Client, service: str) -> None:
    with run("sh", "-c", "setsid sleep 86011 & echo started; wait") as wire:
        until_said(wire, "started\n")
        client.update_function(service, "hello", description="another", timeout=21)
        said, code, reason = until_closed(wire)
        assert (said[SERVER_ERROR], code, reason) == (b"the instance has ended", 1001, "the instance has ended")
    wait_until(lambda: not processes_of("sleep 86011"), "the end of all of it")
    assert run.refused("true")[:2] == (404, "InstanceNotFound")


def test_a_client_that_goes_away_takes_its_command_along(run: Exec, call: Callable[..., Any]) -> None:
    with run("sh", "-c", "setsid sleep 86012 & echo started; wait") as wire:
        until_said(wire, "started\n")
    wait_until(lambda: not processes_of("sleep 86012"), "the end of a command that was closed")
    with run("sh", "-c", "setsid sleep 86013 & yes") as wire:
        until_said(wire, "y\n")
        wire.socket.shutdown(2)
        wait_until(lambda: not processes_of("sleep 86013"), "the end of a command whose client broke off")
    with run("sh", "-c", "setsid sleep 86014 & yes") as wire:
        until_said(wire, "y\n")
        time.sleep(0.5)  # All that lies between the command and its client is full now.
        wire.socket.shutdown(2)
        wait_until(lambda: not processes_of("sleep 86014"), "the end of a command whose client took nothing any more")
    assert call().data == b"hello world"


def test_output_that_the_client_does_not_take_stops_the_command(run: Exec) -> None:
    with run("sh", "-c", "head -c 400000000 /dev/zero") as wire:
        wire.recv(PATIENCE_S)
        heads = processes_of("head -c 400000000")
        assert heads

        def stands_still() -> bool:
            used = [psutil.Process(pid).cpu_times() for pid in heads]
            time.sleep(0.5)
            return [psutil.Process(pid).cpu_times() for pid in heads] == used

        wait_until(stands_still, "an end of its writing")
    wait_until(lambda: not processes_of("head -c 400000000"), "its end")


def test_silence_ends_it(run: Exec) -> None:
    with run("sleep", "60", idleTimeout="1") as wire:
        said, code, reason = until_closed(wire)
        assert (said[SERVER_ERROR], code, reason) == (b"nothing was sent for 1 seconds", 1000, "idle timeout")


def test_refusals_come_before_the_upgrade_and_as_over_http(sesame: Sesame, run: Exec, service: str, api: Api) -> None:
    status, code, headers = run.refused("true", api=sesame.api(secret="wrong"))
    assert (status, code, headers["Content-Type"]) == (403, "SignatureNotMatch", "application/json")
    assert len(headers["X-Fc-Request-Id"]) == 36
    assert run.refused("true", headers={})[:2] == (400, "MissingRequiredHeader")
    assert run.refused("true", tty="perhaps")[:2] == (400, "InvalidArgument")
    assert run.refused("true", idleTimeout="0")[:2] == (400, "InvalidArgument")
    assert run.refused("true", api=sesame.api(key_id="nobody"))[:2] == (403, "InvalidAccessKeyID")
    place = run.place
    for wrong, expected in {
        place.replace("/instances/c-", "/instances/x-"): "InstanceNotFound",
        place.replace("/functions/hello", "/functions/nobody"): "FunctionNotFound",
        place.replace(f"/services/{service}", "/services/nowhere"): "ServiceNotFound",
        place.replace(".LATEST", ".7"): "VersionNotFound",
    }.items():
        assert Exec(sesame, wrong).refused("true")[:2] == (404, expected)
    assert Exec(sesame, f"/services/{service}").refused()[:2] == (400, "PathNotSupported")
    instance = place.split("/")[-2]
    plain = api("GET", f"/services/{service}/functions/hello/instances/{instance}/exec")
    assert (plain.status_code, plain.json()["ErrorCode"]) == (400, "InvalidArgument")
    half = api("GET", place, headers={"connection": "upgrade", "upgrade": "websocket"})
    assert (half.status_code, half.json()["ErrorCode"]) == (400, "InvalidArgument")
    with run("echo", "still served") as wire:
        assert until_closed(wire)[2] == "exit status 0"


def test_the_server_stops_with_a_command_under_way(own_sesame: Sesame, runtime: str) -> None:
    client = own_sesame.client()
    client.create_service("s")
    Deploy(client, "s", runtime)("hello")()
    instance = instance_of(client, "s", "hello")
    with Exec(own_sesame, f"/services/s/functions/hello/instances/{instance}/exec")("sleep", "86014") as wire:
        wait_until(lambda: processes_of("sleep 86014"), "its start")
        began = time.monotonic()
        own_sesame.stop()
        assert time.monotonic() - began < 15
        assert until_closed(wire)[1] == 1012
    assert not processes_of("sleep 86014")
