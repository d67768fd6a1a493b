"""Stateful asynchronous invocations, signed as `aliyun-fc2` signs what it has no methods for: read, listed, stopped."""

import pytest
from tests.fc.conftest import Endpoint
from tests.support.sdk import Client

from sesame.fc.milliseconds import first_at, last_at, milliseconds
from sesame.model.async_invocation import DeadLetter, InvocationEvent, State
from sesame.model.invocation import Target

INVOCATIONS = "/services/demo/functions/f/stateful-async-invocations"


@pytest.fixture
async def demo(client: Client, endpoint: Endpoint, code: str) -> Client:
    await client("create_service", "demo")
    await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    return client


async def invoke(client: Client, name: str, event: bytes = b"event", **headers: str) -> str:
    sent = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": name, **headers}
    answer = await client("invoke_function", "demo", "f", event, headers=sent)
    return str(answer.headers["X-Fc-Request-Id"])


async def test_an_invocation_that_waits(demo: Client, endpoint: Endpoint) -> None:
    request_id = await invoke(demo, "mine", "ä".encode())
    found = await demo.request("GET", "/services/demo/functions/f/stateful-async-invocations/mine")
    accepted_ms = milliseconds(endpoint.now[0])
    assert found == {
        "serviceName": "demo",
        "qualifier": "LATEST",
        "functionName": "f",
        "invocationId": "mine",
        "requestId": request_id,
        "status": "Enqueued",
        "startedTime": accepted_ms,
        "endTime": 0,
        "durationMs": 0,
        "alreadyRetriedTimes": 0,
        "instanceId": "",
        "destinationStatus": "",
        "invocationErrorMessage": "",
        "returnPayload": "",
        "invocationPayload": "ä",
        "events": [{"eventId": 1, "status": "Enqueued", "timestamp": accepted_ms, "eventDetail": ""}],
    }


async def test_an_invocation_that_has_ended(demo: Client, endpoint: Endpoint) -> None:
    await invoke(demo, "mine")
    now = endpoint.now[0]
    endpoint.queue.set(
        1,
        state=State.FAILED,
        started_at=now + 1,
        ended_at=now + 2.0014,
        duration_ms=999.6,
        attempts=3,
        error="UnhandledInvocationError",
        return_payload=b'{"errorMessage":"\xff"}',
        instance_id="c-1",
        destination_status="Succeeded",
        events=(InvocationEvent(7, "Failed", now + 2, '{"Error":"UnhandledInvocationError"}'),),
    )
    found = await demo.request("GET", f"{INVOCATIONS}/mine")
    assert (found["status"], found["startedTime"]) == ("Failed", milliseconds(now))
    assert (found["endTime"], found["durationMs"]) == (milliseconds(now + 2.0014), 1000)
    assert (found["alreadyRetriedTimes"], found["instanceId"]) == (3, "c-1")
    assert (found["invocationErrorMessage"], found["destinationStatus"]) == ("UnhandledInvocationError", "Succeeded")
    assert found["returnPayload"] == '{"errorMessage":"\ufffd"}'
    assert found["events"][0]["eventDetail"] == '{"Error":"UnhandledInvocationError"}'


async def test_what_is_not_there(demo: Client) -> None:
    assert await demo.request("GET", "/services/demo/functions/f/stateful-async-invocations") == {"invocations": None}
    assert await demo.request("GET", "/stateful-async-invocation-functions") == {"data": []}
    for gone in (await demo.refused("GET", f"{INVOCATIONS}/x"), await demo.refused("PUT", f"{INVOCATIONS}/x")):
        assert (gone["status"], gone["code"]) == (404, "StatefulAsyncInvocationNotFound")
    for path in ("", "/x"):
        gone = await demo.refused("GET", f"/services/demo/functions/no/stateful-async-invocations{path}")
        assert (gone["status"], gone["code"]) == (404, "FunctionNotFound")


async def test_a_stateless_invocation_is_not_shown(demo: Client) -> None:
    answer = await demo("invoke_function", "demo", "f", b"", headers={"x-fc-invocation-type": "Async"})
    gone = await demo.refused("GET", f"{INVOCATIONS}/{answer.headers['X-Fc-Request-Id']}")
    assert gone["code"] == "StatefulAsyncInvocationNotFound"
    assert await demo.request("GET", INVOCATIONS) == {"invocations": None}


