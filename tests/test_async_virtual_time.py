"""Asynchronous invocations through a whole Sesame in this process, on clocks that the test moves.

Run by pytest. Opens ports on 127.0.0.1 only.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fc2
import pytest
from tests.support.fakes import FakeClocks
from tests.support.official_sdks import ask_by_fc2
from tests.support.virtual_time import eventually

from sesame.app import Sesame
from sesame.settings import Settings

pytestmark = pytest.mark.usefixtures("few_runtimes")

RUNTIME = "python3.10"
RETRIED = """
import os, time
HERE = os.path.dirname(os.path.abspath(__file__))
def handler(event, context):
    if event == b'fail' or context.retry_count < 2 and event == b'twice':
        raise ValueError('attempt %s' % context.retry_count)
    if event == b'wait':
        time.sleep(60)
    return b'retries: %d' % context.retry_count
"""
KEPT = """
def handler(event, context):
    with open(%r, 'ab') as file:
        file.write(event + b'\\n')
"""
ALLOWED = {
    "Version": "1",
    "Statement": [
        {"Effect": "Allow", "Action": "fc:InvokeFunction", "Resource": "acs:fc:*:*:services/s/functions/kept"}
    ],
}


@dataclass
class Inbox:
    """An HTTP server that keeps what is posted to it."""

    posted: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        self.posted.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@dataclass
class Setup:
    sesame: Sesame
    settings: Settings
    clocks: FakeClocks
    client: Any
    inbox: Inbox
    kept: Path

    async def restart(self) -> None:
        """Stops Sesame and starts another on the same data directory, by the same clocks; its ports are others."""
        await self.sesame.stop()
        self.sesame = Sesame(self.settings, self.clocks)
        await self.sesame.start()
        self.client = client_of(self.sesame)

    async def asked(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The SDK blocks, so each call runs in a thread; Sesame runs in this loop."""
        return await asyncio.to_thread(getattr(self.client, method), *arguments, **options)

    async def invoke(self, payload: bytes, invocation: str, function: str = "f") -> None:
        headers = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": invocation}
        await self.asked("invoke_function", "s", function, payload=payload, headers=headers)

    async def state(self, invocation: str, function: str = "f") -> dict[str, Any]:
        path = f"/2016-08-15/services/s/functions/{function}/stateful-async-invocations/{invocation}"
        response = await asyncio.to_thread(ask_by_fc2, self.client, "GET", path)
        found: dict[str, Any] = response.json()
        return found

    async def ends(self, invocation: str, state: str, function: str = "f") -> dict[str, Any]:
        """Lets time pass until the invocation is in this state."""

        async def ended() -> bool:
            await self.clocks.pass_time(1.0)
            return bool((await self.state(invocation, function))["status"] == state)

        await eventually(ended)
        return await self.state(invocation, function)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    inbox = Inbox()
    server = await asyncio.start_server(inbox.serve, "127.0.0.1", 0)
    inbox.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    clocks = FakeClocks(wall=time.time())
    settings = Settings(
        port=0,
        oss_port=0,
        data_dir=tmp_path / "data",
        sandbox="plain",
        drain_s=0,
        roles={"invoking": {"policy": ALLOWED}},
        destinations={"acs:mns:": inbox.url},
    )
    sesame = Sesame(settings, clocks)
    await sesame.start()
    made = Setup(sesame, settings, clocks, client_of(sesame), inbox, tmp_path / "records")
    account = sesame.endpoints.account_id
    await made.asked("create_service", "s", role=f"acs:ram::{account}:role/invoking")
    for name, code in (("f", RETRIED), ("kept", KEPT % str(made.kept))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(code)
        await made.asked(
            "create_function", "s", name, RUNTIME, "main.handler", codeDir=str(tmp_path / name), timeout=120
        )
    yield made
    await made.sesame.stop()
    server.close()


def client_of(sesame: Sesame) -> fc2.Client:
    key = sesame.data_dir.credentials()
    return fc2.Client(
        endpoint=sesame.endpoints.fc, accessKeyID=key.access_key_id, accessKeySecret=key.access_key_secret
    )


async def configure(setup: Setup, **config: Any) -> None:
    await setup.asked("put_function_async_invoke_config", "s", "LATEST", "f", config)


def to(destination: str) -> dict[str, str]:
    return {"destination": destination}


async def test_what_fails_twice_succeeds_in_the_end_and_a_function_is_told(setup: Setup) -> None:
    await configure(setup, destinationConfig={"onSuccess": to("acs:fc:::services/s/functions/kept")})
    await setup.invoke(b"twice", "a")
    found = await setup.ends("a", "Succeeded")
    assert (found["alreadyRetriedTimes"], found["destinationStatus"]) == (2, "Delivered")
    assert found["returnPayload"] == "retries: 2"
    await eventually(lambda: setup.kept.exists() and setup.kept.read_text().endswith("\n"))
    record = json.loads(setup.kept.read_text())
    assert (record["requestPayload"], record["responsePayload"]) == ("twice", "retries: 2")
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestContext"]["condition"] == "Success"


async def test_what_fails_for_good_goes_to_a_url_and_by_a_mapped_arn(setup: Setup) -> None:
    async def fails(invocation: str, destination: str) -> None:
        await configure(setup, maxAsyncRetryAttempts=1, destinationConfig={"onFailure": to(destination)})
        await setup.invoke(b"fail", invocation)
        found = await setup.ends(invocation, "Failed")
        assert "attempt 1" in found["invocationErrorMessage"]

    await fails("a", setup.inbox.url)
    await fails("b", "acs:mns:::/queues/q/messages")
    await eventually(lambda: len(setup.inbox.posted) == 2)
    assert {record["requestContext"]["condition"] for record in setup.inbox.posted} == {"UnhandledInvocationError"}
    assert json.loads(setup.inbox.posted[0]["responsePayload"])["errorMessage"] == "attempt 1"


async def test_what_was_configured_at_its_acceptance_counts_though_its_function_is_gone(setup: Setup) -> None:
    """Both kinds of destination are told; neither the configuration nor the function is there when the call is due."""
    later = {"x-fc-invocation-type": "Async", "x-fc-async-delay": "600"}

    async def accepted(invocation: str, destination: str) -> None:
        await configure(setup, maxAsyncRetryAttempts=1, destinationConfig={"onFailure": to(destination)})
        headers = later | {"x-fc-stateful-async-invocation-id": invocation}
        await setup.asked("invoke_function", "s", "f", payload=invocation.encode(), headers=headers)

    await accepted("by-url", setup.inbox.url)
    await accepted("by-function", "services/s/functions/kept")
    await setup.asked("delete_function_async_invoke_config", "s", "LATEST", "f")
    await setup.asked("delete_function", "s", "f")
    await setup.clocks.pass_time(601.0)
    await eventually(lambda: setup.inbox.posted and setup.kept.exists() and setup.kept.read_text().endswith("\n"))
    for record, payload in ((setup.inbox.posted[0], "by-url"), (json.loads(setup.kept.read_text()), "by-function")):
        assert record["requestPayload"] == payload
        assert record["requestContext"]["condition"] == "FunctionNotFound"
        assert record["requestContext"]["approximateInvokeCount"] == 0
    assert len(setup.inbox.posted) == 1


async def test_a_destination_that_the_role_does_not_allow_is_a_dead_letter_in_the_end(setup: Setup) -> None:
    await configure(setup, destinationConfig={"onSuccess": to("services/s/functions/f")})
    await setup.invoke(b"fine", "a")
    await setup.ends("a", "Succeeded")

    async def buried() -> bool:
        await setup.clocks.pass_time(60.0)
        # The SDK signs with today's time, and the server refuses what was signed for another.
        setup.clocks.set_wall(time.time())
        return "DeadLetter" in (await setup.state("a"))["destinationStatus"]

    await eventually(buried)
    assert "does not allow fc:InvokeFunction" in (await setup.state("a"))["destinationStatus"]


async def test_a_running_invocation_is_stopped_by_the_end_of_its_instance(setup: Setup) -> None:
    await setup.invoke(b"wait", "a")
    await setup.invoke(b"wait", "b")
    running = {invocation: await setup.ends(invocation, "Running") for invocation in ("a", "b")}
    assert running["a"]["instanceId"] != running["b"]["instanceId"] != ""
    await setup.clocks.pass_time(3.0)
    path = "/2016-08-15/services/s/functions/f/stateful-async-invocations/a"
    await asyncio.to_thread(ask_by_fc2, setup.client, "PUT", path)
    found = await setup.ends("a", "Stopped")
    assert [event["status"] for event in found["events"]][-1] == "Stopped"
    assert found["instanceId"] == running["a"]["instanceId"]
    assert found["durationMs"] >= 3000
    assert (await setup.state("b"))["status"] == "Running"


async def test_what_was_accepted_before_a_stop_is_run_after_the_next_start(setup: Setup) -> None:
    headers = {"x-fc-invocation-type": "Async", "x-fc-async-delay": "600", "x-fc-stateful-async-invocation-id": "a"}
    await setup.asked("invoke_function", "s", "f", payload=b"x", headers=headers)
    await setup.clocks.pass_time(500.0)
    assert (await setup.state("a"))["status"] == "Enqueued"
    await setup.restart()
    assert (await setup.state("a"))["status"] == "Enqueued"
    await setup.clocks.pass_time(120.0)
    await setup.ends("a", "Succeeded")
