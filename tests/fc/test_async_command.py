"""`sesame async` against an endpoint: what it lists and shows, what it changes, and how it refuses."""

import json
import time
from pathlib import Path

import msgspec
import pytest
from tests.fc.conftest import CommandLine, Endpoint
from tests.support.sdk import Client

from sesame.cli.async_invocations import async_
from sesame.cli.client import Refused
from sesame.http.server import HttpServer
from sesame.model.async_invocation import DeadLetter, InvocationEvent, State
from sesame.model.invocation import Target


@pytest.fixture
async def command(
    endpoint: Endpoint, server: HttpServer, client: Client, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    endpoint.now[0] = float(int(time.time()))
    await client("create_service", "demo")
    await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    for name in ("first", "second"):
        sent = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": name}
        await client("invoke_function", "demo", "f", b"event\x1b[2J", headers=sent)
    now = endpoint.now[0]
    endpoint.queue.set(
        1,
        state=State.FAILED,
        started_at=now,
        ended_at=now + 1,
        attempts=3,
        duration_ms=12.0,
        error="UnhandledInvocationError",
        events=(InvocationEvent(1, "Enqueued", now), InvocationEvent(2, "Failed", now + 1, "why")),
    )
    return CommandLine(async_, server)


async def test_list(command: CommandLine) -> None:
    head, *lines = await command("list")
    assert head.split() == ["status", "accepted", "took", "retries", "source", "next", "last", "error", "invocation"]
    assert [line.split()[0] for line in lines] == ["Enqueued", "Failed"]
    assert [line.split()[-1] for line in lines] == ["demo/f/second", "demo/f/first"]
    assert lines[1].split()[2:5] == ["12", "ms", "3"]
    assert [line.split()[-1] for line in (await command("list", "demo/f", "--status", "failed"))[1:]] == [
        "demo/f/first"
    ]
    assert [line.split()[-1] for line in (await command("list", "--prefix", "se"))[1:]] == ["demo/f/second"]
    assert len(await command("list", "-n", "1")) == 2


async def test_list_and_show_say_when_the_next_attempt_is_and_what_the_last_one_failed_of(
    command: CommandLine, endpoint: Endpoint
) -> None:
    endpoint.queue.rows[1] = msgspec.structs.replace(
        endpoint.queue.rows[1], state=State.RETRYING, attempts=2, error="boom\n" + "x" * 100, next_at=1_700_000_030.0
    )
    (line,) = [line for line in await command("list") if line.startswith("Retrying")]
    assert line.split()[2:] == ["2", "api", "2023-11-14T22:13:50.000Z", "boom", "x" * 54 + "…", "demo/f/second"]
    shown = "\n".join(await command("show", "demo/f/second"))
    for text in ("retries      2", "due          2023-11-14T22:13:50.000Z", "error        boom"):
        assert text in shown


async def test_destinations_are_listed_with_those_that_get_no_records(command: CommandLine, client: Client) -> None:
    assert await command("destinations") == ["function  on  destination  delivered"]
    queue = "acs:mns:::/queues/q/messages"
    await client("publish_version", "demo")
    await client(
        "put_function_async_invoke_config",
        "demo",
        "LATEST",
        "f",
        {"destinationConfig": {"onSuccess": {"destination": "http://h/yes"}, "onFailure": {"destination": queue}}},
    )
    await client("create_alias", "demo", "prod", "1")
    await client("put_function_async_invoke_config", "demo", "prod", "f", {"maxAsyncRetryAttempts": 1})
    config = {"destinationConfig": {"onSuccess": {"destination": "services/demo/functions/f"}}}
    await client("put_function_async_invoke_config", "demo", "1", "f", config)
    _head, first, second, third = await command("destinations")
    assert first.split() == ["demo/f:1", "Success", "services/demo/functions/f", "yes"]
    assert second.split() == ["demo/f", "Success", "http://h/yes", "yes"]
    assert third.split()[:4] == ["demo/f", "Failure", queue, "no:"]
    assert "--destinations" in third
    listed = json.loads("\n".join(await command("destinations", "--json")))
    assert [bool(each["undeliveredBecause"]) for each in listed] == [False, False, True]


async def test_list_of_nothing(command: CommandLine) -> None:
    done = await command.run("list", "--status", "Expired")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert "No invocations match." in done.stderr


async def test_list_reads_page_after_page(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sesame.cli.async_invocations.PAGE", 1)
    assert len(await command("list")) == 3


async def test_show(command: CommandLine) -> None:
    shown = "\n".join(await command("show", "demo/f/first"))
    for text in ("status       Failed", "retries      3", "error        UnhandledInvocationError", "Failed  why"):
        assert text in shown
    # What a caller sent cannot change the terminal.
    assert "event        event\\x1b[2J" in shown


async def test_json(command: CommandLine) -> None:
    listed = json.loads("\n".join(await command("list", "--json")))
    shown = json.loads("\n".join(await command("show", "demo/f:LATEST/first", "--json")))
    del shown["invocation"]["invocationPayload"]
    assert listed[1] == shown
    assert shown["invocation"]["status"] == "Failed"


async def test_stop_and_replay(command: CommandLine, endpoint: Endpoint) -> None:
    assert await command("stop", "demo/f/second") == ["Stopped"]
    assert endpoint.queue.rows[1].state is State.STOPPED
    (name,) = await command("replay", "demo/f/first")
    assert name == f"demo/f/{endpoint.queue.rows[2].invocation_id}"
    assert (endpoint.queue.rows[2].source, endpoint.queue.rows[2].payload) == ("replay", b"event\x1b[2J")


async def test_what_is_refused_by_the_server(command: CommandLine) -> None:
    for arguments, code in (
        (("show", "demo/f/no"), "StatefulAsyncInvocationNotFound"),
        (("stop", "demo/f/first"), "InvalidArgument"),
        (("replay", "demo/f/second"), "InvalidArgument"),
        (("list", "demo/no"), "FunctionNotFound"),
        (("list", "alone"), "FunctionNotFound"),
    ):
        done = await command.run(*arguments)
        assert isinstance(done.exception, Refused)
        assert done.exception.code == code


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "first"),
        ("show", "/first"),
        ("stop", "demo//first"),
        ("replay", "a/b/c/d"),
        ("list", "a/b/c"),
    ],
)
async def test_names_that_are_none(command: CommandLine, arguments: tuple[str, ...]) -> None:
    done = await command.run(*arguments)
    assert done.exit_code == 2
    assert "expected SERVICE" in done.output or "expected [SERVICE/]" in done.output


