"""Every operation of 2023-03-30, signed and parsed by the official SDK, against an endpoint with a fake engine."""

import asyncio
import base64
import io
import json
from typing import Any

import pytest
import requests
from alibabacloud_fc20230330 import models
from alibabacloud_fc20230330.client import Client as SdkClient
from fastcrc import crc64
from tests.fc.conftest import ACCOUNT_ID, NOW, REGION, Endpoint
from tests.support.sdk import Client as OldClient
from tests.support.sdk_2023 import CODE, ZIP, Client, made

from sesame.engine.interface import InstanceInfo, Provisioned
from sesame.fc.v2023.operations import OPERATIONS
from sesame.http.server import HttpServer
from sesame.model.invocation import Target

NOW_MS = int(NOW * 1000)
ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}:functions/f"
WITH_SESSIONS = {"sessionAffinity": "HEADER_FIELD", "sessionAffinityConfig": '{"affinityHeaderFieldName": "my-id"}'}


async def test_functions(sdk: Client) -> None:
    body = made(
        description="d", timeout=9, memorySize=512, cpu=0.35, diskSize=512, environmentVariables={"A": "1"},
        internetAccess=False, role=f"acs:ram::{ACCOUNT_ID}:role/r",
        logConfig={"project": "p", "logstore": "l", "enableRequestMetrics": True, "enableLlmMetrics": True},
        vpcConfig={"vpcId": "v", "vSwitchIds": ["s"], "securityGroupId": "g"},
        nasConfig={
            "userId": 1, "groupId": 1, "mountPoints": [{"serverAddr": "x:/", "mountDir": "/mnt/a", "enableTLS": True}],
        },
        ossMountConfig={
            "mountPoints": [
                {"bucketName": "one", "bucketPath": "/", "endpoint": "e", "mountDir": "/mnt/b", "readOnly": False}
            ]
        },
        tracingConfig={"type": "Jaeger", "params": {"endpoint": "http://j"}},
        instanceLifecycleConfig={
            "initializer": {"handler": "index.begin", "timeout": 7}, "preStop": {"handler": "index.end"},
        },
        **WITH_SESSIONS, instanceIsolationMode="SHARE", idleTimeout=60,
        tags=[{"Key": "team", "Value": "a"}], resourceGroupId="rg-1", gpuConfig={"gpuType": "t", "gpuMemorySize": 1024},
    )  # fmt: skip
    first = await sdk("create_function", body=body)
    assert (first["functionArn"], first["state"], first["lastUpdateStatus"]) == (ARN, "Active", "Successful")
    assert first["codeChecksum"] == str(crc64.xz(CODE))
    for name, value in body.items():
        if name not in ("code", "instanceLifecycleConfig"):
            assert first[name] == (first[name] | value if isinstance(value, dict) else value), name
    assert first["instanceLifecycleConfig"]["initializer"]["handler"] == "index.begin"
    assert first["nasConfig"]["mountPoints"][0]["enableTLS"] is True
    assert await sdk("get_function", "f") == first
    changed = await sdk("update_function", "f", body={"timeout": 10, "logConfig": {"project": "", "logstore": ""}})
    assert (changed["timeout"], changed["logConfig"]["project"], changed["role"]) == (10, "", body["role"])
    assert changed["environmentVariables"] == {"A": "1"}
    code = await sdk("get_function_code", "f")
    assert (await asyncio.to_thread(requests.get, code["url"], timeout=30)).content == CODE
    await sdk("delete_function", "f")
    assert await sdk.failure("get_function", "f") == (
        404,
        "FunctionNotFound",
        "code: 404, function 'f' does not exist.",
    )


async def test_hooks_that_are_commands(sdk: Client) -> None:
    hook = {"command": ["sh", "-c", "true"], "timeout": 9}
    hooks = {"initializer": hook, "preStop": hook}
    body = made(runtime="custom.debian12", handler="h", instanceLifecycleConfig=hooks)
    found = (await sdk("create_function", body=body))["instanceLifecycleConfig"]
    for name in hooks:
        assert {key: found[name][key] for key in hook} == hook, name


