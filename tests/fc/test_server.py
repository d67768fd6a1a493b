"""The endpoint on a real socket: the raw bytes of answers, what is no HTTP, starting and stopping."""

import asyncio
import json
import socket
from typing import Any

import pytest
from tests.fc.conftest import Endpoint, outcome

from sesame.http.limits import Limits
from sesame.http.server import HttpServer
from sesame.model.errors import ConfigurationError
from sesame.model.invocation import Invocation, Outcome

INVOKE = "/services/demo/functions/f/invocations"


async def talk(server: HttpServer, data: bytes) -> bytes:
    """Sends, and reads until the server closes or the first answer is whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0)
    body = await asyncio.wait_for(reader.readexactly(length), 30)
    writer.close()
    return head + body


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_names_of_headers_reach_the_wire_as_go_spells_them(endpoint: Endpoint, server: HttpServer) -> None:
    raw = await talk(server, request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE), b"x"))
    names = [line.split(b":")[0] for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert names[:2] == [b"X-Fc-Request-Id", b"Date"]
    assert b"Content-Type" in names
    assert b"X-Fc-Max-Memory-Usage" in names
    assert names.count(b"Date") == 1
    assert b"server" not in [name.lower() for name in names]


async def test_names_in_routed_answers_too(
    endpoint: Endpoint, server: HttpServer, function_body: dict[str, Any]
) -> None:
    await endpoint.call("POST", "/services", {"serviceName": "demo"})
    raw = await talk(server, request("GET", "/2016-08-15/services/demo", endpoint.signed("GET", "/services/demo")))
    assert raw.startswith(b"HTTP/1.1 200 OK\r\nX-Fc-Request-Id: ")
    assert b"\r\nEtag: " in raw
    assert b"\r\nContent-Type: application/json\r\n" in raw


async def test_a_deletion_has_no_content_type(endpoint: Endpoint, server: HttpServer) -> None:
    await endpoint.call("POST", "/services", {"serviceName": "demo"})
    raw = await talk(
        server, request("DELETE", "/2016-08-15/services/demo", endpoint.signed("DELETE", "/services/demo"))
    )
    assert raw.startswith(b"HTTP/1.1 204 No Content\r\nX-Fc-Request-Id: ")
    assert b"content-type" not in raw.lower()
    assert raw.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data", [b"not http at all\r\n\r\n", b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_in_the_api_s_form(server: HttpServer, data: bytes) -> None:
    raw = await talk(server, data)
    assert raw.startswith(b"HTTP/1.1 400 Bad Request\r\nX-Fc-Request-Id: ")
    assert json.loads(raw.split(b"\r\n\r\n")[1])["ErrorCode"] == "InvalidArgument"


async def test_a_head_without_end_is_cut_off(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nx: ")
    answer = asyncio.ensure_future(reader.read())
    piece, sent = b"a" * 65536, 0
    while not answer.done() and sent < 4 * Limits().head_bytes:
        writer.write(piece)
        sent += len(piece)
        await writer.drain()
        await asyncio.wait({answer}, timeout=0.01)
    assert (await answer).startswith(b"HTTP/1.1 400 ")
    assert sent >= Limits().head_bytes
    writer.close()


async def test_chunked_bodies_are_accepted(endpoint: Endpoint, server: HttpServer) -> None:
    headers = {**endpoint.signed("POST", INVOKE), "transfer-encoding": "chunked"}
    head = request("POST", "/2016-08-15" + INVOKE, headers).replace(b"content-length: 0\r\n", b"")
    raw = await talk(server, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert raw.endswith(b"\r\n\r\nabcde")


async def test_connections_are_kept_and_requests_may_be_pipelined(endpoint: Endpoint, server: HttpServer) -> None:
    one = request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE), b"1")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(one + one.replace(b"\r\n\r\n1", b"\r\n\r\n2"))
    for body in (b"1", b"2"):
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert await asyncio.wait_for(reader.readexactly(1), 30) == body
    writer.close()


async def test_large_events_and_answers(endpoint: Endpoint, server: HttpServer) -> None:
    event = bytes(range(256)) * 4096 * 6
    raw = await talk(server, request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE), event))
    assert raw.split(b"\r\n\r\n", 1)[1] == event


async def test_a_closed_connection_cancels_the_call(endpoint: Endpoint, server: HttpServer) -> None:
    cancelled = asyncio.Event()

    async def forever(_call: Invocation) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    endpoint.engine.then = forever
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE)))
    await asyncio.wait_for(endpoint.engine.entered.wait(), 30)
    writer.transport.abort()
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_it_listens_on_loopback_and_tells_its_port(server: HttpServer) -> None:
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"


async def test_a_taken_port_is_said_with_the_next_step(endpoint: Endpoint, server: HttpServer) -> None:
    with pytest.raises(ConfigurationError, match="choose another"):
        await HttpServer(endpoint.gateway, port=server.port).start()


async def test_stopping_ends_the_calls_that_do_not_end_by_themselves(endpoint: Endpoint) -> None:
    server = HttpServer(endpoint.gateway)
    await server.start()
    cleaned_up = asyncio.Event()

    async def forever(_call: Invocation) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()
        raise AssertionError

    endpoint.engine.then = forever
    answer = asyncio.ensure_future(
        talk(server, request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE)))
    )
    await asyncio.wait_for(endpoint.engine.entered.wait(), 30)
    await server.stop(grace_s=0.01)
    assert cleaned_up.is_set()
    assert (await answer).startswith(b"HTTP/1.1 500 ")


async def test_stopping_lets_running_calls_end(endpoint: Endpoint) -> None:
    server = HttpServer(endpoint.gateway)
    await server.start()
    go_on = asyncio.Event()

    async def slow(_call: Invocation) -> Outcome:
        await go_on.wait()
        return outcome(b"done")

    endpoint.engine.then = slow
    answer = asyncio.ensure_future(
        talk(server, request("POST", "/2016-08-15" + INVOKE, endpoint.signed("POST", INVOKE)))
    )
    await asyncio.wait_for(endpoint.engine.entered.wait(), 30)
    stop = asyncio.ensure_future(server.stop(grace_s=5))
    await asyncio.sleep(0)
    go_on.set()
    assert (await answer).endswith(b"done")
    await stop
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    await server.stop(grace_s=1)
