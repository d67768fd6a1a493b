"""Every operation of API 2021-04-06, signed and parsed by its official SDK."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from alibabacloud_fc_open20210406 import models
from tests.fc.conftest import ACCOUNT_ID, REGION, Endpoint
from tests.fc.test_permissions import credentials, statement
from tests.support.sdk import Client
from tests.support.sdk_2021 import Client2021

from sesame.engine.interface import InstanceInfo, Provisioned
from sesame.fc.v2021.operations import OPERATIONS
from sesame.http.server import HttpServer
from sesame.model.invocation import Target

SERVICE_ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/demo"
SOURCE = f"acs:eventbridge:{REGION}:{ACCOUNT_ID}:eventbus/b/rule/r"
HTTP_TRIGGER = json.dumps({"authType": "anonymous", "methods": ["GET"]})


@pytest.fixture
async def sdk(endpoint: Endpoint, server: HttpServer) -> Client2021:
    endpoint.now[0] = time.time()
    return Client2021(server.url)


@pytest.fixture
async def demo(sdk: Client2021, code: str) -> Client2021:
    await sdk("CreateService", serviceName="demo")
    await sdk("CreateFunction", "demo", **_function(code))
    return sdk


def _function(code: str, name: str = "f") -> dict[str, Any]:
    return {"functionName": name, "runtime": "python3", "handler": "index.handler", "code": {"zipFile": _base64(code)}}


def _base64(path: str) -> str:
    with open(path, "rb") as held:
        return base64.b64encode(held.read()).decode()


async def test_services(sdk: Client2021) -> None:
    made = await sdk("CreateService", serviceName="demo", description="one", ossMountConfig={"mountPoints": []})
    assert made.data["ossMountConfig"] == {"mountPoints": []}
    assert made.data["useSLRAuthentication"] is False
    assert len(made.headers["etag"]) == 32
    assert (await sdk("GetService", "demo")).data == made.data
    changed = (await sdk("UpdateService", "demo", description="two")).data
    assert changed["description"] == "two"
    point = {"bucketName": "one", "bucketPath": "/a", "endpoint": "e", "mountDir": "/mnt/b", "readOnly": True}
    mounts = {"mountPoints": [point]}
    refused = await sdk.failure("UpdateService", "demo", ossMountConfig=mounts)
    assert (refused.statusCode, refused.code) == (400, "InvalidArgument")
    assert "Role is required" in str(refused)
    role = f"acs:ram::{ACCOUNT_ID}:role/r"
    changed = (await sdk("UpdateService", "demo", ossMountConfig=mounts, role=role)).data
    assert changed["ossMountConfig"] == mounts == (await sdk("GetService", "demo")).data["ossMountConfig"]
    assert [each["serviceName"] for each in (await sdk("ListServices", limit=1)).data["services"]] == ["demo"]
    stale = await sdk.failure("UpdateService", "demo", headers={"If-Match": "0" * 32}, description="three")
    assert (stale.statusCode, stale.code) == (412, "PreconditionFailed")
    gone = await sdk("DeleteService", "demo")
    assert (gone.status, gone.data) == (204, None)
    missing = await sdk.failure("GetService", "demo")
    assert (missing.statusCode, missing.code) == (404, "ServiceNotFound")
    assert "service 'demo' does not exist" in str(missing)
    assert len(missing.data["RequestId"]) == 36
    assert missing.data["errorCode"] == "ServiceNotFound"


async def test_functions(demo: Client2021, code: str) -> None:
    got = (await demo("GetFunction", "demo", "f")).data
    assert (got["handler"], got["layers"], got["layersArnV2"]) == ("index.handler", [], [])
    changed = (await demo("UpdateFunction", "demo", "f", InstanceConcurrency=3, memorySize=256)).data
    assert (changed["instanceConcurrency"], changed["memorySize"]) == (3, 256)
    await demo("CreateFunction", "demo", **_function(code, "g"))
    page = (await demo("ListFunctions", "demo", limit=1)).data
    assert ([each["functionName"] for each in page["functions"]], page["nextToken"]) == (["f"], "g")
    link = (await demo("GetFunctionCode", "demo", "f")).data
    archive = await asyncio.to_thread(requests.get, link["url"], timeout=30)
    assert archive.headers["X-Oss-Hash-Crc64ecma"] == link["checksum"] == got["codeChecksum"]
    wrong = await demo.failure("UpdateFunction", "demo", "f", runtime="10")
    assert (wrong.statusCode, wrong.code) == (400, "InvalidArgument")
    assert "Runtime is set to an invalid value" in str(wrong)
    await demo("DeleteFunction", "demo", "g")
    missing = await demo.failure("GetFunction", "demo", "g")
    assert "function 'g' does not exist in service 'demo'" in str(missing)


async def test_versions_and_qualifiers(demo: Client2021) -> None:
    made = (await demo("PublishServiceVersion", "demo", description="first")).data
    assert (made["versionId"], made["description"]) == ("1", "first")
    await demo("UpdateFunction", "demo", "f", description="later")
    assert (await demo("GetService", "demo", qualifier="1")).data["description"] == "first"
    assert (await demo("GetFunction", "demo", "f", qualifier="1")).data["description"] == ""
    assert (await demo("GetFunction", "demo", "f", qualifier="LATEST")).data["description"] == "later"
    published = (await demo("ListFunctions", "demo", qualifier="1")).data["functions"]
    assert [each["description"] for each in published] == [""]
    assert (await demo("GetFunctionCode", "demo", "f", qualifier="1")).data["checksum"]
    await demo("PublishServiceVersion", "demo")
    listed = (await demo("ListServiceVersions", "demo", direction="FORWARD")).data
    assert ([each["versionId"] for each in listed["versions"]], listed["direction"]) == (["1", "2"], "FORWARD")
    await demo("DeleteServiceVersion", "demo", "2")
    assert (await demo.failure("GetFunction", "demo", "f", qualifier="2")).code == "VersionNotFound"
    assert (await demo.failure("GetFunction", "demo", "f", qualifier="live")).code == "AliasNotFound"


async def test_aliases(demo: Client2021) -> None:
    await demo("PublishServiceVersion", "demo")
    made = (await demo("CreateAlias", "demo", aliasName="live", versionId="1")).data
    assert (made["versionId"], made["description"]) == ("1", "")
    changed = (await demo("UpdateAlias", "demo", "live", additionalVersionWeight={"1": 0.5})).data
    assert changed["additionalVersionWeight"] == {"1": 0.5}
    assert (await demo("GetAlias", "demo", "live")).data == changed
    assert (await demo("ListAliases", "demo")).data["aliases"] == [changed]
    await demo("DeleteAlias", "demo", "live")
    assert (await demo.failure("GetAlias", "demo", "live")).code == "AliasNotFound"


async def test_triggers(demo: Client2021, server: HttpServer) -> None:
    timer = json.dumps({"cronExpression": "@every 5m", "enable": True})
    made = (await demo("CreateTrigger", "demo", "f", triggerName="t", triggerType="timer", triggerConfig=timer)).data
    assert json.loads(made["triggerConfig"]) == json.loads(timer)
    changed = (await demo("UpdateTrigger", "demo", "f", "t", triggerConfig='{"payload": "x"}')).data
    assert json.loads(changed["triggerConfig"]) == json.loads(timer) | {"payload": "x"}
    assert changed["targetArn"] == f"{SERVICE_ARN}/functions/f"
    web = (
        await demo("CreateTrigger", "demo", "f", triggerName="w", triggerType="http", triggerConfig=HTTP_TRIGGER)
    ).data
    assert web["urlInternet"] == f"{server.url}/2016-08-15/proxy/demo/f/"
    assert web["domainName"] == urlsplit(server.url).hostname
    assert (await demo("GetTrigger", "demo", "f", "w")).data == web
    listed = (await demo("ListTriggers", "demo", "f")).data["triggers"]
    assert [each["triggerName"] for each in listed] == ["t", "w"]
    await demo("DeleteTrigger", "demo", "f", "t")
    for text in ("", "{", "[]", "null", '"text"', '{"a": "\\u0000"}'):
        sent: dict[str, Any] = {"triggerName": "t", "triggerType": "timer", "triggerConfig": text}
        refused = await demo.failure("CreateTrigger", "demo", "f", **sent)
        assert (refused.statusCode, refused.code) == (400, "InvalidArgument"), text
    assert (await demo.failure("GetTrigger", "demo", "f", "t")).code == "TriggerNotFound"


async def test_invocations(demo: Client2021, endpoint: Endpoint) -> None:
    event = bytes(range(256))
    answered = await demo("InvokeFunction", "demo", "f", body=event, headers={"X-Fc-Log-Type": "Tail"})
    assert (answered.status, answered.data) == (200, event)
    assert "x-fc-log-result" in answered.headers
    assert endpoint.engine.asked[-1].target.qualifier == "LATEST"
    await demo("InvokeFunction", "demo", "f", qualifier="live", body=b"x")
    assert endpoint.engine.asked[-1].target.qualifier == "live"
    refused = await demo.failure("InvokeFunction", "demo", "f", headers={"X-Fc-Log-Type": "Invalid"})
    assert (refused.statusCode, refused.code) == (400, "InvalidArgument")


async def test_asynchronous_invocations(demo: Client2021) -> None:
    waiting = {"X-Fc-Invocation-Type": "Async", "X-Fc-Stateful-Async-Invocation-Enable": "true"}
    for name in ("one", "two", "other"):
        sent = {**waiting, "X-Fc-Stateful-Async-Invocation-Id": name}
        accepted = await demo("InvokeFunction", "demo", "f", body=name.encode(), headers=sent)
        assert (accepted.status, accepted.data) == (202, b"")
    got = (await demo("GetStatefulAsyncInvocation", "demo", "f", "one")).data
    assert (got["invocationId"], got["status"]) == ("one", "Enqueued")
    listed = (await demo("ListStatefulAsyncInvocations", "demo", "f", includePayload=True, limit=2)).data
    assert [each["invocationPayload"] for each in listed["invocations"]] == ["other", "two"]
    found = await demo(
        "ListStatefulAsyncInvocations",
        "demo",
        "f",
        qualifier="LATEST",
        status="Enqueued",
        invocationIdPrefix="o",
        sortOrderByTime="asc",
        startedTimeBegin=1,
        startedTimeEnd=int(time.time() * 1000) + 60_000,
    )
    assert [each["invocationId"] for each in found.data["invocations"]] == ["one", "other"]
    assert (await demo("StopStatefulAsyncInvocation", "demo", "f", "one")).status == 204
    assert (await demo("GetStatefulAsyncInvocation", "demo", "f", "one")).data["status"] == "Stopped"
    functions = (await demo("ListStatefulAsyncInvocationFunctions")).data["data"]
    assert functions == [{"serviceName": "demo", "functionName": "f", "qualifier": "LATEST"}]
    wrong = await demo.failure("ListStatefulAsyncInvocations", "demo", "f", status="Lost")
    assert (wrong.statusCode, wrong.code) == (400, "InvalidArgument")
    missing = await demo.failure("GetStatefulAsyncInvocation", "demo", "f", "none")
    assert missing.code == "StatefulAsyncInvocationNotFound"


async def test_configurations(demo: Client2021, endpoint: Endpoint) -> None:
    await demo("PublishServiceVersion", "demo")
    await demo("CreateAlias", "demo", aliasName="live", versionId="1")
    put = await demo("PutFunctionAsyncInvokeConfig", "demo", "f", qualifier="live", maxAsyncRetryAttempts=2)
    assert (put.data["qualifier"], put.data["maxAsyncRetryAttempts"]) == ("live", 2)
    assert (await demo("GetFunctionAsyncInvokeConfig", "demo", "f", qualifier="live")).data == put.data
    assert (await demo.failure("GetFunctionAsyncInvokeConfig", "demo", "f")).code == "AsyncConfigNotExists"
    assert (await demo("ListFunctionAsyncInvokeConfigs", "demo", "f")).data["configs"] == [put.data]
    await demo("DeleteFunctionAsyncInvokeConfig", "demo", "f", qualifier="live")

    endpoint.engine.provisioned[Target("demo", "live", "f")] = Provisioned(target=1, current=1)
    kept = (await demo("PutProvisionConfig", "demo", "f", qualifier="live", target=1)).data
    assert (kept["resource"], kept["target"]) == (f"{ACCOUNT_ID}#demo#live#f", 1)
    assert (await demo("GetProvisionConfig", "demo", "f", qualifier="live")).data["target"] == 1
    listed = await demo("ListProvisionConfigs", serviceName="demo", qualifier="live")
    assert len(listed.data["provisionConfigs"]) == 1

    bound = (await demo("PutFunctionOnDemandConfig", "demo", "f", qualifier="live", maximumInstanceCount=3)).data
    assert bound == {"resource": "services/demo.live/functions/f", "maximumInstanceCount": 3}
    assert (await demo("GetFunctionOnDemandConfig", "demo", "f", qualifier="live")).data == bound
    assert (await demo("ListOnDemandConfigs")).data["configs"] == [bound]
    await demo("DeleteFunctionOnDemandConfig", "demo", "f", qualifier="live")
    assert (await demo.failure("GetFunctionOnDemandConfig", "demo", "f", qualifier="live")).statusCode == 404


async def test_custom_domains(sdk: Client2021) -> None:
    routes = {"routes": [{"path": "/*", "serviceName": "demo", "functionName": "f"}]}
    made = (await sdk("CreateCustomDomain", domainName="a.example.com", protocol="HTTP", routeConfig=routes)).data
    assert (made["domainName"], made["apiVersion"], made["accountId"]) == ("a.example.com", "2021-04-06", ACCOUNT_ID)
    assert (await sdk("GetCustomDomain", "a.example.com")).data == made
    changed = (await sdk("UpdateCustomDomain", "a.example.com", routeConfig={"routes": []})).data
    assert changed["routeConfig"] == {"routes": []}
    assert (await sdk("ListCustomDomains")).data["customDomains"] == [changed]
    await sdk("DeleteCustomDomain", "a.example.com")
    assert (await sdk.failure("GetCustomDomain", "a.example.com")).code == "DomainNameNotFound"


async def test_layers(sdk: Client2021, code: str) -> None:
    sent: dict[str, Any] = {
        "Code": {"zipFile": _base64(code)},
        "compatibleRuntime": ["python3"],
        "description": "shared",
    }
    made = (await sdk("CreateLayerVersion", "libs", **sent)).data
    assert (made["version"], made["layerName"]) == (1, "libs")
    assert made["codesize"] > 0
    got = (await sdk("GetLayerVersion", "libs", "1")).data
    assert got["arnV2"] == f"acs:fc:{REGION}:{ACCOUNT_ID}:layers/libs/versions/1"
    assert (await sdk("ListLayerVersions", "libs", startVersion=1)).data["layers"] == [got]
    assert (await sdk("PutLayerACL", "libs", public="true")).status == 204
    assert [each["acl"] for each in (await sdk("ListLayers", public=True)).data["layers"]] == [1]
    await sdk("CreateService", serviceName="demo")
    layered = (await sdk("CreateFunction", "demo", **_function(code), layers=[f"{ACCOUNT_ID}#libs#1"])).data
    assert layered["layersArnV2"] == [got["arnV2"]]
    await sdk("DeleteLayerVersion", "libs", "1")
    assert (await sdk.failure("GetLayerVersion", "libs", "1")).code == "LayerVersionNotFound"


async def test_tags(demo: Client2021) -> None:
    assert (await demo("TagResource", resourceArn="services/demo", tags={"a": "1", "b": "2"})).status == 204
    got = (await demo("GetResourceTags", resourceArn="services/demo")).data
    assert got == {"resourceArn": SERVICE_ARN, "tags": {"a": "1", "b": "2"}}
    assert (await demo("UntagResource", resourceArn=SERVICE_ARN, tagKeys=["a"])).status == 204
    listed = (await demo("ListTaggedResources", limit=5)).data["resources"]
    assert listed == [{"resourceArn": SERVICE_ARN, "tags": {"b": "2"}}]


async def test_what_services_and_functions_are_bound_to(demo: Client2021) -> None:
    assert (await demo("CreateVpcBinding", "demo", vpcId="vpc-1")).status == 204
    assert (await demo("ListVpcBindings", "demo")).data == {"vpcIds": ["vpc-1"]}
    await demo("DeleteVpcBinding", "demo", "vpc-1")
    assert (await demo.failure("DeleteVpcBinding", "demo", "vpc-1")).code == "VpcBindingNotFound"

    made = (await demo("RegisterEventSource", "demo", "f", sourceArn=SOURCE)).data
    assert (await demo("RegisterEventSource", "demo", "f", sourceArn=SOURCE)).data == made
    assert made["sourceArn"] == SOURCE
    assert (await demo("ListEventSources", "demo", "f")).data == {"eventSources": [made]}
    await demo("PublishServiceVersion", "demo")
    assert (await demo("ListEventSources", "demo", "f", qualifier="1")).data == {"eventSources": []}
    await demo("DeregisterEventSource", "demo", "f", SOURCE)
    assert (await demo.failure("DeregisterEventSource", "demo", "f", SOURCE)).code == "EventSourceNotFound"
    assert (await demo.failure("RegisterEventSource", "demo", "f", sourceArn="")).code == "InvalidArgument"
    await demo("RegisterEventSource", "demo", "f", sourceArn=SOURCE)
    await demo("DeleteFunction", "demo", "f")
    assert (await demo.failure("ListEventSources", "demo", "f")).code == "FunctionNotFound"


async def test_instances(demo: Client2021, endpoint: Endpoint) -> None:
    endpoint.engine.running = [
        InstanceInfo(instance_id=name, service="demo", version_id="LATEST", function="f") for name in ("a", "b", "c")
    ]
    listed = (await demo("ListInstances", "demo", "f", instanceIds=["a", "c"], limit=10)).data
    assert [each["instanceId"] for each in listed["instances"]] == ["a", "c"]
    assert (await demo.failure("ListInstances", "demo", "f", qualifier="9")).code == "VersionNotFound"


async def test_the_account(sdk: Client2021) -> None:
    assert set((await sdk("GetAccountSettings")).data) == {"availableAZs", "defaultRole"}
    assert (await sdk("ListReservedCapacities", limit=5)).data == {"reservedCapacities": []}


async def test_gpu_instances_are_refused_and_say_why(sdk: Client2021) -> None:
    refused = await sdk.failure("ClaimGPUInstance", instanceType="ecs.gn6i", imageId="i")
    assert (refused.statusCode, refused.code) == (400, "OperationNotSupported")
    assert "ecs.gn6i" in str(refused)
    missing = await sdk.failure("ReleaseGPUInstance", "i-1")
    assert (missing.statusCode, missing.code) == (404, "GPUInstanceNotFound")


async def test_what_one_version_cannot_say_survives_an_edit_through_the_other(demo: Client2021, client: Client) -> None:
    nas = {
        "mountPoints": [{"serverAddr": "s:/d", "mountDir": "/mnt/nas", "enableTLS": True}],
        "userId": 1,
        "groupId": 1,
    }
    before = (await demo("UpdateService", "demo", nasConfig=nas)).data
    assert before["nasConfig"]["mountPoints"][0]["enableTLS"] is True
    await client("update_service", "demo", description="by 2016")
    after = (await demo("GetService", "demo")).data
    changed = {"description": "by 2016", "lastModifiedTime": after["lastModifiedTime"]}
    assert after == before | changed
    await client("tag_resource", "services/demo", {"team": "a"})
    await demo("UpdateService", "demo", description="by 2021")
    assert (await client("get_resource_tags", resourceArn="services/demo")).data["tags"] == {"team": "a"}
    assert "ossMountConfig" not in (await client("get_service", "demo")).data


async def test_a_token_signs_too_and_a_wrong_key_is_refused(
    sdk: Client2021, server: HttpServer, endpoint: Endpoint
) -> None:
    given = await credentials(endpoint, [statement("Allow", "fc:ListServices")])
    lent = Client2021(server.url, given.access_key_id, given.access_key_secret, given.security_token)
    assert (await lent("ListServices")).data == {"services": []}
    denied = await lent.failure("ListLayers")
    assert (denied.statusCode, denied.code) == (403, "AccessDenied")
    assert "fc:ListLayers" in str(denied)
    stranger = await Client2021(server.url, "nobody", "s").failure("ListServices")
    assert (stranger.statusCode, stranger.code) == (403, "InvalidAccessKeyID")
    wrong = await Client2021(server.url, secret="wrong").failure("ListServices")
    assert (wrong.statusCode, wrong.code) == (403, "SignatureNotMatch")


def test_every_operation_of_the_sdk_is_called_here() -> None:
    official = {each.removesuffix("Headers") for each in vars(models) if each.endswith("Headers")}
    ours = {each.name for each in OPERATIONS}
    assert len(official) == 66
    assert ours - official == {"InstanceExec"}
    assert official <= ours
    text = Path(__file__).read_text()
    assert [name for name in sorted(official) if f'"{name}"' not in text] == []
