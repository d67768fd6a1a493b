"""Every operation beyond services and functions, signed and parsed by the official SDK."""

import asyncio
import base64
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
import requests
from fastcrc import crc64
from tests.fc.conftest import ACCOUNT_ID, REGION, Endpoint
from tests.support.sdk import Client

from sesame.engine.interface import InstanceInfo, Provisioned
from sesame.model import records
from sesame.model.bucket import Bucket
from sesame.model.invocation import Target

ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}:services/demo"


@pytest.fixture
async def demo(client: Client, code: str) -> Client:
    await client("create_service", "demo")
    await client("create_function", "demo", "f", "python3", "index.handler", codeZipFile=code)
    return client


async def test_versions(demo: Client) -> None:
    first = (await demo("publish_version", "demo", "one")).data
    assert set(first) == {"versionId", "description", "createdTime", "lastModifiedTime"}
    assert (first["versionId"], first["description"]) == ("1", "one")
    assert (await demo.failure("publish_version", "demo"))["code"] == "VersionPublishError"
    again = await demo("publish_version", "demo", headers={"x-fc-ignore-version-publish-error": "true"})
    assert again.data["versionId"] == "1"
    await demo("update_function", "demo", "f", description="two")
    assert (await demo("publish_version", "demo")).data["versionId"] == "2"
    page = (await demo("list_versions", "demo", limit=1)).data
    assert ([v["versionId"] for v in page["versions"]], page["nextToken"]) == (["2"], "1")
    rest = (await demo("list_versions", "demo", limit=1, nextToken="1")).data
    assert [v["versionId"] for v in rest["versions"]] == ["1"]
    assert "nextToken" not in rest
    forward = (await demo("list_versions", "demo", direction="FORWARD")).data
    assert ([v["versionId"] for v in forward["versions"]], forward["direction"]) == (["1", "2"], "FORWARD")
    assert (await demo("get_service", "demo", qualifier="1")).data["description"] == "one"
    assert (await demo("get_function", "demo", "f", qualifier="1")).data["description"] != "two"
    await demo("delete_version", "demo", "1")
    assert (await demo.failure("delete_version", "demo", "1"))["code"] == "VersionNotFound"


async def test_aliases(demo: Client) -> None:
    await demo("publish_version", "demo")
    made = await demo("create_alias", "demo", "prod", "1")
    assert made.data["additionalVersionWeight"] is None
    assert made.data["description"] == ""
    assert len(made.headers["Etag"]) == 32
    changed = (await demo("update_alias", "demo", "prod", None, additionalVersionWeight={"1": 0.9})).data
    assert (changed["versionId"], changed["additionalVersionWeight"]) == ("1", {"1": 0.9})
    assert (await demo("get_alias", "demo", "prod")).data == changed
    assert (await demo("list_aliases", "demo")).data == {"aliases": [changed]}
    stale = await demo.failure("delete_alias", "demo", "prod", headers={"if-match": made.headers["Etag"]})
    assert stale["status"] == 412
    await demo("delete_alias", "demo", "prod")
    assert (await demo.failure("get_alias", "demo", "prod"))["code"] == "AliasNotFound"
    assert (await demo("list_aliases", "demo")).data == {"aliases": []}


async def test_triggers(demo: Client, endpoint: Endpoint) -> None:
    source = f"acs:oss:{REGION}:{ACCOUNT_ID}:bucket"
    role = f"acs:ram::{ACCOUNT_ID}:role/r"
    await endpoint.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "bucket", Bucket("bucket", ACCOUNT_ID)))
    config = {"events": ["oss:ObjectCreated:*"], "filter": {"key": {"prefix": "p", "suffix": ""}}}
    made = (await demo("create_trigger", "demo", "f", "t", "oss", config, source, role)).data
    assert (made["triggerConfig"], made["sourceArn"], made["invocationRole"]) == (config, source, role)
    assert (made["qualifier"], "urlInternet" in made) == (None, False)
    await demo("create_trigger", "demo", "f", "u", "timer", {"cronExpression": "@every 5m"}, "", "")
    page = (await demo("list_triggers", "demo", "f", limit=1)).data
    assert (page["triggers"], page["nextToken"]) == ([made], "u")
    new = {"events": ["oss:ObjectRemoved:*"]}
    changed = (await demo("update_trigger", "demo", "f", "t", triggerConfig=new, description="d")).data
    assert (changed["triggerConfig"], changed["description"]) == ({**config, **new}, "d")
    assert changed["createdTime"] == made["createdTime"]
    assert (await demo("get_trigger", "demo", "f", "t")).data == changed
    for name in ("t", "u"):
        await demo("delete_trigger", "demo", "f", name)
    assert (await demo.failure("delete_trigger", "demo", "f", "t"))["code"] == "TriggerNotFound"
    web = await demo("create_trigger", "demo", "f", "w", "http", {"authType": "anonymous", "methods": ["GET"]}, "x", "")
    assert web.data["sourceArn"] is None
    assert web.data["urlInternet"].endswith("/2016-08-15/proxy/demo/f/")


