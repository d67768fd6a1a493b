"""Functions without services in commands and in the versions with services: by their own names, never their owners'."""

import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, REGION, Answer, CommandLine, Endpoint
from tests.support.recordings import recording
from tests.support.sdk_2023 import made

from sesame.cli.async_invocations import async_
from sesame.cli.recordings import record
from sesame.cli.triggers import triggers
from sesame.http.server import HttpServer

QUEUE = f"acs:mns:{REGION}:{ACCOUNT_ID}:/queues/q/messages"
V3 = "/2023-03-30"
TIMER = {"triggerName": "t", "triggerType": "timer", "triggerConfig": '{"cronExpression": "@every 1h"}'}


@pytest.fixture
async def alone(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """The function `f` without a service, with a timer, a destination and a call that waits."""
    monkeypatch.chdir(tmp_path)
    endpoint.now[0] = float(int(time.time()))
    for method, path, body in (
        ("POST", "/functions", made()),
        ("POST", "/functions/f/triggers", TIMER),
        ("PUT", "/functions/f/async-invoke-config", {"destinationConfig": {"onFailure": {"destination": QUEUE}}}),
    ):  # fmt: skip
        answer = await called(endpoint, method, V3 + path, body)
        assert answer.status == 200, answer.body
    endpoint.recordings.take(recording("r-1", service="$f"))
    return endpoint


async def called(endpoint: Endpoint, method: str, path: str, body: bytes | dict[str, Any] = b"") -> Answer:
    sent = {"date": formatdate(endpoint.now[0], usegmt=True)}
    return await endpoint.call(method, path, body, sent, whole_path=True)


async def test_commands_name_them_as_they_take_their_names(alone: Endpoint, server: HttpServer) -> None:
    of_triggers, of_async = CommandLine(triggers, server), CommandLine(async_, server)
    listed = await of_triggers("list")
    assert [line.split()[0] for line in listed[1:]] == ["f/t"]
    (fired,) = await of_triggers("fire", "f/t")
    function, _slash, invocation = fired.partition("/")
    assert (function, bool(invocation)) == ("f", True)
    shown = await of_async("show", fired)
    assert shown[0].split() == ["invocation", fired]
    assert (await of_async("list"))[-1].split()[-1] == fired
    assert (await of_async("destinations"))[-1].split()[0] == "f"
    await of_async("stop", fired)
    of_recordings = CommandLine(record, server)
    assert (await of_recordings("list"))[-1].split()[2] == "f"
    whole = await of_recordings("show", "r-1")
    for text in ("\n".join(lines) for lines in (listed, shown, whole)):
        assert "$f" not in text


async def test_refusals_of_own_operations_name_the_function(alone: Endpoint) -> None:
    for path in (
        "/services/$f/functions/f/async-invocations/none",
        "/services/$g/functions/g/async-invocations/none",
        "/services/$f/functions/f/triggers/none/fire?sample=true",
        "/services/$g/functions/g/triggers/none/fire?sample=true",
    ):  # fmt: skip
        method = "POST" if "fire" in path else "GET"
        answer = await called(alone, method, f"/sesame{path.replace('$', '%24')}")
        assert answer.status == 404, (path, answer.body)
        assert b"$" not in answer.body, (path, answer.body)


@pytest.mark.parametrize("version", ["2016-08-15", "2021-04-06"])
async def test_domains_of_versions_with_services_show_no_owner_and_take_none(alone: Endpoint, version: str) -> None:
    routes = [{"path": "/*", "functionName": "f"}, {"path": "/s/*", "functionName": "s$g"}]
    body = {"domainName": "a.example.com", "protocol": "HTTP", "routeConfig": {"routes": routes}}
    assert (await called(alone, "POST", f"{V3}/custom-domains", body)).status == 200
    domain = f"/{version}/custom-domains/a.example.com"
    found = (await called(alone, "GET", domain)).json()
    named = [(each["serviceName"], each["functionName"]) for each in found["routeConfig"]["routes"]]
    assert named == [("", "f"), ("s", "g")]
    (listed,) = (await called(alone, "GET", f"/{version}/custom-domains")).json()["customDomains"]
    assert listed["routeConfig"] == found["routeConfig"]
    owner = {"routeConfig": {"routes": [{"path": "/*", "serviceName": "$f", "functionName": "f"}]}}
    for method, path, sent in (
        ("PUT", domain, owner),
        ("POST", f"/{version}/custom-domains", {"domainName": "b.example.com", "protocol": "HTTP", **owner}),
    ):
        refused = await called(alone, method, path, sent)
        assert (refused.status, b"RouteConfig.Routes.ServiceName" in refused.body) == (400, True), refused.body
    refused = await called(alone, "GET", f"/{version}/provision-configs?serviceName=%24f")
    assert (refused.status, b"service '$f' does not exist" in refused.body) == (404, True), refused.body
