"""Requests of the web to custom runtimes: as they are, streamed both ways, cut off, and websockets passed through."""

import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from tests.journeys.conftest import FUNCTIONS, Sesame, run, running, wait_until
from tests.support.web_apps import with_uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

TIMEOUT_S = 60
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def sesame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sesame]:
    with running(tmp_path_factory.mktemp("sesame"), runtime="python3") as server:
        yield server


@pytest.fixture(scope="module")
def site(sesame: Sesame, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of an ASGI application under uvicorn."""
    folder = with_uvicorn(FUNCTIONS / "custom_asgi", tmp_path_factory.mktemp("app") / "code")
    client = sesame.client()
    client.create_service("web")
    client.create_function(
        "web", "app", codeDir=str(folder), handler="app.app", runtime="custom.debian12", memorySize=256, timeout=600,
        instanceConcurrency=10,
    )  # fmt: skip
    methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]
    client.create_trigger("web", "app", "http", "http", {"authType": "anonymous", "methods": methods}, "", "")
    return f"{sesame.endpoint}/2016-08-15/proxy/web/app"


def test_a_request_arrives_as_it_is(site: str) -> None:
    answer = requests.put(
        f"{site}/a%20page/%E4%BD%A0?x=1&x=%2F", data=b"\x00body", headers={"X-Own": "mine", "X-Fc-Own": "theirs"},
        timeout=TIMEOUT_S,
    )  # fmt: skip
    told = answer.json()
    assert (told["method"], told["path"], told["query"]) == ("PUT", "/a%20page/%E4%BD%A0", "x=1&x=%2F")
    assert told["body"].encode("latin-1") == b"\x00body"
    headers = dict(told["headers"])
    assert headers["x-own"] == "mine"
    assert "x-fc-own" not in headers
    assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert headers["x-fc-control-path"] == "/http-invoke"
    assert headers["x-fc-request-id"] == answer.headers["X-Fc-Request-Id"]
    assert headers["host"] == urllib.parse.urlsplit(site).netloc
    assert "X-Hop" not in answer.headers
    assert answer.raw.headers.getlist("set-cookie") == ["a=1", "b=2"]
    assert requests.head(site, timeout=TIMEOUT_S).headers["Content-Length"]


def test_pieces_arrive_before_the_function_ends(site: str) -> None:
    with requests.get(f"{site}/gated", stream=True, timeout=TIMEOUT_S) as answer:
        pieces = answer.iter_lines()
        assert next(pieces) == b"data: first"
        for number in range(2):
            assert requests.post(f"{site}/open", timeout=TIMEOUT_S).text == "opened"
            assert [next(pieces), next(pieces)] == [b"", b"data: %d" % number]


def test_a_body_goes_both_ways_at_once(site: str) -> None:
    where = urllib.parse.urlsplit(site)
    with socket.create_connection((str(where.hostname), where.port or 80), TIMEOUT_S) as sock:
        answer = sock.makefile("rb")
        sock.sendall(
            f"POST {where.path}/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".encode()
        )
        assert answer.readline() == b"HTTP/1.1 201 Created\r\n"
        while answer.readline() != b"\r\n":
            pass
        assert [answer.readline() for _ in range(2)] == [b"5\r\n", b"first\r\n"]
        sock.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        assert answer.read() == b"6\r\nsecond\r\n0\r\n\r\n"


@pytest.mark.parametrize("megabytes", [64, pytest.param(1024, marks=pytest.mark.torture)])
def test_sesame_holds_little_of_a_large_body(site: str, sesame: Sesame, megabytes: int) -> None:
    """And passes on what it has: either side sees the first of a body while the other has not come to the last."""
    process = psutil.Process(sesame.pid)
    requests.get(f"{site}/download?1", timeout=TIMEOUT_S)
    before = most = process.memory_info().rss

    def progress() -> dict[str, int]:
        told: dict[str, int] = requests.get(f"{site}/progress", timeout=TIMEOUT_S).json()
        return told

    def body() -> Iterator[bytes]:
        nonlocal most
        for number in range(megabytes):
            if number == megabytes // 2:
                wait_until(lambda: progress()["received"] > 0, "the function has some of the body")
            yield bytes(MIB)
            most = max(most, process.memory_info().rss)

    size = 0
    with requests.get(f"{site}/download?{megabytes}", stream=True, timeout=TIMEOUT_S) as answer:
        for piece in answer.iter_content(MIB):
            if not size:
                assert progress()["sent"] < megabytes * MIB
            size += len(piece)
            most = max(most, process.memory_info().rss)
    assert size == megabytes * MIB
    assert requests.post(f"{site}/upload", data=body(), timeout=TIMEOUT_S).text == str(megabytes * MIB)
    most = max(most, process.memory_info().rss)
    print(f"{megabytes} MiB both ways: Sesame's memory has grown by {(most - before) / MIB:.1f} MiB")
    assert most - before < 40 * MIB


def test_a_stream_begins_before_its_first_piece(site: str) -> None:
    """As for server-sent events: a client that waits for the head knows that it is connected."""
    with requests.get(f"{site}/silent", stream=True, timeout=TIMEOUT_S) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert requests.post(f"{site}/open", timeout=TIMEOUT_S).text == "opened"
        assert answer.content == b"data: at last\n\n"


def test_a_client_that_goes_is_told_to_the_function(site: str, sesame: Sesame) -> None:
    answer = requests.get(f"{site}/hang", stream=True, timeout=TIMEOUT_S)
    request_id = answer.headers["X-Fc-Request-Id"]
    assert next(answer.iter_content(5)) == b"begun"
    answer.close()
    wait_until(lambda: "the client has gone" in _log(sesame), "the function hears of it")
    assert requests.get(site, timeout=TIMEOUT_S).ok
    wait_until(lambda: "Invocation canceled by client" in _log(sesame, request_id), "the log says so")


def _log(sesame: Sesame, request_id: str = "") -> str:
    chosen = ("-r", request_id) if request_id else ()
    return run(sesame, "logs", "web/app", *chosen).stdout


def test_a_response_that_is_cut_off_is_seen_to_be(site: str) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{site}/broken", timeout=TIMEOUT_S)
    assert requests.get(site, timeout=TIMEOUT_S).ok


def test_websockets_pass_through(site: str) -> None:
    url = site.replace("http://", "ws://")
    with connect(f"{url}/socket", subprotocols=["chat"], open_timeout=TIMEOUT_S) as websocket:  # type: ignore[list-item]
        assert websocket.subprotocol == "chat"
        for message in ("text ä", b"\x00binary", "x" * 100_000):
            websocket.send(message)
            assert websocket.recv(TIMEOUT_S) == message
        websocket.send("bye")
        with pytest.raises(ConnectionClosed):
            websocket.recv(TIMEOUT_S)
        assert (websocket.close_code, websocket.close_reason) == (4001, "as asked")
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{url}/refuse", open_timeout=TIMEOUT_S)
    assert refused.value.response.status_code == 403


def test_a_signed_trigger_asks_for_the_signature(site: str, sesame: Sesame) -> None:
    client = sesame.client()
    client.update_trigger("web", "app", "http", triggerConfig={"authType": "function", "methods": ["POST"]})
    try:
        assert requests.post(site, timeout=TIMEOUT_S).status_code == 400
        signed: Any = client.do_http_request("POST", "web", "app", "/signed", body=b"mine")
        assert (signed.status_code, signed.json()["body"]) == (200, "mine")
    finally:
        client.update_trigger("web", "app", "http", triggerConfig={"authType": "anonymous", "methods": ["GET", "POST"]})
