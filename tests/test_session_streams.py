"""Streams and websockets of functions with session affinity, through the SDK and a whole Sesame with virtual clocks.

A session is in use as long as one of its streams is open; a session that ends leaves its streams as they are.
Run by pytest. Opens ports on 127.0.0.1 only.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import FakeClocks
from tests.support.jails import jail_only
from tests.support.sdk_2023 import Client
from tests.support.virtual_time import PATIENCE_S, eventually
from tests.support.wanted_runtimes import looking_for
from tests.support.web_apps import with_uvicorn, zipped
from websockets.asyncio.client import ClientConnection, connect

from sesame.app import Sesame, Substitutes
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings

# Custom runtimes need a network of their own: two instances listen on the same port.
pytestmark = jail_only

# From 15 on it would take a proxy that the environment names.
DIRECT: dict[str, Any] = {"proxy": None} if int(version("websockets").split(".")[0]) >= 15 else {}
IDLE_S, TTL_S = 100, 1000
HEADER = "My-Session"
APP = """
import asyncio, os
import uvicorn

INSTANCE = os.environ["FC_INSTANCE_ID"].encode()

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": INSTANCE.decode()})
        return
    content = b"text/event-stream" if scope["path"] == "/events" else b"text/plain"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content)]})
    while scope["path"] == "/events":
        await send({"type": "http.response.body", "body": b"data: " + INSTANCE + b"\\n\\n", "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": INSTANCE + b"\\n"})

uvicorn.run(app, host="0.0.0.0", port=int(os.environ["FC_SERVER_PORT"]), log_level="warning")
"""


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("code")
    source = folder / "source"
    source.mkdir()
    (source / "app.py").write_text(APP)
    (source / "bootstrap").write_text("#!/bin/sh\nexec python3 app.py\n")
    (source / "bootstrap").chmod(0o755)
    return base64.b64encode(zipped(with_uvicorn(source, folder / "code"))).decode()


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks(wall=time.time())


@pytest.fixture
async def sesame(tmp_path: Path, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sesame]:
    # A custom runtime needs no interpreter, and each of those that are found would have its zygote.
    monkeypatch.setattr(Runtimes, "look_up", looking_for())
    settings = Settings(port=0, oss_port=0, data_dir=tmp_path / "data", keep_alive_s=30, drain_s=0)
    made = Sesame(settings, clocks, substitutes=Substitutes(callers_wall=time.time))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def sdk(sesame: Sesame) -> Client:
    key = sesame.data_dir.credentials()
    return Client(sesame.endpoints.fc, key.access_key_id, key.access_key_secret)


async def deploy(sdk: Client, code: str, kind: str = "HEADER_FIELD") -> None:
    """Each session has an instance of its own."""
    config: dict[str, Any] = {
        "sessionConcurrencyPerInstance": 1, "sessionIdleTimeoutInSeconds": IDLE_S, "sessionTTLInSeconds": TTL_S,
    }  # fmt: skip
    if kind == "HEADER_FIELD":
        config["affinityHeaderFieldName"] = HEADER
    body = {
        "functionName": "f", "runtime": "custom.debian12", "handler": "app.app", "code": {"zipFile": code},
        "instanceConcurrency": 10, "timeout": 3600, "memorySize": 256, "cpu": 0.25, "diskSize": 512,
        "sessionAffinity": kind, "sessionAffinityConfig": json.dumps(config),
    }  # fmt: skip
    await sdk("create_function", body=body)
    trigger = {"triggerName": "t", "triggerType": "http", "triggerConfig": '{"authType":"anonymous","methods":["GET"]}'}
    await sdk("create_trigger", "f", body=trigger)


class Response:
    """The lines of a response's head, and those of its body as they come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def line(self, begin: str) -> str:
        """What follows `begin` in the next line that begins with it."""
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self._reader.readline()).decode():
                if line.startswith(begin):
                    return line.removeprefix(begin).strip()
        raise AssertionError(f"the response has ended without a line that begins with {begin!r}")


class Web:
    """The function's HTTP trigger, at its local URL."""

    def __init__(self, sesame: Sesame) -> None:
        self._port = int(sesame.endpoints.fc.rpartition(":")[2])
        self._host = f"f.localhost:{self._port}"

    @asynccontextmanager
    async def get(self, path: str, **headers: str) -> AsyncIterator[Response]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{lines}\r\n".encode())
        try:
            yield Response(reader)
        finally:
            writer.close()

    async def instance(self, session: str) -> str:
        async with self.get("/", My_Session=session) as response:
            return "c-" + await response.line("c-")

    def websocket(self, **headers: str) -> connect:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url, patience_s = f"ws://{self._host}/", PATIENCE_S
        return connect(url, host="127.0.0.1", additional_headers=named, open_timeout=patience_s, **DIRECT)