@pytest.mark.parametrize(
    ("runtime", "hook", "said"),
    [
        ("python3.10", {"command": ["true"]}, "python3.10"),
        ("custom", {"command": [""]}, "a program, and its arguments"),
        ("custom", {"command": ["a\0b"]}, "without NUL"),
        ("custom", {"command": ["true"] * 65}, "at most 64 items"),
    ],
)
@pytest.mark.parametrize("name", ["initializer", "preStop"])
async def test_commands_that_cannot_run_are_refused(
    sdk: Client, runtime: str, hook: dict[str, Any], said: str, name: str
) -> None:
    body = made(runtime=runtime, handler="h", instanceLifecycleConfig={name: hook})
    status, code, text = await sdk.failure("create_function", body=body)
    assert (status, code, said in text) == (400, "InvalidArgument", True), text


async def test_a_command_before_the_end_may_not_take_for_ever(sdk: Client) -> None:
    hooks = {"preStop": {"command": ["true"], "timeout": 900}}
    failed = await sdk.failure(
        "create_function", body=made(runtime="custom", handler="h", instanceLifecycleConfig=hooks)
    )
    assert failed[:2] == (400, "InvalidArgument")


async def test_a_hook_that_this_api_does_not_have_is_kept(endpoint: Endpoint) -> None:
    freeze, stop = {"handler": "index.freeze", "timeout": 5}, {"handler": "index.stop", "timeout": 4}
    await endpoint.call("POST", "/services", {"serviceName": "demo"})
    body = made("old", instanceLifecycleConfig={"preFreeze": freeze})
    await endpoint.call("POST", "/services/demo/functions", body)
    sent = {"instanceLifecycleConfig": {"preStop": stop}}
    await endpoint.call("PUT", "/2023-03-30/functions/demo$old", sent, whole_path=True)
    found = (await endpoint.call("GET", "/services/demo/functions/old")).json()
    assert found["instanceLifecycleConfig"] == {"preFreeze": freeze, "preStop": stop}


async def test_lists_of_functions(sdk_of_f: Client, client: OldClient, code: str) -> None:
    await sdk_of_f("create_function", body=made("g", description="second", tags=[{"Key": "k", "Value": "v"}]))
    await client("create_service", "demo")
    await client("create_function", "demo", "old", "python3", "index.handler", codeZipFile=code)

    async def names(**fields: Any) -> list[str]:
        return [item["functionName"] for item in (await sdk_of_f("list_functions", **fields))["functions"]]

    assert await names() == ["f", "g", "demo$old"]
    assert await names(fc_version="v3") == ["f", "g"]
    assert await names(fc_version="v2") == ["demo$old"]
    assert await names(description="sec") == ["g"]
    assert await names(tags=[models.Tag(key="k", value="v")]) == ["g"]
    assert await names(runtime="python3") == ["demo$old"]
    page = await sdk_of_f("list_functions", limit=1)
    assert page["nextToken"] == "g"
    assert await names(limit=1, next_token="g") == ["g"]
    assert (await client("list_services")).data == {"services": [(await client("get_service", "demo")).data]}


async def test_functions_of_services(sdk: Client, client: OldClient, code: str) -> None:
    await client("create_service", "demo", role="")
    await client("create_function", "demo", "old", "python3", "index.handler", codeZipFile=code)
    found = await sdk("get_function", "demo$old")
    assert found["functionArn"].endswith(":functions/demo$old")
    await sdk("update_function", "demo$old", body={"timeout": 11, "role": ""})
    assert (await client("get_function", "demo", "old")).data["timeout"] == 11
    refused = await sdk.failure("update_function", "demo$old", body={"internetAccess": False})
    assert refused[1] == "InvalidArgument"
    assert "change the service by UpdateService" in refused[2]
    assert (await sdk("publish_function_version", "demo$old", body={"description": "one"}))["versionId"] == "1"
    assert (await client("list_versions", "demo")).data["versions"][0]["description"] == "one"
    assert (await sdk.failure("get_function", "demo$none"))[1] == "FunctionNotFound"
    assert "function 'demo$old' has no" in (await sdk.failure("get_concurrency_config", "demo$old"))[2]
    assert (await sdk.failure("get_function", "none$f"))[1] == "ServiceNotFound"
    assert (await sdk.failure("get_function", "$old"))[1] == "FunctionNotFound"
    await sdk("delete_function", "demo$old")