async def test_filters_and_pages(demo: Client, endpoint: Endpoint) -> None:
    start = endpoint.now[0]
    for number in range(5):
        endpoint.now[0] = start + number
        await invoke(demo, f"{'odd' if number % 2 else 'even'}-{number}")
    endpoint.queue.set(3, state=State.SUCCEEDED)

    async def names(**query: str) -> list[str]:
        found = await demo.request("GET", INVOCATIONS, **query)
        return [each["invocationId"] for each in found["invocations"] or ()]

    def ms(number: float) -> str:
        return str(milliseconds(start + number))

    assert await names() == ["even-4", "odd-3", "even-2", "odd-1", "even-0"]
    assert await names(sortOrderByTime="asc") == ["even-0", "odd-1", "even-2", "odd-3", "even-4"]
    assert await names(status="Succeeded") == ["even-2"]
    assert await names(status="Expired") == []
    assert await names(invocationIdPrefix="odd-") == ["odd-3", "odd-1"]
    assert await names(startedTimeBegin=ms(3)) == ["even-4", "odd-3"]
    assert await names(startedTimeBegin=ms(1), startedTimeEnd=ms(2)) == ["even-2", "odd-1"]
    seen: list[str] = []
    query, pages = {"limit": "2"}, 0
    while True:
        page = await demo.request("GET", INVOCATIONS, **query)
        seen += [each["invocationId"] for each in page["invocations"]]
        pages += 1
        if "nextToken" not in page:
            break
        query["nextToken"] = page["nextToken"]
    assert (pages, seen) == (3, ["even-4", "odd-3", "even-2", "odd-1", "even-0"])


async def test_the_event_is_listed_where_it_is_asked_for(demo: Client) -> None:
    await invoke(demo, "mine", b"event")
    for query, shown in (({}, None), ({"includePayload": "false"}, None), ({"includePayload": "True"}, "event")):
        listed = await demo.request("GET", INVOCATIONS, **query)
        assert listed["invocations"][0].get("invocationPayload") == shown


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("status=Done", "Status is set to an invalid value (allowed: Enqueued | Dequeued | Running | "),
        ("sortOrderByTime=up", "SortOrderByTime is set to an invalid value (allowed: asc | desc, actual: 'up')"),
        ("startedTimeBegin=now", "StartedTimeBegin is set to an invalid value (allowed: milliseconds since 1970"),
        ("startedTimeEnd=1.5", "StartedTimeEnd is set to an invalid value (allowed: milliseconds since 1970"),
        ("limit=0", "Limit is set to an invalid value (allowed: 1 to 100, actual: '0')"),
        ("limit=101", "Limit is set to an invalid value (allowed: 1 to 100, actual: '101')"),
        ("includePayload=perhaps", "IncludePayload is set to an invalid value (allowed: true | false"),
    ],
)
async def test_filters_that_are_refused(demo: Client, query: str, text: str) -> None:
    name, _equals, value = query.partition("=")
    refused = await demo.failure("do_request", "GET", "/2016-08-15" + INVOCATIONS, {name: value})
    assert (refused["status"], refused["code"]) == (400, "InvalidArgument")
    assert refused["ErrorMessage"].startswith(text)


async def test_a_queued_invocation_is_stopped_and_a_running_one_is_stopping(demo: Client, endpoint: Endpoint) -> None:
    for number, (before, after) in enumerate(
        [(State.ENQUEUED, "Stopped"), (State.RETRYING, "Stopped"), (State.RUNNING, "Stopping")], 1
    ):
        await invoke(demo, f"job-{number}")
        endpoint.queue.set(number, state=before)
        answer = await demo(
            "do_request", "PUT", f"/2016-08-15/services/demo/functions/f/stateful-async-invocations/job-{number}"
        )
        assert (answer.status_code, answer.content, answer.headers.get("Content-Type")) == (204, b"", None)
        assert (await demo.request("GET", f"{INVOCATIONS}/job-{number}"))["status"] == after


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.EXPIRED, State.STOPPED])
async def test_what_has_ended_cannot_be_stopped(demo: Client, endpoint: Endpoint, state: State) -> None:
    await invoke(demo, "mine")
    endpoint.queue.set(1, state=state)
    refused = await demo.refused("PUT", f"{INVOCATIONS}/mine")
    assert (refused["status"], refused["code"]) == (400, "InvalidArgument")
    assert f"actual: '{state.value}'" in refused["ErrorMessage"]


