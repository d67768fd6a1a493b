"""`sesame triggers` against an endpoint: what it lists, what it fires, who may, and how it refuses.

Run by pytest.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, REGION, CommandLine, Endpoint
from tests.fc.test_permissions import credentials, statement
from tests.support.sdk import KEY_ID, SECRET, Client

from sesame.cli.client import Client as SignedClient
from sesame.cli.client import Refused, Request
from sesame.cli.server import Key, Server
from sesame.cli.triggers import triggers
from sesame.http.server import HttpServer
from sesame.identity.roles import Roles, new_role, trust_of_service
from sesame.model.arn import role_arn
from sesame.model.async_invocation import AsyncInvocation
from sesame.model.role import Policy


@pytest.fixture
async def command(
    endpoint: Endpoint, server: HttpServer, client: Client, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    endpoint.now[0] = float(int(time.time()))
    for service in ("shop", "shop-2"):
        await client("create_service", service)
        await client("create_function", service, "f", "python3", "index.handler", codeZipFile=code)
    await make(client, "shop", "every", "timer", {"cronExpression": "0 0 4 * * *", "payload": "p"})
    await make(client, "shop", "off", "timer", {"cronExpression": "@every 5m", "enable": False})
    await make(client, "shop", "web", "http", {"authType": "anonymous", "methods": ["GET", "POST"]})
    await make(client, "shop-2", "table", "tablestore", {}, "acs:ots:cn-hangzhou:1:instance/i/table/orders")
    await make(client, "shop-2", "rows", "rds", {"subscriptionObjects": ["a.b"]}, "acs:rds:cn-hangzhou:1:dbinstance/d")
    await make(client, "shop-2", "off", "timer", {"cronExpression": "@every 1h"})
    return CommandLine(triggers, server)


def queued(endpoint: Endpoint, name: str) -> AsyncInvocation:
    """By the name that `fire` prints."""
    (found,) = [row for row in endpoint.queue.rows if row.invocation_id == name.rpartition("/")[2]]
    return found


async def test_list_says_which_roles_keep_a_trigger_from_firing(
    endpoint: Endpoint, command: CommandLine, client: Client
) -> None:
    roles = Roles(endpoint.catalog)
    for name, trust, action in (
        ("may", "fc.aliyuncs.com", "fc:InvokeFunction"),
        ("may-not", "fc.aliyuncs.com", "fc:GetFunction"),
        ("untrusting", "ecs.aliyuncs.com", "fc:InvokeFunction"),
    ):
        document = json.dumps({"Version": "1", "Statement": [statement("Allow", action)]})
        await roles.put_policy(ACCOUNT_ID, Policy(name, document))
        await roles.put(ACCOUNT_ID, new_role(name, [name], trust=trust_of_service(trust)))
    for name in ("may", "may-not", "untrusting", "gone"):
        role = role_arn(ACCOUNT_ID, name)
        await client("create_trigger", "shop", "f", f"t-{name}", "timer", {"cronExpression": "@every 5m"}, None, role)
    fires = {line.split()[0].removeprefix("shop/f/t-"): line for line in await command("list") if "/t-" in line}
    assert fires["may"].endswith("  yes")
    assert "may-not' does not allow fc:InvokeFunction on acs:fc:" in fires["may-not"]
    for name in ("untrusting", "gone"):
        assert f"{name}' does not exist, or does not trust fc.aliyuncs.com" in fires[name]
    await roles.delete(ACCOUNT_ID, "may")
    (line,) = [line for line in await command("list") if "/t-may " in line]
    assert "does not exist" in line, "as things stand now"


async def make(client: Client, service: str, name: str, kind: str, config: Any, source: str | None = None) -> None:
    await client("create_trigger", service, "f", name, kind, config, source, None)


async def test_list_says_what_each_waits_for_and_what_does_not_fire(command: CommandLine) -> None:
    lines = await command("list")
    assert [line.split()[:2] for line in lines[1:]] == [
        ["shop-2/f/off", "timer"], ["shop-2/f/rows", "rds"], ["shop-2/f/table", "tablestore"],
        ["shop/f/every", "timer"], ["shop/f/off", "timer"], ["shop/f/web", "http"],
    ]  # fmt: skip
    assert "no: Sesame has no Tablestore" in lines[3]
    assert lines[4].split()[-7:] == ["0", "0", "4", "*", "*", "*", "yes"]
    assert "no: it is disabled" in lines[5]
    assert "GET POST" in lines[6]
    assert json.loads("".join(await command("list", "--json")))[0]["serviceName"] == "shop-2"


async def test_list_shows_every_page(command: CommandLine, client: Client) -> None:
    for number in range(120):
        await make(client, "shop", f"t{number:03}", "timer", {"cronExpression": "@every 1h"})
    assert len(await command("list")) == 1 + 126


async def test_fire_puts_a_sample_or_a_given_event_into_the_queue(
    command: CommandLine, endpoint: Endpoint, client: Client, tmp_path: Path
) -> None:
    (name,) = await command("fire", "shop/f/every")
    assert name.startswith("shop/f/")
    new = queued(endpoint, name)
    event = json.loads(new.payload or b"")
    assert (event["triggerName"], event["payload"], new.source) == ("every", "p", "fire")
    (tmp_path / "event").write_bytes(b"\xff\x00 mine")
    for arguments, sent in ((("-f", "event"), b""), (("-f", "-"), b"\xff\x00 mine")):
        (name,) = await command("fire", "shop/f/off", *arguments, sent=sent)
        assert queued(endpoint, name).payload == b"\xff\x00 mine"
    (name,) = await command("fire", "table", "-f", "-", sent=b"")
    assert queued(endpoint, name).payload == b""


async def test_a_request_asks_for_a_sample_or_brings_an_event(command: CommandLine, client: Client) -> None:
    path = "/sesame/services/shop/functions/f/triggers/every/fire"
    refused = await client.failure("do_request", "POST", path, {"sample": "true"}, "mine")
    assert (refused["status"], refused["code"]) == (400, "InvalidArgument")


async def test_fire_calls_the_qualifier_of_the_trigger(
    command: CommandLine, endpoint: Endpoint, client: Client
) -> None:
    version = (await client("publish_version", "shop")).data["versionId"]
    await client("create_alias", "shop", "prod", version)
    await client("create_trigger", "shop", "f", "t", "timer", {"cronExpression": "@every 1h"}, None, None, None, "prod")
    (name,) = await command("fire", "t")
    assert name.startswith("shop/f:prod/")
    assert queued(endpoint, name).target.qualifier == "prod"


async def test_fire_refuses_what_it_cannot_do(command: CommandLine, tmp_path: Path) -> None:
    for arguments, says in (
        (("fire", "nothing"), "no trigger is called 'nothing'"),
        (("fire", "off"), "2 triggers are called 'off': name one of shop-2/f/off, shop/f/off"),
        (("fire", "a/b"), "function 'a' does not exist"),
        (("fire", "shop/f/nothing"), "trigger 'nothing' does not exist"),
        (("fire", "shop/f/web"), "send requests to its address"),
        (("fire", "shop-2/f/rows"), "Event is required"),
    ):
        done = await command.run(*arguments)
        assert done.exit_code != 0
        said = done.output + (str(done.exception) if isinstance(done.exception, Refused) else "")
        assert says in said, said
    (tmp_path / "large").write_bytes(b"x" * (128 * 1024 + 1))
    assert "larger than 131072 bytes" in (await command.run("fire", "table", "-f", "large")).output


@pytest.mark.parametrize(
    ("actions", "lists", "fires"),
    [
        (("fc:ListAllTriggers",), True, False),
        (("fc:FireTrigger",), False, False),
        (("fc:InvokeFunction",), False, False),
        (("fc:FireTrigger", "fc:InvokeFunction"), False, True),
    ],
)
async def test_firing_needs_the_right_to_the_trigger_and_to_the_function(
    command: CommandLine, endpoint: Endpoint, server: HttpServer, actions: tuple[str, ...], lists: bool, fires: bool
) -> None:
    given = await credentials(endpoint, [statement("Allow", action) for action in actions])
    key = Key(given.access_key_id, given.access_key_secret, "the test", given.security_token)
    client = SignedClient(Server(server.url, "the test", key))

    async def may(method: str, path: str) -> bool:
        try:
            await asyncio.to_thread(client.send, Request(method=method, path=path, body=b"event"))
        except Refused as refused:
            return refused.code != "AccessDenied"
        return True

    assert await may("GET", "/sesame/triggers") == lists
    assert await may("POST", "/sesame/services/shop/functions/f/triggers/every/fire") == fires
    assert len(endpoint.queue.rows) == fires


async def test_a_denial_of_the_function_holds_for_a_trigger_that_names_latest(
    command: CommandLine, endpoint: Endpoint, client: Client, server: HttpServer
) -> None:
    """LATEST is no part of the ARN that the policy names."""
    hourly = {"cronExpression": "@every 1h"}
    await client("create_trigger", "shop", "f", "t", "timer", hourly, None, None, None, "LATEST")
    function = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/shop/functions/f"
    denied = [statement("Allow", "fc:*"), statement("Deny", "fc:InvokeFunction", function)]
    given = await credentials(endpoint, denied)
    key = Key(given.access_key_id, given.access_key_secret, "the test", given.security_token)
    request = Request(method="POST", path="/sesame/services/shop/functions/f/triggers/t/fire", body=b"event")
    with pytest.raises(Refused) as refused:
        await asyncio.to_thread(SignedClient(Server(server.url, "the test", key)).send, request)
    assert refused.value.code == "AccessDenied"
    assert endpoint.queue.rows == []


async def test_an_event_that_is_too_large_is_refused(
    command: CommandLine, endpoint: Endpoint, server: HttpServer
) -> None:
    client = SignedClient(Server(server.url, "the test", Key(KEY_ID, SECRET, "the test")))
    path = "/sesame/services/shop/functions/f/triggers/every/fire"
    with pytest.raises(Refused, match="131072") as refused:
        await asyncio.to_thread(client.send, Request(method="POST", path=path, body=b"x" * 131073))
    assert refused.value.code == "EntityTooLarge"
    assert endpoint.queue.rows == []