async def test_versions_and_aliases(sdk_of_f: Client) -> None:
    first = await sdk_of_f("publish_function_version", "f", body={"description": "one"})
    assert (first["versionId"], first["description"]) == ("1", "one")
    refused = await sdk_of_f.failure("publish_function_version", "f", body={})
    assert refused[:2] == (400, "VersionPublishError")
    await sdk_of_f("update_function", "f", body={"description": "two"})
    assert (await sdk_of_f("publish_function_version", "f", body={}))["versionId"] == "2"
    page = await sdk_of_f("list_function_versions", "f", limit=1)
    assert ([v["versionId"] for v in page["versions"]], page["nextToken"]) == (["2"], "1")
    assert (await sdk_of_f("get_function", "f", qualifier="1"))["description"] == ""
    alias = {"aliasName": "prod", "versionId": "1", "additionalVersionWeight": {"2": 0.1}}
    assert (await sdk_of_f("create_alias", "f", body=alias))["additionalVersionWeight"] == {"2": 0.1}
    assert (await sdk_of_f.failure("create_alias", "f", body=alias))[:2] == (409, "AliasAlreadyExists")
    assert (await sdk_of_f("update_alias", "f", "prod", body={"versionId": "2"}))["versionId"] == "2"
    assert (await sdk_of_f("get_alias", "f", "prod"))["versionId"] == "2"
    assert [item["aliasName"] for item in (await sdk_of_f("list_aliases", "f"))["aliases"]] == ["prod"]
    assert (await sdk_of_f("get_function", "f", qualifier="prod"))["functionArn"] == ARN + "/prod"
    await sdk_of_f("delete_alias", "f", "prod")
    assert (await sdk_of_f.failure("get_alias", "f", "prod"))[:2] == (404, "AliasNotFound")
    for version in ("1", "2"):
        await sdk_of_f("delete_function_version", "f", version)
    assert (await sdk_of_f.failure("delete_function_version", "f", "1"))[:2] == (404, "VersionNotFound")


async def test_triggers(sdk_of_f: Client, server: HttpServer) -> None:
    config = json.dumps({"authType": "anonymous", "methods": ["GET"]})
    body = {"triggerName": "web", "triggerType": "http", "triggerConfig": config}
    found = await sdk_of_f("create_trigger", "f", body=body)
    port = server.url.rpartition(":")[2]
    assert found["httpTrigger"] == {
        "urlInternet": f"http://f.localhost:{port}/", "urlIntranet": f"http://f.localhost:{port}/",
    }  # fmt: skip
    assert json.loads(found["triggerConfig"])["methods"] == ["GET"]
    assert (found["targetArn"], found["qualifier"]) == (ARN, "LATEST")
    assert (await sdk_of_f.failure("create_trigger", "f", body=body))[:2] == (409, "TriggerAlreadyExists")
    timer = json.dumps({"cronExpression": "@every 5m", "enable": False})
    await sdk_of_f("create_trigger", "f", body={"triggerName": "t", "triggerType": "timer", "triggerConfig": timer})
    assert [item["triggerName"] for item in (await sdk_of_f("list_triggers", "f"))["triggers"]] == ["t", "web"]
    changed = await sdk_of_f("update_trigger", "f", "t", body={"description": "d"})
    assert changed["description"] == "d"
    assert (await sdk_of_f("get_trigger", "f", "t"))["triggerId"] == changed["triggerId"]
    assert (await sdk_of_f.failure("delete_function", "f"))[:2] == (409, "FunctionNotEmpty")
    for name in ("t", "web"):
        await sdk_of_f("delete_trigger", "f", name)
    refused = await sdk_of_f.failure("get_trigger", "f", "t")
    assert refused == (404, "TriggerNotFound", "code: 404, trigger 't' does not exist in function 'f'")
    refused = await sdk_of_f.failure("create_trigger", "f", body={**body, "triggerConfig": "[1]"})
    assert refused[:2] == (400, "InvalidArgument")


async def test_invocations(sdk_of_f: Client, endpoint: Endpoint) -> None:
    answer = await sdk_of_f.answer(
        "invoke_function", "f", body=io.BytesIO(b"hello"), headers=models.InvokeFunctionHeaders()
    )
    assert (answer.status_code, b"".join(answer.body)) == (200, b"hello")
    asked = endpoint.engine.asked[-1].target
    assert (asked.service, asked.function, asked.qualifier) == ("$f", "f", "LATEST")
    await sdk_of_f("publish_function_version", "f", body={})
    tail = models.InvokeFunctionHeaders(x_fc_log_type="Tail")
    answer = await sdk_of_f.answer("invoke_function", "f", body=io.BytesIO(b""), qualifier="1", headers=tail)
    assert base64.b64decode(answer.headers["x-fc-log-result"]).startswith(b"FC Invoke")
    assert endpoint.engine.asked[-1].target.qualifier == "1"
    wrong = models.InvokeFunctionHeaders(x_fc_invocation_type="Wrong")
    refused = await sdk_of_f.failure("invoke_function", "f", body=io.BytesIO(b""), headers=wrong)
    assert refused[:2] == (400, "InvalidArgument")