async def test_functions_with_stateful_invocations(demo: Client, code: str) -> None:
    for name in ("a", "z"):
        await demo("create_function", "demo", name, "python3", "index.handler", codeZipFile=code)
    await demo("put_function_async_invoke_config", "demo", "LATEST", "z", {"statefulInvocation": True})
    await demo("put_function_async_invoke_config", "demo", "LATEST", "a", {"statefulInvocation": False})
    await invoke(demo, "mine")
    whole = await demo.request("GET", "/stateful-async-invocation-functions")
    assert whole == {
        "data": [
            {"serviceName": "demo", "functionName": "f", "qualifier": "LATEST"},
            {"serviceName": "demo", "functionName": "z", "qualifier": "LATEST"},
        ]
    }
    first = await demo.request("GET", "/stateful-async-invocation-functions", limit="1")
    assert first["data"] == whole["data"][:1]
    rest = await demo.request("GET", "/stateful-async-invocation-functions", limit="1", nextToken=first["nextToken"])
    assert rest == {"data": whole["data"][1:]}


async def test_under_a_qualifier(demo: Client) -> None:
    await demo("publish_version", "demo")
    await demo("create_alias", "demo", "prod", "1")
    sent = {"x-fc-invocation-type": "Async", "x-fc-stateful-async-invocation-id": "mine"}
    await demo("invoke_function", "demo", "f", b"", headers=sent, qualifier="prod")
    under = "/services/demo.prod/functions/f/stateful-async-invocations"
    assert (await demo.request("GET", f"{under}/mine"))["qualifier"] == "prod"
    assert len((await demo.request("GET", under))["invocations"]) == 1
    assert (await demo.refused("GET", f"{INVOCATIONS}/mine"))["status"] == 404


async def test_signed_as_the_sdk_signs_its_http_requests(demo: Client, endpoint: Endpoint) -> None:
    """`do_http_request` signs the query too; its signatures are taken for every operation."""
    await invoke(demo, "mine")
    for method, path, query in (
        ("GET", f"{INVOCATIONS}/mine", {}),
        ("GET", INVOCATIONS, {"limit": "5", "status": "Enqueued", "invocationIdPrefix": "mi"}),
        ("GET", "/stateful-async-invocation-functions", {"limit": "5"}),
        ("PUT", f"{INVOCATIONS}/mine", {}),
    ):
        answer = await demo("do_signed_with_query", method, "/2016-08-15" + path, query)
        assert answer.status_code in (200, 204)
    assert endpoint.queue.rows[0].state is State.STOPPED


@pytest.mark.parametrize("shown", [0, 1, 1_764_366_000_000, 1_764_366_000_001, 1_764_366_000_999])
def test_a_time_that_was_shown_finds_what_it_was_shown_for(shown: int) -> None:
    for seconds in (shown / 1000, (shown + 0.25) / 1000, (shown + 0.99) / 1000):
        assert milliseconds(seconds) == shown
        assert first_at(shown) <= seconds <= last_at(shown)
    assert milliseconds(last_at(shown) + 0.001) == shown + 1


OWN = "/sesame/services/demo/functions/f/async-invocations"


async def test_the_operator_s_view_has_stateless_invocations_too(demo: Client, endpoint: Endpoint) -> None:
    sent = {"x-fc-invocation-type": "Async", "x-fc-async-delay": "10"}
    request_id = (await demo("invoke_function", "demo", "f", b"event", headers=sent)).headers["X-Fc-Request-Id"]
    await invoke(demo, "mine")
    listed = (await demo.request("GET", "/sesame/async-invocations"))["invocations"]
    assert [each["invocation"]["invocationId"] for each in listed] == ["mine", request_id]
    found = await demo.request("GET", f"/sesame/services/demo/functions/f/async-invocations/{request_id}")
    now = milliseconds(endpoint.now[0])
    del found["invocation"]
    assert found == {
        "stateful": False,
        "source": "api",
        "dueTime": now + 10_000,
        "runningTime": 0,
        "expiresTime": now + 10_000 + 24 * 3600 * 1000,
        "throttles": 0,
    }


async def test_the_operator_s_view_of_one_function(demo: Client) -> None:
    await invoke(demo, "mine")
    whole = await demo.request("GET", "/sesame/async-invocations", service="demo", function="f", limit="1")
    assert len(whole["invocations"]) == 1
    assert "nextToken" not in whole
    under = await demo.request("GET", "/sesame/async-invocations", service="demo.LATEST", function="f", status="Failed")
    assert under == {"invocations": []}
    gone = await demo.failure("do_request", "GET", "/sesame/async-invocations", {"service": "demo", "function": "no"})
    assert gone["code"] == "FunctionNotFound"
    half = await demo.failure("do_request", "GET", "/sesame/async-invocations", {"service": "demo"})
    assert (half["code"], half["ErrorMessage"]) == ("InvalidArgument", "Function is required but not provided")


