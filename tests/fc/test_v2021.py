"""API 2021-04-06 below its SDK: requests as other clients send them, and answers as they are on the wire."""

import json
from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, NOW, REGION, Answer, Endpoint, asgi, request_of, scope
from tests.fc.test_permissions import credentials, statement
from tests.support.acs import signed
from tests.support.exchanges import FakeWebSocket
from tests.support.sdk import KEY_ID, SECRET

from sesame.engine.interface import InstanceInfo
from sesame.fc.app import VERSIONS
from sesame.fc.auth.actions import Actions
from sesame.fc.auth.same_actions import OTHER_NAMES

API = "/2021-04-06"
FUNCTION = "/services/s/functions/f"
ERROR_NAMES = {"Code", "Message", "RequestId", "errorCode", "errorMessage"}
JSON_TYPE = "application/json; charset=utf-8"


async def call(endpoint: Endpoint, method: str, path: str, *chunks: bytes, keys: Any = None, **headers: str) -> Answer:
    """As the SDK for Node.js sends it: the body in chunks, only some headers signed."""
    sent = {"content-type": JSON_TYPE, "x-acs-version": "2021-04-06", "x-acs-action": "Tested"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    pair = (KEY_ID, SECRET)
    if keys is not None:
        pair = (keys.access_key_id, keys.access_key_secret)
        sent["x-acs-security-token"] = keys.security_token
    made = signed(method, API + path, sent, b"".join(chunks), keys=pair, at=NOW)
    return await asgi(endpoint.gateway, scope(method, API + path, made), list(chunks) or [b""])


@pytest.fixture
async def deployed(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    assert (await call(endpoint, "POST", "/services", b'{"serviceName": "s"}')).status == 200
    body = json.dumps(function_body).encode()
    half = len(body) // 2
    made = await call(endpoint, "POST", "/services/s/functions", body[:half], body[half:])
    assert made.status == 200, made.body
    return endpoint


async def test_events_arrive_byte_for_byte_in_chunks_and_with_any_type(deployed: Endpoint) -> None:
    answer = await call(
        deployed, "POST", FUNCTION + "/invocations?qualifier=LATEST", b"\x00\xff", b"{", x_fc_log_type="Tail"
    )
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (
        200,
        b"\x00\xff{",
        "application/octet-stream",
    )
    assert "X-Fc-Log-Result" in answer.headers


async def test_an_event_that_is_not_the_signed_one_does_not_run(deployed: Endpoint) -> None:
    path = API + FUNCTION + "/invocations"
    made = signed("POST", path, {"content-type": JSON_TYPE}, b"signed", keys=(KEY_ID, SECRET), at=NOW)
    for asynchronous in ({}, {"x-fc-invocation-type": "Async"}):
        answer = await asgi(deployed.gateway, scope("POST", path, made | asynchronous), [b"other"])
        assert (answer.status, answer.json()["Code"]) == (403, "SignatureNotMatch")
    assert deployed.engine.asked == []


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/services/none", b"", (404, "ServiceNotFound")),
        ("GET", "/services/s?qualifier=7", b"", (404, "VersionNotFound")),
        ("GET", "/services/s?qualifier=1&qualifier=2", b"", (400, "InvalidArgument")),
        ("GET", "/services/s?qualifier=%00", b"", (400, "InvalidArgument")),
        ("GET", "/services/s.LATEST", b"", (404, "ServiceNotFound")),
        ("GET", "/nothing", b"", (400, "PathNotSupported")),
        ("DELETE", "/tag", b"{}", (400, "PathNotSupported")),
        ("POST", "/services", b"{", (400, "InvalidArgument")),
        ("POST", "/services", b'{"serviceName": "s"}', (409, "ServiceAlreadyExists")),
        (
            "POST",
            "/services",
            b'{"serviceName": "t", "ossMountConfig": {"mountPoints": [{}]}}',
            (400, "InvalidArgument"),
        ),
        ("POST", "/services/s/functions", b'{"functionName": "g"}', (400, "InvalidArgument")),
        ("PUT", "/services/s?qualifier=1", b"{}", (400, "InvalidArgument")),
        ("DELETE", "/services/s", b"", (409, "ServiceNotEmpty")),
        ("POST", FUNCTION + "/triggers", b'{"triggerName": "t", "triggerConfig": {}}', (400, "InvalidArgument")),
        ("GET", "/services?limit=101", b"", (400, "InvalidArgument")),
    ],
)
async def test_errors_have_both_families_of_names(
    deployed: Endpoint, method: str, path: str, body: bytes, expected: tuple[int, str]
) -> None:
    answer = await call(deployed, method, path, body)
    document = answer.json()
    assert (answer.status, document["Code"]) == expected
    assert set(document) == ERROR_NAMES
    assert document["errorCode"] == document["Code"]
    assert document["errorMessage"] == document["Message"]
    assert document["RequestId"] == answer.headers["X-Fc-Request-Id"] == answer.headers["x-acs-request-id"]


async def test_who_does_not_sign_is_told_so_in_the_same_form(deployed: Endpoint) -> None:
    answer = await asgi(deployed.gateway, scope("GET", API + "/services", {"host": "h"}), [b""])
    assert (answer.status, answer.json()["Code"], set(answer.json())) == (400, "MissingRequiredHeader", ERROR_NAMES)
    answer = await deployed.call("GET", API + "/services", whole_path=True)
    assert answer.status == 200, "either scheme of signatures is good on every path"