async def test_tasks(sdk_of_f: Client) -> None:
    config = {"asyncTask": True, "maxAsyncRetryAttempts": 1, "destinationConfig": {"onFailure": {"destination": ARN}}}
    found = await sdk_of_f("put_async_invoke_config", "f", body=config)
    assert (found["asyncTask"], found["maxAsyncRetryAttempts"], found["functionArn"]) == (True, 1, ARN)
    assert (await sdk_of_f("get_async_invoke_config", "f"))["destinationConfig"]["onFailure"]["destination"] == ARN
    assert len((await sdk_of_f("list_async_invoke_configs", function_name="f"))["configs"]) == 1
    assert (await sdk_of_f("list_async_invoke_configs", function_name="none"))["configs"] == []
    asked = models.InvokeFunctionHeaders(x_fc_invocation_type="Async", x_fc_async_task_id="task-1")
    answer = await sdk_of_f.answer("invoke_function", "f", body=io.BytesIO(b"e"), headers=asked)
    assert (answer.status_code, answer.headers["x-fc-async-task-id"]) == (202, "task-1")
    bad = models.InvokeFunctionHeaders(x_fc_invocation_type="Async", x_fc_async_task_id="1-task")
    refused = await sdk_of_f.failure("invoke_function", "f", body=io.BytesIO(b"e"), headers=bad)
    assert refused[:2] == (400, "InvalidArgument")
    assert "AsyncTaskId is set to an invalid value" in refused[2]
    task = await sdk_of_f("get_async_task", "f", "task-1")
    assert (task["taskId"], task["status"], task["functionArn"]) == ("task-1", "Enqueued", ARN)
    tasks = (await sdk_of_f("list_async_tasks", "f", include_payload=True, prefix="task"))["tasks"]
    assert [item["taskPayload"] for item in tasks] == ["e"]
    await sdk_of_f("stop_async_task", "f", "task-1")
    assert (await sdk_of_f("get_async_task", "f", "task-1"))["status"] == "Stopped"
    assert (await sdk_of_f.failure("get_async_task", "f", "other"))[:2] == (404, "AsyncTaskNotFound")
    await sdk_of_f("delete_async_invoke_config", "f")
    assert (await sdk_of_f.failure("get_async_invoke_config", "f"))[:2] == (404, "AsyncConfigNotExists")


async def test_concurrency_and_instances(sdk_of_f: Client, endpoint: Endpoint) -> None:
    found = await sdk_of_f("put_concurrency_config", "f", body={"reservedConcurrency": 3})
    assert found == {"functionArn": ARN, "reservedConcurrency": 3}
    assert await sdk_of_f("get_concurrency_config", "f") == found
    assert (await sdk_of_f("list_concurrency_configs"))["configs"] == [found]
    await sdk_of_f("delete_concurrency_config", "f")
    assert (await sdk_of_f.failure("get_concurrency_config", "f"))[0] == 404
    endpoint.engine.running = [
        InstanceInfo("c-1", "$f", "f", "LATEST", created_at=NOW), InstanceInfo("c-2", "$f", "f", "1"),
    ]  # fmt: skip
    instances = (await sdk_of_f("list_instances", "f", instance_ids=["c-1", "c-2"]))["instances"]
    assert instances == [
        {
            "instanceId": "c-1", "versionId": "LATEST", "qualifier": "LATEST", "status": "Running",
            "resourceType": "OnDemand", "createdTimeMs": NOW_MS, "destroyedTimeMs": 0,
        }
    ]  # fmt: skip
    asked = {"start_time_ms": NOW_MS - 2, "end_time_ms": NOW_MS - 1}
    assert (await sdk_of_f("list_instances", "f", **asked))["instances"] == []
    assert len((await sdk_of_f("list_instances", "f", **asked, with_all_active=True))["instances"]) == 1
    assert len((await sdk_of_f("list_instances", "f", end_time_ms=NOW_MS))["instances"]) == 1
    assert len((await sdk_of_f("list_instances", "f", instance_status=["Running"]))["instances"]) == 1
    assert (await sdk_of_f("list_instances", "f", instance_status=["Destroyed"]))["instances"] == []


