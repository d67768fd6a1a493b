"""Sessions of FC 3.0 through the official SDK, on instances of a whole Sesame whose clocks the test moves.

Run by pytest. Opens ports on 127.0.0.1 only. The SDK signs with the real date, however far the clocks have moved.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from alibabacloud_fc20230330 import models
from tests.support import zips
from tests.support.fakes import FakeClocks
from tests.support.sdk_2023 import Client
from tests.support.virtual_time import eventually

from sesame.app import Sesame, Substitutes
from sesame.settings import Settings

pytestmark = pytest.mark.usefixtures("few_runtimes")

RUNTIME = "python3.10"
KEEP_ALIVE_S = 30
IDLE_S, TTL_S = 200, 600
# Answers with the id of its instance, and with how many calls that instance has had.
CODE = """
import json, os, time
calls = 0
def handler(event, context):
    global calls
    calls += 1
    if event == b"exit":
        os._exit(1)
    if event.startswith(b"wait for "):
        open(event[9:].decode() + ".begun", "x").close()
        deadline = time.monotonic() + 60
        while not os.path.exists(event[9:]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return json.dumps([os.environ["FC_INSTANCE_ID"], calls])
"""
ZIP = base64.b64encode(zips.zip_of({"index.py": CODE})).decode()
HEADER = "My-Session"


@pytest.fixture
def clocks() -> FakeClocks:
    return FakeClocks(wall=time.time())


@asynccontextmanager
async def running(data_dir: Path, clocks: FakeClocks) -> AsyncIterator[Sesame]:
    settings = Settings(port=0, oss_port=0, data_dir=data_dir, sandbox="plain", keep_alive_s=KEEP_ALIVE_S)
    made = Sesame(settings, clocks, substitutes=Substitutes(callers_wall=time.time))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
async def sesame(tmp_path: Path, clocks: FakeClocks) -> AsyncIterator[Sesame]:
    async with running(tmp_path / "data", clocks) as made:
        yield made


def client_of(sesame: Sesame) -> Client:
    key = sesame.data_dir.credentials()
    return Client(sesame.endpoints.fc, key.access_key_id, key.access_key_secret)


@pytest.fixture
def sdk(sesame: Sesame) -> Client:
    return client_of(sesame)


def function(**changes: Any) -> dict[str, Any]:
    config = {
        "affinityHeaderFieldName": HEADER, "sessionIdleTimeoutInSeconds": IDLE_S, "sessionTTLInSeconds": TTL_S,
    }  # fmt: skip
    return {
        "functionName": "f", "runtime": RUNTIME, "handler": "index.handler", "code": {"zipFile": ZIP},
        "sessionAffinity": "HEADER_FIELD", "sessionAffinityConfig": json.dumps(config), **changes,
    }  # fmt: skip


async def invoke(sdk: Client, session_id: str = "", event: bytes = b"") -> tuple[str, int, dict[str, str]]:
    """The instance, how many calls it has had, and the headers of the answer."""
    common = {HEADER: session_id} if session_id else {}
    headers = models.InvokeFunctionHeaders(common_headers=common)
    answer = await sdk.answer("invoke_function", "f", body=event, headers=headers)
    instance, calls = json.loads(answer.body.read()) if event != b"exit" else ("", 0)
    return instance, calls, {name.lower(): value for name, value in answer.headers.items()}


async def test_calls_of_a_session_reach_its_instance_while_it_lives(sdk: Client, clocks: FakeClocks) -> None:
    await sdk("create_function", body=function())
    began = clocks.wall()
    one, _calls, headers = await invoke(sdk, "one")
    assert HEADER.lower() not in headers
    two = (await invoke(sdk, "two"))[0]
    assert one != two
    for calls in (2, 3):
        # Longer than an instance is kept that nobody calls.
        await clocks.pass_time(IDLE_S - 40)
        assert (await invoke(sdk, "one"))[:2] == (one, calls)
    assert [each["sessionId"] for each in (await sdk("list_sessions", "f"))["sessions"]] == ["one"]
    found = await sdk("get_session", "f", "one")
    assert found["sessionAffinityType"] == "HEADER_FIELD"
    assert (found["sessionIdleTimeoutInSeconds"], found["sessionTTLInSeconds"]) == (IDLE_S, TTL_S)
    assert found["containerId"] == one
    # By its age it ends, however often it is called.
    while clocks.wall() + IDLE_S / 2 < began + TTL_S:
        await clocks.pass_time(IDLE_S / 2)
        assert (await invoke(sdk, "one"))[0] == one
    await clocks.pass_time(IDLE_S / 2)
    assert (await sdk.failure("get_session", "f", "one"))[1] == "SessionNotFound"
    await invoke(sdk, "one")
    assert (await sdk("get_session", "f", "one"))["createdTime"] != found["createdTime"]


async def test_an_idle_session_and_its_instance_end(sesame: Sesame, sdk: Client, clocks: FakeClocks) -> None:
    await sdk("create_function", body=function())
    one = (await invoke(sdk, "one"))[0]
    await clocks.pass_time(IDLE_S + 120)
    assert (await sdk.failure("get_session", "f", "one"))[:2] == (404, "SessionNotFound")
    await eventually(lambda: not list(sesame.parts.storage.catalog.of_kind("session")))
    # Its keep-alive is over long since.
    await clocks.pass_time(2)
    await eventually(lambda: not sesame.parts.engine.engine.pool.instances())
    again, calls, _headers = await invoke(sdk, "one")
    assert (again != one, calls) == (True, 1)


async def test_a_session_outlives_its_instance(sdk: Client) -> None:
    await sdk("create_function", body=function())
    one = (await invoke(sdk, "one"))[0]
    await invoke(sdk, "one", b"exit")
    two = (await invoke(sdk, "one"))[0]
    assert two != one
    assert (await invoke(sdk, "one"))[:2] == (two, 2)


async def test_a_session_outlives_a_restart_and_gets_a_new_instance(tmp_path: Path, clocks: FakeClocks) -> None:
    async with running(tmp_path / "data", clocks) as sesame:
        sdk = client_of(sesame)
        await sdk("create_function", body=function())
        one = (await invoke(sdk, "one"))[0]
        began = (await sdk("get_session", "f", "one"))["createdTime"]
    async with running(tmp_path / "data", clocks) as sesame:
        sdk = client_of(sesame)
        found = await sdk("get_session", "f", "one")
        assert (found["createdTime"], found["sessionStatus"], found.get("containerId", "")) == (began, "Active", "")
        assert [each["sessionId"] for each in (await sdk("list_sessions", "f"))["sessions"]] == ["one"]
        again, calls, _headers = await invoke(sdk, "one")
        assert (again != one, calls) == (True, 1)
        assert (await invoke(sdk, "one"))[:2] == (again, 2)
        found = await sdk("get_session", "f", "one")
        assert (found["createdTime"], found["containerId"]) == (began, again)


async def test_an_id_is_made_for_a_call_that_names_none(sdk: Client) -> None:
    await sdk("create_function", body=function())
    one, _calls, headers = await invoke(sdk)
    session_id = headers[HEADER.lower()]
    assert (await invoke(sdk, session_id))[:2] == (one, 2)
    assert (await invoke(sdk))[0] != one
    assert (await sdk("get_session", "f", session_id))["sessionStatus"] == "Active"


async def test_a_deleted_session_is_bound_no_longer(sdk: Client) -> None:
    await sdk("create_function", body=function())
    await sdk("create_session", "f", body={"sessionId": "one", "sessionTTLInSeconds": 100})
    assert (await sdk("get_session", "f", "one")).get("containerId", "") == ""
    one = (await invoke(sdk, "one"))[0]
    assert (await sdk("get_session", "f", "one"))["sessionTTLInSeconds"] == 100
    await sdk("delete_session", "f", "one")
    # Its place is free for another session.
    assert (await invoke(sdk, "two"))[:2] == (one, 2)
    assert (await invoke(sdk, "one"))[0] != one
    assert (await sdk("get_session", "f", "one"))["sessionTTLInSeconds"] == TTL_S


async def test_a_call_whose_session_is_deleted_while_it_waits_leaves_no_instance_bound(
    sesame: Sesame, sdk: Client, tmp_path: Path
) -> None:
    await sdk("create_function", body=function())
    go = tmp_path / "go"
    first = asyncio.create_task(invoke(sdk, "one", b"wait for " + bytes(go)))
    await eventually(go.with_suffix(".begun").exists)
    second = asyncio.create_task(invoke(sdk, "one"))
    pool = sesame.parts.engine.engine.pool
    await eventually(lambda: pool.calls == 2)
    await sdk("delete_session", "f", "one")
    assert (await second)[1] == 1
    go.touch()
    await first
    await eventually(lambda: pool.calls == 0)
    assert {len(each.sessions) for each in pool.instances()} == {0}


async def test_what_a_call_cannot_have(sdk: Client) -> None:
    await sdk("create_function", body=function())
    invalid = models.InvokeFunctionHeaders(common_headers={HEADER: "a b"})
    status, code, text = await sdk.failure("invoke_function", "f", headers=invalid)
    assert (status, code) == (400, "InvalidArgument")
    assert "1 to 64 letters" in text
    await invoke(sdk, "one")
    named = models.InvokeFunctionHeaders(common_headers={HEADER: "one"})
    await sdk("publish_function_version", "f", body={})
    other = await sdk.failure("invoke_function", "f", headers=named, qualifier="1")
    assert "a session of LATEST" in other[2]
    await sdk("pause_session", "f", "one")
    assert "ResumeSession" in (await sdk.failure("invoke_function", "f", headers=named))[2]
    await sdk("update_session", "f", "one", body={"enableAutoResume": True})
    await invoke(sdk, "one")
    assert (await sdk("get_session", "f", "one"))["sessionStatus"] == "Active"


# In one test, as each has a Sesame of its own.
async def test_settings_that_cannot_be_followed_are_refused(sdk: Client) -> None:
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("MCP_SSE", {}, "NONE | HEADER_FIELD | GENERATED_COOKIE"),
        ("GENERATED_COOKIE", {"affinityHeaderFieldName": HEADER}, "affinityHeaderFieldName"),
        ("HEADER_FIELD", {}, "AffinityHeaderFieldName"),
        ("HEADER_FIELD", {"affinityHeaderFieldName": "x-fc-mine"}, "SessionAffinityConfig.AffinityHeaderFieldName"),
        ("HEADER_FIELD", {"affinityHeaderFieldName": "mine"}, "AffinityHeaderFieldName"),
        ("HEADER_FIELD", {"affinityHeaderFieldName": HEADER, "sessionTTLInSeconds": 0}, "SessionTTLInSeconds"),
        ("HEADER_FIELD", {"affinityHeaderFieldName": HEADER, "sessionConcurrencyPerInstance": 201}, "at most 200"),
        ("HEADER_FIELD", {"affinityHeaderFieldName": HEADER, "sseEndpointPath": "/sse"}, "sseEndpointPath"),
    ]
    for affinity, config, said in refused:
        body = function(sessionAffinity=affinity, sessionAffinityConfig=json.dumps(config))
        status, code, text = await sdk.failure("create_function", body=body)
        assert (status, code) == (400, "InvalidArgument"), (config, text)
        assert said in text


async def test_http_triggers_have_sessions_too(sesame: Sesame, sdk: Client) -> None:
    await sdk("create_function", body=function())
    trigger = {"triggerName": "t", "triggerType": "http", "triggerConfig": '{"authType":"anonymous","methods":["GET"]}'}
    await sdk("create_trigger", "f", body=trigger)
    port = sesame.endpoints.fc.rpartition(":")[2]

    async def get(**headers: str) -> requests.Response:
        url = f"http://127.0.0.1:{port}/"
        return await asyncio.to_thread(
            requests.get, url, headers={"Host": f"f.localhost:{port}", **headers}, timeout=60
        )

    first = await get()
    session_id = first.headers[HEADER]
    assert (await get(**{HEADER: session_id})).json() == [first.json()[0], 2]
    assert (await get()).json()[0] != first.json()[0]


async def test_a_cookie_names_the_session(sdk: Client, clocks: FakeClocks) -> None:
    config = {"sessionTTLInSeconds": 100, "disableSessionIdReuse": True}
    body = function(sessionAffinity="GENERATED_COOKIE", sessionAffinityConfig=json.dumps(config))
    await sdk("create_function", body=body)

    async def call(cookie: str = "") -> tuple[list[Any], str]:
        """The answer, and the cookie that it sets."""
        headers = models.InvokeFunctionHeaders(common_headers={"Cookie": f"a=b; {cookie}; c=d"})
        answer = await sdk.answer("invoke_function", "f", headers=headers)
        found = {name.lower(): value for name, value in answer.headers.items()}
        return json.loads(answer.body.read()), found.get("set-cookie", "")

    one, made = await call()
    cookie, age, path = made.split("; ")
    name, _equals, session_id = cookie.partition("=")
    assert (name, age, path) == ("x-fc-cookie-session-id", "Max-Age=100", "Path=/")
    assert await call(cookie) == ([one[0], 2], "")
    two, other = await call()
    assert two[0] != one[0]
    assert other != made
    assert (await sdk("get_session", "f", session_id))["sessionAffinityType"] == "GENERATED_COOKIE"
    # What cannot be used is replaced.
    await clocks.pass_time(100)
    for stale in (cookie, f"{name}=a b"):
        replaced = (await call(stale))[1]
        assert replaced.startswith(f"{name}=")
        assert session_id not in replaced