async def test_what_has_no_body_has_no_type(deployed: Endpoint) -> None:
    for method, path, body in (
        ("POST", "/services/s/bindings", b'{"vpcId": "v"}'),
        ("DELETE", "/services/s/bindings/v", b""),
        ("POST", "/tag", b'{"resourceArn": "services/s", "tags": {"a": "b"}}'),
        ("PUT", "/tag", b'{"resourceArn": "services/s", "all": true}'),
        ("DELETE", FUNCTION, b""),
    ):
        answer = await call(deployed, method, path, body)
        assert (answer.status, answer.body) == (204, b""), path
        assert "Content-Type" not in answer.headers


async def test_repeated_items_of_a_query_may_be_numbered(deployed: Endpoint) -> None:
    deployed.engine.running = [InstanceInfo(name, "s", "f", "LATEST") for name in ("a", "b", "c")]
    for query in ("instanceIds.1=a&instanceIds.2=c", "instanceIds=a&instanceIds=c"):
        answer = await call(deployed, "GET", f"{FUNCTION}/instances?{query}")
        assert [each["instanceId"] for each in answer.json()["instances"]] == ["a", "c"]
    for query in ("instanceIds=", "instanceIds.1=", "limit=&nextToken=&qualifier="):
        answer = await call(deployed, "GET", f"{FUNCTION}/instances?{query}")
        assert [each["instanceId"] for each in answer.json()["instances"]] == ["a", "b", "c"]


async def test_keys_are_read_in_any_case_and_null_is_absent(deployed: Endpoint) -> None:
    answer = await call(deployed, "PUT", FUNCTION, b'{"InstanceConcurrency": 5, "DESCRIPTION": "d", "handler": null}')
    document = answer.json()
    assert (document["instanceConcurrency"], document["description"]) == (5, "d")
    assert document["handler"] == "index.handler"


async def test_a_qualifier_in_the_query_is_part_of_the_resource(deployed: Endpoint) -> None:
    await call(deployed, "POST", "/services/s/versions", b"{}")
    await call(deployed, "POST", "/services/s/aliases", b'{"aliasName": "live", "versionId": "1"}')
    resource = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/s.live/functions/f"
    given = await credentials(deployed, [statement("Allow", "fc:InvokeFunction", resource)])
    path = FUNCTION + "/invocations"
    assert (await call(deployed, "POST", path + "?qualifier=live", b"x", keys=given)).status == 200
    for query in ("", "?qualifier=1", "?qualifier=LATEST", "?other=live"):
        answer = await call(deployed, "POST", path + query, b"x", keys=given)
        assert (answer.status, answer.json()["Code"]) == (403, "AccessDenied")


async def test_what_is_denied_under_one_name_cannot_be_had_under_another(deployed: Endpoint) -> None:
    denied = [statement("Allow", "fc:*"), statement("Deny", "fc:PublishVersion")]
    answer = await call(deployed, "POST", "/services/s/versions", b"{}", keys=await credentials(deployed, denied))
    assert (answer.status, answer.json()["Code"]) == (403, "AccessDenied")
    assert "fc:PublishVersion" in answer.json()["Message"]
    allowed = [statement("Allow", "fc:PublishServiceVersion")]
    answer = await call(deployed, "POST", "/services/s/versions", b"{}", keys=await credentials(deployed, allowed))
    assert answer.status == 200


def test_names_of_one_thing_are_those_of_operations() -> None:
    names = {f"fc:{each.name}" for version in VERSIONS for each in version.operations}
    assert set(OTHER_NAMES) <= names


def test_actions_and_resources() -> None:
    actions = Actions(VERSIONS, REGION)
    for method, path, query, expected in (
        ("POST", "services/s/versions", b"", ("fc:PublishServiceVersion", "services/s/versions/*")),
        ("GET", "services/s", b"qualifier=1", ("fc:GetService", "services/s.1")),
        ("GET", "services/s", b"qualifier=LATEST", ("fc:GetService", "services/s")),
        ("PUT", "tag", b"", ("fc:UntagResource", "tag/*")),
        ("GET", "services/s/bindings", b"", ("fc:ListVpcBindings", "services/s")),
        ("DELETE", "services/s/bindings/v", b"", ("fc:DeleteVpcBinding", "services/s/bindings/v")),
        (
            "DELETE",
            "services/s/functions/f/event-sources/acs%3Aa%2Fb",
            b"qualifier=live",
            ("fc:DeregisterEventSource", "services/s.live/functions/f/event-sources/acs:a/b"),
        ),
        ("GET", "provision-configs", b"qualifier=live", ("fc:ListProvisionConfigs", "provision-configs/*")),
    ):
        assert actions.find(method, f"{API}/{path}".encode(), query) == expected


async def test_a_command_in_an_instance_of_a_qualifier(deployed: Endpoint) -> None:
    deployed.engine.running = [InstanceInfo("c-1", "s", "f", "1")]
    await call(deployed, "POST", "/services/s/versions", b"{}")
    for query, expected in (("", b"InstanceNotFound"), ("?qualifier=2", b"VersionNotFound")):
        path = f"{API}{FUNCTION}/instances/c-1/exec{query}"
        made = signed("GET", path, {}, b"", keys=(KEY_ID, SECRET), at=NOW)
        client = FakeWebSocket(request_of(scope("GET", path, made)))
        client.serve(deployed.gateway)
        refused = await client.next()
        assert refused.status == 404
        assert expected in refused.body
        assert set(json.loads(refused.body)) == ERROR_NAMES


async def test_the_api_is_the_api_on_every_host(deployed: Endpoint) -> None:
    await call(deployed, "POST", "/custom-domains", b'{"domainName": "d.example.com", "protocol": "HTTP"}')
    answer = await call(deployed, "GET", "/services", host="d.example.com")
    assert [each["serviceName"] for each in answer.json()["services"]] == ["s"]