async def test_provisioned_instances_and_scaling(sdk_of_f: Client, client: OldClient, endpoint: Endpoint) -> None:
    endpoint.engine.provisioned[Target("$f", "LATEST", "f")] = Provisioned(2, 0)
    action = {
        "name": "a", "startTime": "2030-10-10T10:10:10Z", "endTime": "2031-10-10T10:10:10Z", "target": 2,
        "scheduleExpression": "cron(0 */30 * * * *)", "timeZone": "UTC",
    }  # fmt: skip
    found = await sdk_of_f("put_provision_config", "f", body={"defaultTarget": 1, "scheduledActions": [action]})
    # An action may want another number now.
    assert (found["target"], found["defaultTarget"], found["functionArn"]) == (2, 1, ARN)
    assert found["scheduledActions"] == [action]
    assert (await sdk_of_f("get_provision_config", "f"))["defaultTarget"] == 1
    for field, named in (("defaultTarget", "DefaultTarget"), ("target", "Target")):
        status, _code, text = (await sdk_of_f.failure("put_provision_config", "f", body={field: 10001}))[:3]
        assert status == 400
        assert f" {named} is set to an invalid value" in text
    assert len((await sdk_of_f("list_provision_configs", function_name="f"))["provisionConfigs"]) == 1
    # To the older versions functions without services do not exist.
    assert (await client("list_provision_configs", None, None)).data["provisionConfigs"] == []
    await sdk_of_f("delete_provision_config", "f")
    assert (await sdk_of_f("list_provision_configs"))["provisionConfigs"] == []
    body = {"minInstances": 1, "enableOnDemandScaling": True, "scheduledPolicies": [action]}
    scaling = await sdk_of_f("put_scaling_config", "f", body=body)
    assert (scaling["minInstances"], scaling["scheduledPolicies"]) == (1, [action])
    # What the engine has: as many as of a configuration of provisioned instances.
    assert (scaling["targetInstances"], scaling["currentInstances"], scaling["currentError"]) == (2, 0, "")
    assert await sdk_of_f("get_scaling_config", "f") == scaling
    assert (await sdk_of_f("list_scaling_configs", function_name="f"))["scalingConfigs"] == [scaling]
    await sdk_of_f("delete_scaling_config", "f")
    assert (await sdk_of_f.failure("get_scaling_config", "f"))[:2] == (404, "ScalingConfigNotFound")
    for kept in ("requestDispatchPolicy", "residentPoolId"):
        refused = await sdk_of_f.failure("put_scaling_config", "f", body={kept: "x" * 129})
        assert refused[:2] == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"minInstances": -1}, "MinInstances is set to an invalid value"),
        ({"scheduledPolicies": [{"name": "a", "startTime": "x"}]}, "The StartTime is not in UTC time format"),
        (
            {"horizontalScalingPolicies": [{"name": "a", "metricType": "GPUMemUtilization", "metricTarget": 0.5}]},
            "HorizontalScalingPolicies.MetricType is set to an invalid value",
        ),
        (
            {
                "horizontalScalingPolicies": [
                    {
                        "name": "a", "metricType": "CPUUtilization", "metricTarget": 0.5,
                        "minInstances": 3, "maxInstances": 2,
                    }
                ]
            },
            "HorizontalScalingPolicies.MaxInstances is set to an invalid value",
        ),
    ],
)  # fmt: skip
async def test_scaling_that_cannot_be_followed_is_refused(sdk_of_f: Client, wrong: dict[str, Any], said: str) -> None:
    status, code, text = await sdk_of_f.failure("put_scaling_config", "f", body=wrong)
    assert (status, code) == (400, "InvalidArgument")
    assert said in text


