"""Calling a deployed function: signed as the door expects, and everything that comes back is told apart."""

import base64
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from sesame.cli import remote
from sesame.data_dir import Credentials, DataDir, Endpoints
from sesame.fc.auth.request_head import read_request
from sesame.fc.auth.verifier import Verifier
from sesame.model.account import AccessKey
from sesame.model.errors import ConfigurationError

KEY = AccessKey("LTAIkey", "secret", "1234")


class OneKey:
    def get(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.access_key_id else None


class Door(BaseHTTPRequestHandler):
    """Checks the signature as the real door does, then answers as told."""

    status: ClassVar[int] = 200
    headers_out: ClassVar[dict[str, str]] = {}
    body: ClassVar[bytes] = b""
    seen: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        event = self.rfile.read(int(self.headers["Content-Length"]))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        Verifier(OneKey(), None, time.time).verify(read_request("POST", self.path.encode(), headers))
        type(self).seen.append((self.path, event))
        self.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.headers_out}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the test's output is its own."""


@pytest.fixture
def door() -> Iterator[remote.Server]:
    Door.status, Door.headers_out, Door.body, Door.seen = 200, {}, b"", []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield remote.Server(f"http://127.0.0.1:{server.server_port}", KEY.access_key_id, KEY.secret)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_call_is_signed_and_its_answer_is_complete(door: remote.Server) -> None:
    Door.body = b"hello world"
    Door.headers_out = {
        "X-Fc-Request-Id": "rid", "X-Fc-Log-Result": base64.b64encode(b"a line\n").decode(),
        "X-Fc-Invocation-Duration": "3", "X-Fc-Max-Memory-Usage": "9.50",
    }  # fmt: skip
    answer = remote.call(door, "demo.LATEST", "hello", b"event", timeout_s=10)
    assert Door.seen == [("/2016-08-15/services/demo.LATEST/functions/hello/invocations", b"event")]
    assert (answer.body, answer.request_id, answer.log_tail) == (b"hello world", "rid", b"a line\n")
    assert (answer.error_type, answer.refused, answer.duration_ms, answer.memory_mb) == ("", "", "3", "9.50")


def test_a_functions_error_and_a_refusal_are_told_apart(door: remote.Server) -> None:
    Door.headers_out = {"X-Fc-Error-Type": "UnhandledInvocationError"}
    assert remote.call(door, "demo", "f", b"", timeout_s=10).error_type == "UnhandledInvocationError"
    Door.status, Door.headers_out = 404, {}
    Door.body = b'{"ErrorCode": "ServiceNotFound", "ErrorMessage": "service \'demo\' does not exist"}'
    assert remote.call(door, "demo", "f", b"", timeout_s=10).refused == (
        "ServiceNotFound: service 'demo' does not exist"
    )
    Door.body = b"<html>"
    assert remote.call(door, "demo", "f", b"", timeout_s=10).refused == "<html>"


def test_names_cannot_leave_their_place_in_the_path(door: remote.Server) -> None:
    remote.call(door, "a/b", "c?d", b"", timeout_s=10)
    assert Door.seen[0][0] == "/2016-08-15/services/a%2Fb/functions/c%3Fd/invocations"


def test_nobody_there_is_an_error_with_the_address() -> None:
    with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1 does not answer"):
        remote.call(remote.Server("http://127.0.0.1:1", "id", "secret"), "demo", "f", b"", timeout_s=10)


def test_the_server_of_the_data_directory_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DataDir(tmp_path) as data_dir:
        for name in ("FC_ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigurationError, match="no Sesame runs on the data directory"):
            remote.find_server(data_dir)
        monkeypatch.setenv("FC_ENDPOINT", "http://elsewhere")
        monkeypatch.setenv("ACCESS_KEY_ID", "id")
        monkeypatch.setenv("ACCESS_KEY_SECRET", "other")
        assert remote.find_server(data_dir) == remote.Server("http://elsewhere", "id", "other")
        endpoints = Endpoints(
            account_id="1234", region="r", fc="http://here", sandbox="plain", pid=os.getpid(), started_at=time.time()
        )
        data_dir.announce(endpoints, Credentials("1234", "LTAI", "secret"))
        assert remote.find_server(data_dir) == remote.Server("http://here", "LTAI", "secret")