async def test_dead_letters(command: CommandLine, endpoint: Endpoint) -> None:
    assert len(await command("list", "--dead-letters")) == 1
    now = endpoint.now[0]
    for number in (7, 8):
        endpoint.queue.deliveries.letters[number] = DeadLetter(
            id=number, destination="http://127.0.0.1:1/hook", record=b'{"a":1}', condition="Success", attempts=5,
            target=Target("demo", "LATEST", "f"), invocation_id="first", request_id="r", error="connection refused",
            created_at=now, buried_at=now + 60,
        )  # fmt: skip
    listed = await command("list", "--dead-letters")
    assert [line.split()[-1] for line in listed[1:]] == ["dead-letter/8", "dead-letter/7"]
    assert listed[1].split()[1:4] == ["5", "Success", "http://127.0.0.1:1/hook"]
    shown = "\n".join(await command("show", "dead-letter/7"))
    for text in ("error        connection refused", "invocation   demo/f/first", 'record       {"a":1}'):
        assert text in shown
    assert json.loads("\n".join(await command("show", "dead-letter/7", "--json")))["deadLetter"] == "7"
    assert await command("replay", "dead-letter/7") == []
    assert endpoint.queue.deliveries.replayed == [7]
    assert (await command.run("list", "--dead-letters", "--status", "Failed")).exit_code == 2