async def test_on_demand_scaling_is_turned_off_where_that_can_be_followed(sdk_of_f: Client) -> None:
    off = {"minInstances": 1, "enableOnDemandScaling": False}
    assert (await sdk_of_f("put_scaling_config", "f", body=off))["enableOnDemandScaling"] is False
    await sdk_of_f("publish_function_version", "f", body={})
    assert (await sdk_of_f("put_scaling_config", "f", qualifier="1", body=off))["enableOnDemandScaling"] is False
    await sdk_of_f("create_alias", "f", body={"aliasName": "prod", "versionId": "1"})
    status, code, text = await sdk_of_f.failure("put_scaling_config", "f", qualifier="prod", body=off)
    assert (status, code) == (400, "InvalidArgument")
    assert "EnableOnDemandScaling is set to an invalid value" in text
    await sdk_of_f("put_scaling_config", "f", qualifier="prod", body={"minInstances": 1})


async def test_disabled_functions(sdk_of_f: Client, endpoint: Endpoint) -> None:
    assert await sdk_of_f("disable_function_invocation", "f", reason="paused") == {"success": True}
    restriction = (await sdk_of_f("get_function", "f"))["invocationRestriction"]
    assert (restriction["disable"], restriction["reason"]) == (True, "paused")
    assert endpoint.engine.aborted == []
    await sdk_of_f("disable_function_invocation", "f", abort_ongoing_request=True)
    assert endpoint.engine.aborted == [("$f", "f")]
    assert await sdk_of_f("enable_function_invocation", "f") == {"success": True}
    assert (await sdk_of_f("get_function", "f"))["invocationRestriction"]["disable"] is False


async def test_layers(sdk: Client) -> None:
    body = {"code": {"zipFile": ZIP}, "compatibleRuntime": ["python3.10"], "description": "d", "license": "MIT"}
    other = body | {"code": {"zipFile": ZIP, "checksum": "1"}}
    status, code, message = (await sdk.failure("create_layer_version", "l", body=other))[:3]
    assert (status, code) == (400, "InvalidArgument")
    assert "but '1' was announced" in message
    layer = await sdk("create_layer_version", "l", body=body)
    arn = f"acs:fc:{REGION}:{ACCOUNT_ID}:layers/l/versions/1"
    assert (layer["layerVersionArn"], layer["version"], layer["acl"], layer["license"]) == (arn, 1, "0", "MIT")
    assert (await sdk("get_layer_version", "l", "1"))["codeSize"] == len(CODE)
    assert (await sdk("get_layer_version_by_arn", arn))["version"] == 1
    await sdk("put_layer_acl", "l", acl="1")
    assert [item["acl"] for item in (await sdk("list_layers", public="true"))["layers"]] == ["1"]
    assert len((await sdk("list_layer_versions", "l"))["layers"]) == 1
    found = await sdk("create_function", body=made(layers=[arn]))
    assert found["layers"] == [{"arn": arn, "size": len(CODE)}]
    await sdk("delete_layer_version", "l", "1")
    assert (await sdk.failure("get_layer_version", "l", "1"))[:2] == (404, "LayerVersionNotFound")


async def test_custom_domains(sdk_of_f: Client, client: OldClient) -> None:
    routes = [{"path": "/*", "functionName": "f", "methods": ["GET"], "qualifier": "LATEST"}]
    body = {"domainName": "a.example.com", "protocol": "HTTP", "routeConfig": {"routes": routes}}
    found = await sdk_of_f("create_custom_domain", body=body)
    assert found["routeConfig"]["routes"][0]["functionName"] == "f"
    assert (found["accountId"], found["apiVersion"]) == (ACCOUNT_ID, "2023-03-30")
    cors = {"allowOrigins": ["*"]}
    changed = await sdk_of_f("update_custom_domain", "a.example.com", body={"corsConfig": cors})
    assert changed["corsConfig"]["allowOrigins"] == ["*"]
    assert (await sdk_of_f("get_custom_domain", "a.example.com"))["domainName"] == "a.example.com"
    assert len((await sdk_of_f("list_custom_domains"))["customDomains"]) == 1
    nowhere = {"domainName": "b.example.com", "routeConfig": {"routes": [{"path": "/*"}]}}
    assert (
        "RouteConfig.Routes.FunctionName is required"
        in (await sdk_of_f.failure("create_custom_domain", body=nowhere))[2]
    )
    never = {"domainName": "b.example.com", "routeConfig": {"routes": [{"path": "/*", "functionName": "a/b$f"}]}}
    assert "Routes.FunctionName is set" in (await sdk_of_f.failure("create_custom_domain", body=never))[2]
    await sdk_of_f("delete_custom_domain", "a.example.com")
    assert (await sdk_of_f.failure("get_custom_domain", "a.example.com"))[:2] == (404, "DomainNameNotFound")


