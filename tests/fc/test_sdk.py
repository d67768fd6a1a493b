"""The official SDK, unmodified, against the endpoint on a real socket, with a fake engine behind it."""

from tests.fc.conftest import ACCOUNT_ID, Endpoint, outcome
from tests.support.sdk import Client

from sesame.http.server import HttpServer
from sesame.model.invocation import FunctionError, Invocation, Outcome


async def test_the_life_of_a_service_and_a_function(client: Client, code: str) -> None:
    created = await client("create_service", "demo", description="这是测试service")
    assert created.data["description"] == "这是测试service"
    assert (await client("get_service", "demo", qualifier="LATEST")).headers["Etag"] == created.headers["Etag"]
    assert (await client("update_service", "demo", description="d")).data["description"] == "d"
    function = await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    assert function.data["timeout"] == 60
    assert function.data["memorySize"] == 256
    assert (await client("list_functions", "demo")).data["functions"] == [function.data]
    link = (await client("get_function_code", "demo", "f")).data
    assert link["checksum"] == function.data["codeChecksum"]
    updated = await client("update_function", "demo", "f", environmentVariables={"A": "1"})
    assert updated.data["environmentVariables"] == {"A": "1"}
    stale = await client.failure("delete_function", "demo", "f", headers={"if-match": function.headers["Etag"]})
    assert (stale["status"], stale["code"]) == (412, "PreconditionFailed")
    await client("delete_function", "demo", "f")
    await client("delete_service", "demo")
    assert (await client.failure("get_service", "demo"))["code"] == "ServiceNotFound"


async def test_calls(client: Client, endpoint: Endpoint) -> None:
    answer = await client("invoke_function", "demo", "f", payload=b"event", qualifier="LATEST")
    assert answer.data == b"event"
    assert answer.headers["Content-Type"] == "application/octet-stream"

    async def fail(_call: Invocation) -> Outcome:
        return outcome(b'{"errorMessage":"no"}', error=FunctionError("UnhandledInvocationError", "unhandled"))

    endpoint.engine.then = fail
    seen = await client.failure("invoke_function", "demo", "f")
    assert seen["status"] == 200
    assert seen["errorMessage"] == "no"
    assert len(seen["RequestId"]) == 36


async def test_other_keys(client: Client, server: HttpServer) -> None:
    assert (await Client(server, accessKeyID="nobody").failure("list_services"))["code"] == "InvalidAccessKeyID"
    assert (await Client(server, accessKeySecret="wrong").failure("list_services"))["code"] == "SignatureNotMatch"
    denied = await client.failure("list_services", headers={"x-fc-account-id": "7"})
    assert (denied["status"], denied["code"]) == (403, "AccessDenied")
    assert (await client("list_services", headers={"x-fc-account-id": ACCOUNT_ID})).data == {"services": []}


async def test_a_signature_over_chinese_names_and_odd_queries(client: Client) -> None:
    page = await client("list_services", prefix="中 文&=+%", limit=5)
    assert page.data == {"services": []}


async def test_what_is_no_operation_is_refused_in_the_api_s_form(client: Client) -> None:
    seen = await client.failure("do_request", "GET", "/2016-08-15/services/demo/nothing")
    assert (seen["status"], seen["code"]) == (400, "PathNotSupported")
