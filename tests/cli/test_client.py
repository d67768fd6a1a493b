"""The client of the commands: signs as the verifier expects, bounds its time, and tells refusals from results."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import ClassVar

import pytest
from tests.support.web_servers import Quiet, serving

from sesame.cli import client
from sesame.cli.client import Client, Refused, Request, Unreachable
from sesame.cli.server import Key, Server
from sesame.fc.auth.request_head import read_request
from sesame.fc.auth.verifier import Verifier
from sesame.identity.authentication import Authentication
from sesame.identity.tokens import Tokens
from sesame.model.account import AccessKey

KEY = AccessKey("LTAIkey", "secret", "1234")


class OneKey:
    def get(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.access_key_id else None


class FakeEndpoint(Quiet):
    """Checks the signature as the real endpoint does, then answers as told."""

    status: ClassVar[int] = 200
    headers_out: ClassVar[dict[str, str]] = {}
    body: ClassVar[bytes] = b""
    seen: ClassVar[list[tuple[str, str, bytes]]] = []
    tokens: ClassVar[list[str | None]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        path = self.path.partition("?")[0]
        type(self).tokens.append(self.headers["X-Fc-Security-Token"])
        if not self.headers["X-Fc-Security-Token"]:
            authentication = Authentication(OneKey(), Tokens(bytes(32), time.time))
            Verifier(authentication, time.time).verify(read_request(self.command, path.encode(), headers))
        type(self).seen.append((self.command, self.path, body))
        self.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.headers_out}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_PUT = do_DELETE = answer


def at(endpoint: str, token: str = "") -> Client:
    return Client(Server(endpoint, "the test", Key(KEY.access_key_id, KEY.secret, "the test", token)))


@pytest.fixture
def endpoint() -> Iterator[str]:
    FakeEndpoint.status, FakeEndpoint.headers_out, FakeEndpoint.body = 200, {}, b""
    FakeEndpoint.seen, FakeEndpoint.tokens = [], []
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), FakeEndpoint)) as url:
        yield url


def test_a_call_is_signed_and_its_answer_is_complete(endpoint: str) -> None:
    FakeEndpoint.body = b"hello world"
    FakeEndpoint.headers_out = {
        "X-Fc-Request-Id": "rid", "X-Fc-Log-Result": base64.b64encode(b"a line\n").decode(),
    }  # fmt: skip
    answer = at(endpoint).invoke("demo.LATEST", "hello", b"event", timeout_s=10)
    path = "/2016-08-15/services/demo.LATEST/functions/hello/invocations"
    assert FakeEndpoint.seen == [("POST", path, b"event")]
    assert (answer.body, answer.request_id, answer.log_tail, answer.error_type) == (
        b"hello world", "rid", b"a line\n", "",
    )  # fmt: skip


def test_documents_go_and_come_as_json(endpoint: str) -> None:
    FakeEndpoint.body = b'{"serviceName": "demo"}'
    assert at(endpoint).ask("POST", "/services", {"serviceName": "demo"}) == {"serviceName": "demo"}
    assert at(endpoint).ask("GET", "/services?limit=1") == {"serviceName": "demo"}
    assert FakeEndpoint.seen == [
        ("POST", "/2016-08-15/services", b'{"serviceName":"demo"}'), ("GET", "/2016-08-15/services?limit=1", b""),
    ]  # fmt: skip
    FakeEndpoint.body = b""
    assert at(endpoint).ask("DELETE", "/services/demo") is None
    FakeEndpoint.body = b"<html>"
    with pytest.raises(Unreachable, match="answered GET /services with what is no JSON: <html>"):
        at(endpoint).ask("GET", "/services")


def test_a_temporary_key_is_sent_with_its_token(endpoint: str) -> None:
    at(endpoint, token="token").ask("GET", "/services")
    assert FakeEndpoint.tokens == ["token"]


def test_a_functions_failure_and_a_refusal_are_told_apart(endpoint: str) -> None:
    FakeEndpoint.headers_out = {"X-Fc-Error-Type": "UnhandledInvocationError"}
    assert at(endpoint).invoke("demo", "f", b"", timeout_s=10).error_type == "UnhandledInvocationError"
    FakeEndpoint.status, FakeEndpoint.headers_out = 404, {"X-Fc-Request-Id": "rid"}
    FakeEndpoint.body = b'{"ErrorCode": "ServiceNotFound", "ErrorMessage": "service \'demo\' does not exist"}'
    with pytest.raises(Refused) as raised:
        at(endpoint).invoke("demo", "f", b"", timeout_s=10)
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (404, "ServiceNotFound", "rid")
    assert str(raised.value).startswith("ServiceNotFound: service 'demo' does not exist (HTTP 404, request rid); ")


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("FunctionNotFound", "sesame list"),
        ("VersionNotFound", "sesame publish"),
        ("AliasNotFound", "sesame alias list"),
        ("TriggerNotFound", "sesame triggers list"),
    ],
)
def test_what_does_not_exist_is_told_with_the_command_that_shows_what_does(
    endpoint: str, code: str, command: str
) -> None:
    FakeEndpoint.status, FakeEndpoint.headers_out = 404, {"X-Fc-Request-Id": "rid"}
    FakeEndpoint.body = f'{{"ErrorCode": "{code}", "ErrorMessage": "it does not exist"}}'.encode()
    with pytest.raises(Refused, match=rf"{code}: it does not exist \(HTTP 404, request rid\); `{command}`"):
        at(endpoint).ask("GET", "/x")


def test_what_is_used_up_has_the_next_step_of_the_server_and_no_other(endpoint: str) -> None:
    FakeEndpoint.status, FakeEndpoint.headers_out = 429, {"X-Fc-Request-Id": "rid"}
    FakeEndpoint.body = b'{"ErrorCode": "ResourceExhausted", "ErrorMessage": "too much: raise --max-memory-mb"}'
    with pytest.raises(Refused) as raised:
        at(endpoint).ask("GET", "/x")
    assert str(raised.value) == "ResourceExhausted: too much: raise --max-memory-mb (HTTP 429, request rid)"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "<html> (HTTP 502)"),
        (b"", "Bad Gateway (HTTP 502)"),
        (b"\xff\xfe", "\ufffd\ufffd (HTTP 502)"),
        (b'{"ErrorCode": 5}', '{"ErrorCode": 5} (HTTP 502)'),
        (b"[]", "[] (HTTP 502)"),
        (b"x" * 1000, "x" * client.SHOWN_CHARS + " … (HTTP 502)"),
    ],
)
def test_an_error_that_is_not_the_apis_own_is_shown_as_it_is(endpoint: str, body: bytes, says: str) -> None:
    FakeEndpoint.status, FakeEndpoint.body = 502, body
    with pytest.raises(Refused) as raised:
        at(endpoint).ask("GET", "/services")
    assert str(raised.value) == says


def test_an_answer_of_another_kind_of_server_says_where_function_compute_is(endpoint: str) -> None:
    FakeEndpoint.status, FakeEndpoint.body = 404, b"<Error><Code>NoSuchBucket</Code></Error>"
    with pytest.raises(Refused, match=r"NoSuchBucket.*no Function Compute; `sesame env` shows Sesame's addresses"):
        at(endpoint).ask("GET", "/services")


def test_a_log_that_is_no_base64_is_no_log(endpoint: str) -> None:
    FakeEndpoint.headers_out = {"X-Fc-Log-Result": "x"}
    assert at(endpoint).invoke("demo", "f", b"", timeout_s=10).log_tail == b""


def test_names_are_escaped_in_the_path(endpoint: str) -> None:
    at(endpoint).invoke("a/b", "c?d", b"", timeout_s=10)
    assert FakeEndpoint.seen[0][1] == "/2016-08-15/services/a%2Fb/functions/c%3Fd/invocations"


def test_a_refused_connection_is_an_error_with_the_address() -> None:
    said = r"127\.0\.0\.1:1 \(the test\) does not answer: Connection refused; `sesame start` starts a Sesame"
    with pytest.raises(Unreachable, match=said):
        at("http://127.0.0.1:1").ask("GET", "/services")
    with pytest.raises(Unreachable, match=r"nowhere\.invalid \(the test\) does not answer"):
        at("http://nowhere.invalid").ask("GET", "/services")


def test_what_does_not_speak_tls_is_an_error_with_the_next_step(endpoint: str) -> None:
    with pytest.raises(Unreachable, match="does it speak http:// rather than https://"):
        at(endpoint.replace("http:", "https:")).ask("GET", "/services")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_an_incomplete_answer_is_an_error(said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _peer = listener.accept()
            connection.recv(65536)
            connection.sendall(said)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unreachable, match="does not answer"):
            at(f"http://127.0.0.1:{listener.getsockname()[1]}").ask("GET", "/services")
        thread.join()


def test_a_silent_server_is_given_up_at_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            silent.send(Request(method="GET", path="/services", timeout_s=0.1))