async def test_custom_domains(client: Client) -> None:
    routes = {"routes": [{"path": "/a", "serviceName": "s", "functionName": "f", "qualifier": None}]}
    made = (await client("create_custom_domain", "A.example.com", "HTTP", routes)).data
    assert (made["domainName"], made["accountId"], made["apiVersion"]) == ("A.example.com", ACCOUNT_ID, "2016-08-15")
    assert made["routeConfig"]["routes"][0]["serviceName"] == "s"
    assert (made["certConfig"], made["protocol"]) == (None, "HTTP")
    again = await client.failure("create_custom_domain", "a.EXAMPLE.com")
    assert again["code"] == "DomainNameAlreadyExists"
    assert list((await client("list_custom_domains", prefix="A.")).data) == ["customDomains"]
    changed = (await client("update_custom_domain", "A.example.com", routeConfig={"routes": []})).data
    assert (await client("get_custom_domain", "A.example.com")).data == changed
    assert changed["routeConfig"]["routes"] == []
    await client("delete_custom_domain", "A.example.com")
    assert (await client.failure("get_custom_domain", "A.example.com"))["code"] == "DomainNameNotFound"


async def test_tags(demo: Client) -> None:
    assert "requestId" in (await demo("tag_resource", "services/demo", {"a": "1", "b": ""})).data
    tags = (await demo("get_resource_tags", ARN)).data
    assert (tags["resourceArn"], tags["tags"]) == (ARN, {"a": "1", "b": ""})
    assert (await demo.request("GET", "/tags"))["resources"] == [{"resourceArn": ARN, "tags": {"a": "1", "b": ""}}]
    for wanted, found in (({"a": "1"}, 1), ({"a": ""}, 1), ({"a": "2"}, 0), ({"a": "1", "c": ""}, 0)):
        listed = (await demo("list_services", tags=wanted)).data["services"]
        assert len(listed) == found
        assert all(service["tags"] == {"a": "1", "b": ""} for service in listed)
    await demo("untag_resource", ARN, ["a"])
    assert (await demo("get_resource_tags", ARN)).data["tags"] == {"b": ""}
    await demo("untag_resource", ARN, [], True)
    assert (await demo("get_resource_tags", ARN)).data["tags"] == {}


async def test_asynchronous_configuration(demo: Client) -> None:
    await demo("publish_version", "demo")
    await demo("create_alias", "demo", "prod", "1")
    empty = (await demo("list_function_async_invoke_configs", "demo", "f")).data
    assert empty == {"configs": None, "nextToken": ""}
    sent = {"DestinationConfig": {"OnSuccess": {"Destination": ARN + "/functions/g"}}, "MaxAsyncRetryAttempts": 2}
    made = (await demo("put_function_async_invoke_config", "demo", "prod", "f", sent)).data
    assert (made["service"], made["function"], made["qualifier"]) == ("demo", "f", "prod")
    assert made["destinationConfig"]["onSuccess"] == {"destination": ARN + "/functions/g"}
    assert (made["maxAsyncRetryAttempts"], made["maxAsyncEventAgeInSeconds"]) == (2, None)
    assert (await demo("get_function_async_invoke_config", "demo", "prod", "f")).data == made
    await demo("put_function_async_invoke_config", "demo", "LATEST", "f", sent)
    page = (await demo("list_function_async_invoke_configs", "demo", "f", limit=1)).data
    assert (len(page["configs"]), page["nextToken"]) == (1, "prod")
    await demo("delete_function_async_invoke_config", "demo", "prod", "f")
    gone = await demo.failure("get_function_async_invoke_config", "demo", "prod", "f")
    assert gone["code"] == "AsyncConfigNotExists"


async def test_provisioned_instances_are_configured_and_counted(demo: Client, endpoint: Endpoint) -> None:
    await demo("publish_version", "demo")
    endpoint.engine.provisioned[Target("demo", "1", "f")] = Provisioned(3, 2, "no capacity")
    made = (await demo("put_provision_config", "demo", "1", "f", 3)).data
    assert (made["target"], made["current"], made["currentError"]) == (3, 2, "no capacity")
    assert made["resource"] == f"{ACCOUNT_ID}#demo#1#f"
    assert (await demo("get_provision_config", "demo", "1", "f")).data == made
    assert (await demo("list_provision_configs", "demo", "1")).data == {"provisionConfigs": [made]}
    endpoint.engine.provisioned.clear()
    off = (await demo("put_provision_config", "demo", "1", "f", 0)).data
    assert off["target"] == 0


async def test_bounds_on_instances(demo: Client) -> None:
    assert (await demo("list_on_demand_config")).data == {"configs": None}
    made = (await demo("put_on_demand_config", "demo", "prod", "f", 0)).data
    assert made == {"resource": "services/demo.prod/functions/f", "maximumInstanceCount": 0}
    assert (await demo("get_on_demand_config", "demo", "prod", "f")).data == made
    assert (await demo("list_on_demand_config")).data == {"configs": [made]}
    await demo("delete_on_demand_config", "demo", "prod", "f")
    assert (await demo.failure("get_on_demand_config", "demo", "prod", "f"))["code"] == "OnDemandConfigNotFound"