async def test_tags_and_groups(sdk_of_f: Client) -> None:
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    await sdk_of_f("tag_resources", body={"ResourceId": ["f", ARN], "ResourceType": "function", "Tag": tags})
    found = await sdk_of_f("list_tag_resources", resource_type="function", resource_id=["f"])
    assert [(item["TagKey"], item["TagValue"]) for item in found["TagResources"]] == [("a", "1"), ("b", "2")]
    assert (await sdk_of_f("list_tag_resources", resource_type=""))["TagResources"] == found["TagResources"]
    page = await sdk_of_f("list_tag_resources", resource_type="function", limit=1)
    assert page["NextToken"] == "$f/b"
    await sdk_of_f("untag_resources", resource_type="function", resource_id=["f"], tag_key=["a"])
    assert (await sdk_of_f("get_function", "f"))["tags"] == [{"Key": "b", "Value": "2"}]
    await sdk_of_f("untag_resources", resource_type="function", resource_id=["f"], all=True)
    assert (await sdk_of_f("list_tag_resources", resource_type="function"))["TagResources"] == []
    body = {"NewResourceGroupId": "rg-2", "ResourceId": "f", "ResourceType": "function"}
    assert (await sdk_of_f("change_resource_group", body=body))["NewResourceGroupId"] == "rg-2"
    assert (await sdk_of_f("get_function", "f"))["resourceGroupId"] == "rg-2"
    assert (await sdk_of_f("describe_regions"))["Regions"]["Region"][0]["RegionId"] == REGION


async def test_resources_of_others_have_no_tags_here(sdk_of_f: Client) -> None:
    tag = {"ResourceType": "function", "Tag": [{"Key": "a", "Value": "1"}]}
    for foreign in (ARN.replace(REGION, "elsewhere"), ARN.replace(ACCOUNT_ID, "77")):
        refused = await sdk_of_f.failure("tag_resources", body={"ResourceId": [foreign], **tag})
        assert refused[:2] == (400, "InvalidArgument")
        assert f"ResourceId is set to an invalid value (allowed: acs:fc:{REGION}:{ACCOUNT_ID}:functions/" in refused[2]
    assert (await sdk_of_f.failure("list_tag_resources", resource_type="service"))[:2] == (400, "InvalidArgument")
    group = {"NewResourceGroupId": "r" * 129, "ResourceId": "f", "ResourceType": "function"}
    assert "NewResourceGroupId" in (await sdk_of_f.failure("change_resource_group", body=group))[2]


async def test_all_functions_that_are_named_get_a_tag_or_none_does(sdk_of_f: Client) -> None:
    await sdk_of_f("create_function", body=made("g"))
    many = [{"Key": str(number), "Value": ""} for number in range(20)]
    await sdk_of_f("tag_resources", body={"ResourceId": ["g"], "ResourceType": "function", "Tag": many})
    both = {"ResourceId": ["f", "g"], "ResourceType": "function", "Tag": [{"Key": "c", "Value": ""}]}
    assert (await sdk_of_f.failure("tag_resources", body=both))[:2] == (400, "InvalidArgument")
    found = await sdk_of_f("list_tag_resources", resource_type="function", resource_id=["f"])
    assert [item["TagKey"] for item in found["TagResources"]] == []


async def test_vpc_bindings(sdk_of_f: Client) -> None:
    await sdk_of_f("create_vpc_binding", "f", body={"vpcId": "vpc-1"})
    assert await sdk_of_f("list_vpc_bindings", "f") == {"vpcIds": ["vpc-1"]}
    await sdk_of_f("delete_vpc_binding", "f", "vpc-1")
    assert (await sdk_of_f.failure("delete_vpc_binding", "f", "vpc-1"))[0] == 404


