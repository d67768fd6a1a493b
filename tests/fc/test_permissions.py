"""Which action and resource a request means, and who may; with the real evaluator."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fc2.auth import Auth
from tests.fc.conftest import ACCOUNT_ID, DATE, REGION, Answer, Endpoint, asgi, request_of, scope
from tests.support.exchanges import FakeWebSocket

from sesame.fc.auth import signature
from sesame.fc.auth.actions import Actions
from sesame.fc.v2016.version import VERSION
from sesame.identity.roles import Roles, new_role, role_arn
from sesame.identity.tokens import Grant
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.role import Policy

SERVICE = {"serviceName": "s"}
ACTIONS = Actions((VERSION,), "cn-hangzhou")
INVOKE = "/services/s/functions/f/invocations"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "services", ("fc:CreateService", "services/*")),
        ("GET", "services", ("fc:ListServices", "services/*")),
        ("PUT", "services/s", ("fc:UpdateService", "services/s")),
        ("HEAD", "services/s.1", ("fc:GetService", "services/s.1")),
        ("GET", "services/s.LATEST", ("fc:GetService", "services/s")),
        ("POST", "services/s/functions", ("fc:CreateFunction", "services/s/functions/*")),
        ("DELETE", "services/s/functions/f", ("fc:DeleteFunction", "services/s/functions/f")),
        ("GET", "services/s/functions/f/code", ("fc:GetFunctionCode", "services/s/functions/f")),
        ("GET", "services/s/functions/code", ("fc:GetFunction", "services/s/functions/code")),
        ("POST", "services/s.LATEST/functions/f/invocations", ("fc:InvokeFunction", "services/s/functions/f")),
        ("POST", "services/%73/functions/%66/invocations", ("fc:InvokeFunction", "services/s/functions/f")),
        ("POST", "services/s.1/functions/f/invocations", ("fc:InvokeFunction", "services/s.1/functions/f")),
        (
            "POST",
            "services/s.LATEST.LATEST/functions/f/invocations",
            ("fc:InvokeFunction", "services/s.LATEST/functions/f"),
        ),
        (
            "GET",
            "services/s/functions/f/stateful-async-invocations",
            ("fc:ListStatefulAsyncInvocations", "services/s/functions/f/stateful-async-invocations/*"),
        ),
        (
            "GET",
            "services/s.LATEST/functions/f/stateful-async-invocations/job",
            ("fc:GetStatefulAsyncInvocation", "services/s/functions/f/stateful-async-invocations/job"),
        ),
        (
            "PUT",
            "services/s.prod/functions/f/stateful-async-invocations/job",
            ("fc:StopStatefulAsyncInvocation", "services/s.prod/functions/f/stateful-async-invocations/job"),
        ),
        (
            "GET",
            "stateful-async-invocation-functions",
            ("fc:ListStatefulAsyncInvocationFunctions", "stateful-async-invocation-functions/*"),
        ),
        ("GET", "services/s/functions/f/invocations", None),
        ("POST", "services/s/functions/f/g/invocations", None),
        ("POST", "services//functions//invocations", ("fc:InvokeFunction", "services//functions/")),
        ("POST", "services/s/functions/f", None),
        ("GET", "nothing", None),
        ("GET", "", None),
    ],
)
def test_actions_and_resources(method: str, path: str, expected: tuple[str, str] | None) -> None:
    assert ACTIONS.find(method, b"/2016-08-15/" + path.encode()) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "async-invocations", ("fc:ListAsyncInvocations", "async-invocations/*")),
        (
            "POST",
            "services/s/functions/f/async-invocations/job/replay",
            ("fc:ReplayAsyncInvocation", "services/s/functions/f/async-invocations/job"),
        ),
        ("POST", "dead-letters/7/replay", ("fc:ReplayDeadLetter", "dead-letters/7")),
        ("PUT", "services/%24f/functions/f/recording", ("fc:PutRecordingConfig", "functions/f")),
        (
            "GET",
            "services/$f.prod/functions/f/async-invocations/job",
            ("fc:GetAsyncInvocation", "functions/f/prod/async-invocations/job"),
        ),
    ],
)
def test_actions_of_sesame_s_own_operations(method: str, path: str, expected: tuple[str, str]) -> None:
    assert ACTIONS.find(method, b"/sesame/" + path.encode()) == expected
    assert ACTIONS.find(method, b"/2016-08-15/" + path.encode()) is None


Act = Callable[..., Awaitable[Answer]]


def statement(effect: str, action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def denying(action: str, condition: dict[str, Any]) -> list[dict[str, Any]]:
    return [statement("Allow", "fc:*"), statement("Deny", action, Condition=condition)]


async def credentials(endpoint: Endpoint, statements: list[dict[str, Any]], policies: tuple[str, ...] = ()) -> Any:
    """Of a new role with these statements for its own policy, and these system policies."""
    roles = Roles(endpoint.catalog)
    own: tuple[str, ...] = ()
    if statements:
        await roles.put_policy(ACCOUNT_ID, Policy("own", json.dumps({"Version": "1", "Statement": statements})))
        own = ("own",)
    role = new_role("tester", [*own, *policies])
    await roles.put(ACCOUNT_ID, role)
    return endpoint.tokens.issue(Grant(ACCOUNT_ID, role.role_name, role.role_id, "session"))


async def acting(
    endpoint: Endpoint,
    given: Any,
    method: str,
    path: str,
    body: Any = None,
    *,
    client: str = "127.0.0.1",
    **headers: str,
) -> Answer:
    sent = {"host": "127.0.0.1:9000", "date": DATE, "x-fc-security-token": given.security_token}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    signer = Auth(given.access_key_id, given.access_key_secret)
    sent["authorization"] = signer.sign_request(method, "/2016-08-15" + path, sent)
    request = scope(method, "/2016-08-15" + quote(path), sent) | {"client": (client, 1)}
    return await asgi(endpoint.gateway, request, [json.dumps(body).encode() if body is not None else b""])


@pytest.fixture
async def deployed(endpoint: Endpoint, function_body: dict[str, Any]) -> Endpoint:
    assert (await endpoint.call("POST", "/services", SERVICE)).status == 200
    assert (await endpoint.call("POST", "/services/s/functions", function_body)).status == 200
    return endpoint


FROM_LOOPBACK = {"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}}


async def test_a_role_may_do_what_its_policies_allow(deployed: Endpoint) -> None:
    resource = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/s/functions/f"
    given = await credentials(deployed, [statement("Allow", "fc:InvokeFunction", resource)])
    assert (await acting(deployed, given, "POST", INVOKE)).status == 200
    assert (await acting(deployed, given, "POST", INVOKE.replace("/s/", "/s.LATEST/"))).status == 200
    for method, path in (("GET", "/services/s"), ("POST", "/services/s/functions/g/invocations")):
        answer = await acting(deployed, given, method, path)
        assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")
        assert "the caller is not authorized to perform 'fc:" in answer.json()["ErrorMessage"]


@pytest.mark.parametrize(
    ("condition", "headers", "client", "applies"),
    [
        (FROM_LOOPBACK, {}, "127.0.0.1", True),
        (FROM_LOOPBACK, {}, "::ffff:127.0.0.1", True),
        (FROM_LOOPBACK, {}, "10.0.0.1", False),
        (FROM_LOOPBACK, {"x_forwarded_for": "127.0.0.1"}, "10.0.0.1", False),
        ({"StringLike": {"acs:UserAgent": "curl/*"}}, {"user_agent": "curl/7"}, "10.0.0.1", True),
        ({"Bool": {"acs:SecureTransport": "false"}}, {}, "10.0.0.1", True),
        ({"DateGreaterThan": {"acs:CurrentTime": "2023-11-14T00:00:00Z"}}, {}, "10.0.0.1", True),
        ({"StringLike": {"acs:AccessId": "STS.*"}}, {}, "10.0.0.1", True),
        ({"StringEquals": {"acs:ResourceTag/stage": "prod"}}, {}, "10.0.0.1", True),
        ({"StringEquals": {"acs:ResourceTag/stage": "test"}}, {}, "10.0.0.1", False),
    ],
)
async def test_conditions_see_the_request(
    deployed: Endpoint, condition: dict[str, Any], headers: dict[str, str], client: str, applies: bool
) -> None:
    await deployed.call("POST", "/tag", {"resourceArn": "services/s", "tags": {"stage": "prod"}})
    given = await credentials(deployed, denying("fc:InvokeFunction", condition))
    answer = await acting(deployed, given, "POST", INVOKE, client=client, **headers)
    assert answer.status == (403 if applies else 200)
    assert (await acting(deployed, given, "GET", "/services/s", client=client, **headers)).status == 200


@pytest.mark.parametrize("way", [{"Resource": "acs:fc:*:*:services/s"}, {"tagged": "prod"}])
async def test_operations_on_tags_need_the_right_to_the_service(deployed: Endpoint, way: dict[str, str]) -> None:
    """Else a role that may not touch a tagged service could take the tag off."""
    await deployed.call("POST", "/services", {"serviceName": "other"})
    await deployed.call("POST", "/tag", {"resourceArn": "services/s", "tags": {"stage": "prod"}})
    condition = {"StringEquals": {"acs:ResourceTag/stage": way["tagged"]}} if "tagged" in way else {}
    deny = statement("Deny", "fc:*", way.get("Resource", "*"), Condition=condition)
    given = await credentials(deployed, [statement("Allow", "fc:*"), deny])
    for service, status in (("s", 403), ("other", 200)):
        arns = (f"services/{service}", f"acs:fc:{REGION}:{ACCOUNT_ID}:services/{service}")
        for method, body in (
            ("POST", {"tags": {"stage": "test"}}), ("DELETE", {"tagKeys": ["stage"]}), ("DELETE", {"all": True})
        ):  # fmt: skip
            for arn in arns:
                answer = await acting(deployed, given, method, "/tag", {"resourceArn": arn, **body})
                assert answer.status == status, answer.body
    tagged = (await deployed.call("GET", "/tags")).json()["resources"]
    assert [each["tags"] for each in tagged if each["resourceArn"].endswith("/s")] == [{"stage": "prod"}]


async def test_a_right_to_the_tags_of_one_service(deployed: Endpoint) -> None:
    resource = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/s"
    given = await credentials(deployed, [statement("Allow", "fc:TagResource", resource)])
    await deployed.call("POST", "/services", {"serviceName": "other"})
    for service, status in (("s", 200), ("other", 403)):
        body = {"resourceArn": f"services/{service}", "tags": {"a": "b"}}
        assert (await acting(deployed, given, "POST", "/tag", body)).status == status


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("POST", "/services/s/functions", {"functionName": "n", "runtime": "python3.10", "handler": "index.handler"}),
        ("PUT", "/services/s/functions/f", {}),
        ("POST", "/layers/l/versions", {"compatibleRuntime": ["python3.10"]}),
    ],
)
async def test_code_is_taken_only_from_objects_that_the_caller_may_read(
    deployed: Endpoint, method: str, path: str, more: dict[str, Any]
) -> None:
    bucket = Bucket(bucket_name="private", account_id=ACCOUNT_ID)
    await deployed.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "private", bucket))
    body = {"code": {"ossBucketName": "private", "ossObjectName": "a/b.zip"}, **more}
    read = f"acs:oss:oss-{REGION}:{ACCOUNT_ID}:private/a/*"
    allowed = [statement("Allow", "fc:*"), statement("Allow", "oss:GetObject", read)]
    for statements in (
        [statement("Allow", "fc:*")],
        [statement("Allow", "fc:*"), statement("Allow", "oss:GetObject", read.replace("/a/", "/b/"))],
        [*allowed, statement("Deny", "oss:*", Condition=FROM_LOOPBACK)],
    ):
        answer = await acting(deployed, await credentials(deployed, statements), method, path, body)
        assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")
        assert "the caller is not authorized to perform 'oss:GetObject'" in answer.json()["ErrorMessage"]
    answer = await acting(deployed, await credentials(deployed, allowed), method, path, body)
    assert "does not exist in bucket 'private'" in answer.json()["ErrorMessage"]


async def test_conditions_hold_for_http_functions(deployed: Endpoint) -> None:
    config = {"authType": "function", "methods": ["GET"]}
    trigger = {"triggerName": "t", "triggerType": "http", "triggerConfig": config}
    assert (await deployed.call("POST", "/services/s/functions/f/triggers", trigger)).status == 200
    given = await credentials(deployed, denying("fc:InvokeFunction", FROM_LOOPBACK))
    path = "/proxy/s/f/"
    sent = {"date": DATE, "x-fc-security-token": given.security_token}
    signer = Auth(given.access_key_id, given.access_key_secret)
    sent["authorization"] = signer.sign_request("GET", f"/2016-08-15{path}", sent, {})
    for client, status in (("127.0.0.1", 403), ("10.0.0.1", 200)):
        request = scope("GET", "/2016-08-15" + path, sent) | {"client": (client, 1)}
        assert (await asgi(deployed.gateway, request, [b""])).status == status


ROLE = role_arn(ACCOUNT_ID, "aliyunfcdefaultrole")
TRIGGERS = "/services/s/functions/f/triggers"
TIMER = {"triggerType": "timer", "triggerConfig": {"cronExpression": "@every 1h", "enable": True}}
WRITES_OF_ROLES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/services", {"serviceName": "new", "role": ROLE}),
    ("POST", "/services", {"serviceName": "new", "role": "acs:ram::1:role/of-another-account"}),
    ("POST", "/services", {"serviceName": "new", "Role": ROLE}),
    ("POST", "/services", {"serviceName": "new", "vpcConfig": {"vpcId": "v", "role": ROLE}}),
    ("PUT", "/services/s", {"role": ROLE}),
    ("PUT", "/services/s", {"vpcConfig": {"vpcId": "v", "role": ROLE}}),
    ("POST", TRIGGERS, {"triggerName": "t", "invocationRole": ROLE, **TIMER}),
    ("POST", TRIGGERS, {"triggerName": "t", "invocationRole": "just-a-name", **TIMER}),
    ("PUT", f"{TRIGGERS}/timer", {"invocationRole": ROLE}),
    ("PUT", f"{TRIGGERS}/timer", {"triggerConfig": {"roleArn": ROLE}}),
    ("POST", "/custom-domains", {"domainName": "d.example.com", "wafConfig": {"logRole": ROLE}}),
    ("PUT", "/services/s/functions/f", {"customHealthCheckConfig": {"httpGetUrl": "/", "roleARN": ROLE}}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES_OF_ROLES)
async def test_a_role_is_written_only_by_who_may_pass_it(
    deployed: Endpoint, method: str, path: str, body: dict[str, Any]
) -> None:
    assert (await deployed.call("POST", TRIGGERS, {"triggerName": "timer", **TIMER})).status == 200
    full = await credentials(deployed, [], ("AliyunFCFullAccess",))
    answer = await acting(deployed, full, method, path, body)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")
    assert "the caller is not authorized to perform 'ram:PassRole'" in answer.json()["ErrorMessage"]
    may_pass = await credentials(deployed, [statement("Allow", "ram:PassRole")], ("AliyunFCFullAccess",))
    answer = await acting(deployed, may_pass, method, path, body)
    assert "ram:PassRole" not in answer.body.decode() or "of-another-account" in str(body)


async def test_a_trigger_on_a_bucket_needs_the_right_to_its_events(deployed: Endpoint) -> None:
    await deployed.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", Bucket("photos", ACCOUNT_ID)))
    config = {"events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "a"}}}
    source = {"triggerType": "oss", "sourceArn": f"acs:oss:{REGION}:{ACCOUNT_ID}:photos"}
    body = {"triggerName": "t", "triggerConfig": config, **source}
    full = await credentials(deployed, [], ("AliyunFCFullAccess",))
    answer = await acting(deployed, full, "POST", TRIGGERS, body)
    assert (answer.status, answer.json()["ErrorCode"]) == (403, "AccessDenied")
    assert "'oss:PutBucketEventNotification' on resource" in answer.json()["ErrorMessage"]
    subscribe = statement("Allow", "oss:PutBucketEventNotification", f"acs:oss:*:{ACCOUNT_ID}:photos")
    may = await credentials(deployed, [subscribe], ("AliyunFCFullAccess",))
    assert (await acting(deployed, may, "POST", TRIGGERS, body)).status == 200
    wider = {"triggerConfig": {"events": ["oss:ObjectRemoved:*"]}}
    assert (await acting(deployed, may, "PUT", f"{TRIGGERS}/t", wider)).status == 200
    # The role loses the right: it may no longer say which events it is told of.
    full = await credentials(deployed, [], ("AliyunFCFullAccess",))
    assert (await acting(deployed, full, "PUT", f"{TRIGGERS}/t", wider)).status == 403
    assert (await acting(deployed, full, "PUT", f"{TRIGGERS}/t", {"description": "d"})).status == 200


async def test_the_account_s_own_key_passes_roles_and_no_role_needs_no_right(deployed: Endpoint) -> None:
    assert (await deployed.call("POST", "/services", {"serviceName": "new", "role": ROLE})).status == 200
    full = await credentials(deployed, [], ("AliyunFCFullAccess",))
    for body in ({"serviceName": "a"}, {"serviceName": "b", "role": "", "description": ROLE}):
        assert (await acting(deployed, full, "POST", "/services", body)).status == 200
    plain = {"environmentVariables": {"ROLE": ROLE}, "description": ROLE}
    assert (await acting(deployed, full, "PUT", "/services/s/functions/f", plain)).status == 200


async def test_paths_without_an_operation_are_left_to_the_routes(deployed: Endpoint) -> None:
    given = await credentials(deployed, [])
    answer = await acting(deployed, given, "GET", "/x")
    assert (answer.status, answer.json()["ErrorCode"]) == (400, "PathNotSupported")


async def test_conditions_hold_for_commands_in_instances(deployed: Endpoint) -> None:
    given = await credentials(deployed, denying("fc:InstanceExec", FROM_LOOPBACK))
    path = "/services/s/functions/f/instances/i/exec"
    sent = {"date": DATE, "x-fc-security-token": given.security_token}
    signer = Auth(given.access_key_id, given.access_key_secret)
    sent["authorization"] = signer.sign_request("GET", f"/2016-08-15{path}", sent)
    for client, status in (("127.0.0.1", 403), ("10.0.0.1", 404)):
        dialled = FakeWebSocket(request_of(scope("GET", f"/2016-08-15{path}", sent) | {"client": (client, 1)}))
        dialled.serve(deployed.gateway)
        assert (await dialled.next()).status == status


async def test_conditions_hold_for_presigned_links(deployed: Endpoint) -> None:
    config = {"authType": "function", "methods": ["GET"]}
    trigger = {"triggerName": "t", "triggerType": "http", "triggerConfig": config}
    assert (await deployed.call("POST", "/services/s/functions/f/triggers", trigger)).status == 200
    given = await credentials(deployed, denying("fc:InvokeFunction", FROM_LOOPBACK))
    path, expires = "/2016-08-15/proxy/s/f/", str(int(deployed.now[0]) + 60)
    items = {
        "x-fc-access-key-id": given.access_key_id,
        "x-fc-expires": expires,
        "x-fc-security-token": given.security_token,
    }
    text = f"GET\n\n\n{expires}\n{path}\n" + "\n".join(sorted(f"{name}={value}" for name, value in items.items()))
    items["x-fc-signature"] = signature.sign(given.access_key_secret.encode(), text.encode()).decode()
    for client, status in (("127.0.0.1", 403), ("10.0.0.1", 200)):
        request = scope("GET", f"{path}?{urlencode(items)}", {}) | {"client": (client, 1)}
        assert (await asgi(deployed.gateway, request, [b""])).status == status


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
async def test_a_policy_may_ask_whether_a_service_reaches_the_internet(deployed: Endpoint, effect: str) -> None:
    closed_only = {"Bool": {"fc:EnableServiceInternetAccess": "false" if effect == "Allow" else "true"}}
    statements = [statement(effect, "fc:*Service", Condition=closed_only)]
    if effect == "Deny":
        statements.append(statement("Allow", "fc:*"))
    given = await credentials(deployed, statements)

    async def status(method: str, path: str, body: dict[str, Any]) -> int:
        return (await acting(deployed, given, method, path, body)).status

    assert await status("POST", "/services", {"serviceName": "a"}) == 403
    assert await status("POST", "/services", {"serviceName": "a", "internetAccess": True}) == 403
    assert await status("POST", "/services", {"serviceName": "a", "internetAccess": False}) == 200
    assert await status("PUT", "/services/a", {"description": "d"}) == 200
    assert await status("PUT", "/services/a", {"internetAccess": True}) == 403
    assert await status("PUT", "/services/s", {"description": "d"}) == 403
    assert await status("PUT", "/services/s", {"internetAccess": False}) == 200


def test_an_operation_of_the_api_is_none_under_the_own_prefix_and_the_reverse() -> None:
    assert ACTIONS.find("GET", b"/sesame/services/s") is None
    assert ACTIONS.find("GET", b"/2016-08-15/sesame/services/s") is None


async def test_to_invoke_asynchronously_takes_the_right_to_invoke(deployed: Endpoint) -> None:
    asynchronously = {"x_fc_invocation_type": "Async"}
    reader = await credentials(deployed, [], ("AliyunFCReadOnlyAccess",))
    refused = await acting(deployed, reader, "POST", INVOKE, **asynchronously)
    assert (refused.status, refused.json()["ErrorCode"]) == (403, "AccessDenied")
    assert "fc:InvokeFunction" in refused.json()["ErrorMessage"]
    assert deployed.queue.news == []
    caller = await credentials(deployed, [statement("Allow", "fc:InvokeFunction")])
    assert (await acting(deployed, caller, "POST", INVOKE, **asynchronously)).status == 202


async def test_stateful_invocations_have_resources_of_their_own(deployed: Endpoint) -> None:
    listed = "/services/s/functions/f/stateful-async-invocations"
    mine = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/s/functions/f/stateful-async-invocations/mine"
    given = await credentials(deployed, [statement("Allow", "fc:*StatefulAsyncInvocation", mine)])
    assert (await acting(deployed, given, "GET", f"{listed}/mine")).status == 404
    assert (await acting(deployed, given, "PUT", f"{listed}/mine")).status == 404
    assert (await acting(deployed, given, "GET", f"{listed}/other")).status == 403
    assert (await acting(deployed, given, "GET", listed)).status == 403


async def test_setting_a_destination_takes_the_right_to_invoke_it(deployed: Endpoint) -> None:
    path = "/services/s/functions/f/async-invoke-config"
    config = {"destinationConfig": {"onFailure": {"destination": "acs:fc:::services/s.prod/functions/g"}}}
    allowed = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/s.prod/functions/g"
    setting = statement("Allow", "fc:PutFunctionAsyncInvokeConfig")
    refused = await acting(deployed, await credentials(deployed, [setting]), "PUT", path, config)
    assert (refused.status, refused.json()["ErrorCode"]) == (403, "AccessDenied")
    assert allowed in refused.json()["ErrorMessage"]
    may = await credentials(deployed, [setting, statement("Allow", "fc:InvokeFunction", allowed)])
    assert (await acting(deployed, may, "PUT", path, config)).status == 200