async def test_layers(demo: Client, zip_of: Callable[..., bytes]) -> None:
    archive = zip_of(python__txt="x")
    sent = {
        "code": {"zipFile": base64.b64encode(archive).decode()},
        "compatibleRuntime": ["python3"],
        "description": "d",
    }
    made = await demo.request("POST", "/layers/tools/versions", sent)
    arn = f"acs:fc:{REGION}:{ACCOUNT_ID}:layers/tools/versions/1"
    assert (made["layerName"], made["version"], made["arn"], made["acl"]) == ("tools", 1, arn, 0)
    assert made["codeChecksum"] == str(crc64.xz(archive))
    assert (await asyncio.to_thread(requests.get, made["code"]["location"], timeout=60)).content == archive
    assert (await demo.request("POST", "/layers/tools/versions", sent))["version"] == 2
    assert await demo.request("PUT", "/layers/tools/acl", public="true") == {}
    assert (await demo.request("GET", f"/layerarn/{quote(arn, safe='')}"))["acl"] == 1
    assert (await demo.request("GET", "/layers/tools/versions/1"))["description"] == "d"
    page = await demo.request("GET", "/layers/tools/versions", limit="1")
    assert (len(page["layers"]), page["nextVersion"]) == (1, 2)
    rest = await demo.request("GET", "/layers/tools/versions", startVersion="2")
    assert ([layer["version"] for layer in rest["layers"]], "nextVersion" in rest) == ([2], False)
    assert [layer["version"] for layer in (await demo.request("GET", "/layers", public="true"))["layers"]] == [2]
    assert await demo.request("GET", "/layers", official="true") == {"layers": []}
    await demo.request("DELETE", "/layers/tools/versions/1")
    gone = await demo.failure("do_request", "GET", "/2016-08-15/layers/tools/versions/1")
    assert gone["code"] == "LayerVersionNotFound"


async def test_bindings_to_networks(demo: Client) -> None:
    assert await demo.request("POST", "/services/demo/binding", {"serviceName": "demo", "vpcId": "vpc-1"}) == {}
    assert await demo.request("GET", "/services/demo/bindings") == {"vpcIds": ["vpc-1"]}
    assert await demo.request("DELETE", "/services/demo/binding", {"vpcId": "vpc-1"}) == {}
    assert await demo.request("GET", "/services/demo/bindings") == {"vpcIds": []}


async def test_the_account(demo: Client) -> None:
    assert (await demo("get_account_settings")).data == {"availableAZs": ["cn-hongkong-c"], "defaultRole": ""}
    assert (await demo("list_reserved_capacities", limit=5)).data == {"reservedCapacities": []}
    for named in ("CodeSizeLimit", ""):
        assert await demo.request("GET", "/accountConfigs", config=named) == {"CodeSizeLimit": "104857600"}
    # Clients make a host of it: <ossRegion>.aliyuncs.com.
    assert (await demo.request("GET", "/tempBucketToken"))["ossRegion"] == "oss-cn-hongkong"
    for lent in (
        await demo.request("GET", "/tempBucketToken"),
        await demo.request("GET", "/services/demo/tempCodeBucketToken"),
    ):
        assert set(lent["credentials"]) == {"AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"}
        assert lent["credentials"]["AccessKeyId"].startswith("STS.")
        assert re.fullmatch("fc-code-[0-9a-f]{12}", lent["ossBucket"])
        assert len(lent["objectName"]) == 32
    assert (await demo.failure("do_request", "GET", "/2016-08-15/services/no/tempCodeBucketToken"))["status"] == 404


async def test_instances(demo: Client, endpoint: Endpoint) -> None:
    await demo("publish_version", "demo")
    await demo("create_alias", "demo", "prod", "1")
    for name, version in (("c-1", "LATEST"), ("c-2", "1"), ("c-3", "LATEST")):
        endpoint.engine.running.append(InstanceInfo(name, "demo", "f", version))
    latest = (await demo("list_instances", "demo", "LATEST", "f")).data
    assert latest == {"instances": [{"instanceId": i, "versionId": "LATEST"} for i in ("c-1", "c-3")]}
    page = (await demo("list_instances", "demo", "LATEST", "f", {"limit": 1})).data
    assert (len(page["instances"]), page["nextToken"]) == (1, "c-3")
    assert (await demo("list_instances", "demo", "LATEST", "f", {"instanceIds": ["c-2", "c-3"]})).data == {
        "instances": [{"instanceId": "c-3", "versionId": "LATEST"}]
    }
    for qualifier in ("prod", "1"):
        found = (await demo("list_instances", "demo", qualifier, "f")).data["instances"]
        assert found == [{"instanceId": "c-2", "versionId": "1"}]
    assert (await demo.failure("list_instances", "demo", "LATEST", "no"))["code"] == "FunctionNotFound"