async def said(websocket: ClientConnection) -> str:
    await websocket.send("who")
    async with asyncio.timeout(PATIENCE_S):
        return str(await websocket.recv())


async def test_a_stream_and_the_calls_of_its_session_have_one_instance(sesame: Sesame, sdk: Client, code: str) -> None:
    await deploy(sdk, code)
    web = Web(sesame)
    async with web.get("/events", My_Session="one") as events:
        one = await events.line("data: ")
        assert await web.instance("one") == one
        assert (await sdk("get_session", "f", "one"))["containerId"] == one
        async with web.websocket(My_Session="two") as websocket:
            two = await said(websocket)
            assert two != one
            assert await web.instance("two") == two
        assert await events.line("data: ") == one
    assert await web.instance("one") == one


async def test_a_session_is_in_use_while_a_stream_is_open(
    sesame: Sesame, sdk: Client, code: str, clocks: FakeClocks
) -> None:
    await deploy(sdk, code)
    web = Web(sesame)
    async with web.get("/events", My_Session="one") as events, web.websocket(My_Session="two") as websocket:
        one, two = await events.line("data: "), await said(websocket)
        await clocks.pass_time(3 * IDLE_S)
        assert [each["sessionId"] for each in (await sdk("list_sessions", "f"))["sessions"]] == ["one", "two"]
        assert (await events.line("data: "), await said(websocket)) == (one, two)
    pool = sesame.parts.engine.engine.pool
    await eventually(lambda: pool.calls == 0)
    await clocks.pass_time(IDLE_S - 10)
    assert (await web.instance("one"), await web.instance("two")) == (one, two), "idle since the streams have ended"
    await clocks.pass_time(IDLE_S + 120)
    assert (await sdk.failure("get_session", "f", "one"))[:2] == (404, "SessionNotFound")
    await eventually(lambda: not list(sesame.parts.storage.catalog.of_kind("session")))
    # Their keep-alive is over long since.
    await clocks.pass_time(2)
    await eventually(lambda: not pool.instances())


@pytest.mark.parametrize("end", ["deleted", "expired"])
async def test_the_streams_of_a_session_that_ends_go_on(
    sesame: Sesame, sdk: Client, code: str, clocks: FakeClocks, end: str
) -> None:
    await deploy(sdk, code)
    web = Web(sesame)
    async with web.get("/events", My_Session="one") as events, web.websocket(My_Session="one") as websocket:
        one = await events.line("data: ")
        began = (await sdk("get_session", "f", "one"))["createdTime"]
        if end == "deleted":
            await sdk("delete_session", "f", "one")
        else:
            await clocks.pass_time(TTL_S + 60)
        assert (await sdk.failure("get_session", "f", "one"))[:2] == (404, "SessionNotFound")
        assert (await events.line("data: "), await said(websocket)) == (one, one)
        # The id begins another session, which is bound by its first call as any other.
        again = await web.instance("one")
        found = await sdk("get_session", "f", "one")
        assert found["containerId"] == again
        assert found["createdTime"] != began or end == "deleted"
        assert (await events.line("data: "), await said(websocket)) == (one, one)
    pool = sesame.parts.engine.engine.pool
    await eventually(lambda: pool.calls == 0)
    assert await web.instance("one") == again, "what the old streams had is not taken from the new session"


async def test_a_cookie_binds_streams_and_websockets(sesame: Sesame, sdk: Client, code: str) -> None:
    await deploy(sdk, code, kind="GENERATED_COOKIE")
    web = Web(sesame)
    async with web.websocket() as websocket:
        assert websocket.response is not None
        cookie = websocket.response.headers["Set-Cookie"].partition(";")[0]
        one = await said(websocket)
        async with web.get("/events", Cookie=cookie) as events:
            assert await events.line("data: ") == one
            async with web.websocket(Cookie=cookie) as another:
                assert await said(another) == one
        async with web.get("/events") as events:
            assert (await events.line("Set-Cookie: ")).partition(";")[0] != cookie
            assert await events.line("data: ") != one