async def test_replay(demo: Client, endpoint: Endpoint) -> None:
    await invoke(demo, "mine", b"event")
    early = await demo.refused("POST", f"{OWN}/mine/replay")
    assert (early["status"], early["code"]) == (400, "InvalidArgument")
    endpoint.queue.set(1, state=State.FAILED, ended_at=endpoint.now[0])
    new = await demo.request("POST", "/sesame/services/demo/functions/f/async-invocations/mine/replay")
    assert [row.invocation_id for row in endpoint.queue.rows] == ["mine", new["invocationId"]]
    again = endpoint.queue.rows[1]
    assert (again.payload, again.stateful, again.source) == (b"event", True, "replay")
    assert (await demo.refused("POST", f"{OWN}/no/replay"))["code"] == "StatefulAsyncInvocationNotFound"


async def test_stopped_by_the_operator(demo: Client, endpoint: Endpoint) -> None:
    sent = {"x-fc-invocation-type": "Async"}
    request_id = (await demo("invoke_function", "demo", "f", b"", headers=sent)).headers["X-Fc-Request-Id"]
    await demo.request("PUT", f"/sesame/services/demo/functions/f/async-invocations/{request_id}")
    assert endpoint.queue.rows[0].state is State.STOPPED
    assert (await demo.refused("PUT", f"{OWN}/{request_id}"))["code"] == "InvalidArgument"


async def test_destinations_are_listed_in_pages(demo: Client) -> None:
    config = {"destinationConfig": {"onSuccess": {"destination": "acs:mns:::/queues/q/messages"}}}
    await demo("publish_version", "demo")
    for qualifier in ("1", "LATEST"):
        await demo("put_function_async_invoke_config", "demo", qualifier, "f", config)
    page = await demo.request("GET", "/sesame/async-destinations", limit="1")
    rest = await demo.request("GET", "/sesame/async-destinations", limit="1", nextToken=page["nextToken"])
    found = [*page["destinations"], *rest["destinations"]]
    assert [(each["qualifier"], each["condition"]) for each in found] == [("1", "Success"), ("LATEST", "Success")]
    assert "no URL is set for" in found[0]["undeliveredBecause"]
    assert "nextToken" not in rest


async def test_dead_letters(demo: Client, endpoint: Endpoint) -> None:
    now = endpoint.now[0]
    for number in (7, 8):
        endpoint.queue.deliveries.letters[number] = DeadLetter(
            id=number,
            destination="http://127.0.0.1:1/hook",
            record=b'{"requestContext":{}}',
            condition="Success",
            target=Target("demo", "LATEST", "f"),
            invocation_id="mine",
            request_id="r",
            attempts=5,
            error="connection refused",
            created_at=now,
            buried_at=now + 60,
        )
    first = await demo.request("GET", "/sesame/dead-letters", limit="1")
    rest = await demo.request("GET", "/sesame/dead-letters", limit="1", nextToken=first["nextToken"])
    assert [each["deadLetter"] for each in (*first["deadLetters"], *rest["deadLetters"])] == ["8", "7"]
    assert "nextToken" not in rest
    assert (
        await demo.request("GET", "/sesame/dead-letters/7")
        == rest["deadLetters"][0]
        == {
            "deadLetter": "7",
            "destination": "http://127.0.0.1:1/hook",
            "condition": "Success",
            "error": "connection refused",
            "attempts": 5,
            "createdTime": milliseconds(now),
            "buriedTime": milliseconds(now + 60),
            "serviceName": "demo",
            "qualifier": "LATEST",
            "functionName": "f",
            "invocationId": "mine",
            "requestId": "r",
            "record": '{"requestContext":{}}',
        }
    )
    assert await demo.request("POST", "/sesame/dead-letters/7/replay") is None
    assert endpoint.queue.deliveries.replayed == [7]
    for method, path in (("GET", "7"), ("POST", "7/replay"), ("GET", "x"), ("GET", "9" * 30)):
        gone = await demo.refused(method, f"/sesame/dead-letters/{path}")
        assert (gone["status"], gone["code"]) == (404, "DeadLetterNotFound")