async def test_sessions(sdk: Client) -> None:
    await sdk("create_function", body=made(**WITH_SESSIONS))
    body = {"sessionId": "one", "sessionTTLInSeconds": 100, "sessionIdleTimeoutInSeconds": 10}
    found = await sdk("create_session", "f", body=body)
    assert (found["sessionId"], found["sessionStatus"], found["functionName"]) == ("one", "Active", "f")
    assert (await sdk.failure("create_session", "f", body=body))[:2] == (409, "SessionAlreadyExists")
    for name, value in (("sessionTTLInSeconds", 0), ("sessionIdleTimeoutInSeconds", -1)):
        assert f"S{name[1:]} is set" in (await sdk.failure("update_session", "f", "one", body={name: value}))[2]
    assert "SessionStatus is set" in (await sdk.failure("list_sessions", "f", session_status="gone"))[2]
    changed = await sdk("update_session", "f", "one", body={"sessionTTLInSeconds": 200})
    assert changed["sessionTTLInSeconds"] == 200
    assert (await sdk("pause_session", "f", "one"))["sessionStatus"] == "Paused"
    assert (await sdk("resume_session", "f", "one"))["sessionStatus"] == "Active"
    assert (await sdk("get_session", "f", "one"))["sessionIdleTimeoutInSeconds"] == 10
    assert [item["sessionId"] for item in (await sdk("list_sessions", "f"))["sessions"]] == ["one"]
    await sdk("publish_function_version", "f", body={})
    await sdk("create_session", "f", body={"sessionId": "two"}, qualifier="1")
    for operation in ("get_session", "update_session", "pause_session", "resume_session", "delete_session"):
        sent: dict[str, Any] = {"body": {}} if operation == "update_session" else {}
        elsewhere = await sdk.failure(operation, "f", "two", **sent)
        assert elsewhere[:2] == (404, "SessionNotFound"), operation
        elsewhere = await sdk.failure(operation, "f", "one", qualifier="1", **sent)
        assert elsewhere[:2] == (404, "SessionNotFound"), operation
    assert (await sdk("get_session", "f", "two", qualifier="1"))["qualifier"] == "1"
    await sdk("delete_session", "f", "two", qualifier="1")
    shot = await sdk("create_snapshot", "f", body={"sessionId": "one", "description": "d"})
    assert (shot["sourceSessionId"], shot["status"]) == ("one", "Failed")
    assert (await sdk("get_snapshot", "f", shot["snapshotId"]))["description"] == "d"
    assert len((await sdk("list_snapshots", function_name="f"))["snapshots"]) == 1
    await sdk("delete_snapshot", "f", shot["snapshotId"])
    await sdk("delete_session", "f", "one")
    assert (await sdk.failure("get_session", "f", "one"))[:2] == (404, "SessionNotFound")


async def test_what_is_wrong_is_said_in_this_versions_words(sdk_of_f: Client) -> None:
    status, code, text = await sdk_of_f.failure("create_function", body=made("g", runtime="python9"))
    assert (status, code) == (400, "InvalidArgument")
    assert "Runtime is set to an invalid value" in text
    refused = await sdk_of_f.failure("create_function", body=made())
    assert refused == (409, "FunctionAlreadyExists", "code: 409, function 'f' already exists")
    wrong = made("g", code={"zipFile": ZIP, "checksum": "1"})
    assert "'1' was announced" in (await sdk_of_f.failure("create_function", body=wrong))[2]
    assert (await sdk_of_f.failure("create_function", body=made("a$b")))[1] == "InvalidArgument"


def test_the_table_has_every_operation_of_the_sdk() -> None:
    suffix = "with_options"
    operations = {name.removesuffix(suffix) for name in dir(SdkClient) if name.endswith(suffix)}
    assert len(operations) == 73
    beside = {"instanceexec"}
    assert {name.replace("_", "") for name in operations} | beside == {each.name.lower() for each in OPERATIONS}


async def test_own_operations_reach_functions_without_services(sdk_of_f: Client, endpoint: Endpoint) -> None:
    asked = models.InvokeFunctionHeaders(x_fc_invocation_type="Async", x_fc_async_task_id="task-1")
    await sdk_of_f.answer("invoke_function", "f", body=io.BytesIO(b"e"), headers=asked)
    endpoint.now[0] = NOW
    done = await endpoint.call(
        "PUT", "/sesame/services/%24f/functions/f/recording", {"mode": "failed"}, whole_path=True
    )
    assert done.status == 200, done.body
    found = await endpoint.call("GET", "/sesame/async-invocations?service=%24f&function=f", whole_path=True)
    assert [each["invocation"]["invocationId"] for each in found.json()["invocations"]] == ["task-1"]
    refused = await endpoint.call("GET", "/services/%24f")
    assert (refused.status, refused.json()["ErrorCode"]) == (404, "ServiceNotFound")
