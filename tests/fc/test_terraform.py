"""What Terraform's provider sends for `alicloud_fcv3_*`, and the answers that it relies on.

The bodies are those that the provider's source makes, with the zero values that it sends for what a configuration
leaves out. Its signature is tested in `test_roa_signature.py`.
"""

import json
from typing import Any

import pytest
from tests.control.conftest import base64_of
from tests.fc.conftest import Endpoint
from tests.support.zips import zip_of

CODE = {"zipFile": base64_of(zip_of({"main.py": "def handler(event, context):\n    return event\n"}))}
NO_RULES: dict[str, Any] = {"wildcardRules": [], "regexRules": [], "equalRules": []}


@pytest.fixture
def api(endpoint: Endpoint) -> Any:
    async def call(method: str, path: str, body: Any = b"", query: str = "") -> tuple[int, Any]:
        answer = await endpoint.call(method, f"/2023-03-30{path}{query}", body, whole_path=True)
        return answer.status, answer.json() if answer.body else None

    return call


async def test_a_function_is_created_changed_and_deleted(api: Any) -> None:
    created = {
        "functionName": "tf", "runtime": "python3.10", "handler": "main.handler", "code": CODE,
        "Tags": [{"Key": "a", "Value": "b"}], "timeout": 3, "memorySize": 512, "cpu": 0.5, "diskSize": 512,
    }  # fmt: skip
    assert (await api("POST", "/functions", created))[0] == 200
    unset = {
        "nasConfig": {"userId": 0, "groupId": 0, "mountPoints": []}, "customRuntimeConfig": {}, "customDNS": {},
        "customContainerConfig": {}, "gpuConfig": {}, "logConfig": {}, "vpcConfig": {}, "ossMountConfig": {},
        "instanceLifecycleConfig": {}, "layers": [], "environmentVariables": {}, "code": {}, "role": "",
        "sessionAffinity": "", "sessionAffinityConfig": "", "instanceIsolationMode": "", "description": "",
        "runtime": "python3.10", "handler": "main.handler",
    }  # fmt: skip
    status, found = await api("PUT", "/functions/tf", unset)
    assert (status, found["tags"], found["codeSize"] > 0) == (200, [{"Key": "a", "Value": "b"}], True)
    arn = json.dumps([found["functionArn"]]).replace('"', "%22")
    untag = f"?TagKey=%5B%22a%22%5D&ResourceId={arn}&ResourceType=function"
    assert (await api("DELETE", "/tags-v2", b"", untag))[0] == 204
    assert (await api("DELETE", "/functions/tf"))[0] == 204
    assert (await api("GET", "/functions/tf"))[1]["Code"] == "FunctionNotFound"


async def test_a_container_without_a_port_has_none(api: Any) -> None:
    config = {"image": "registry/a:b", "port": 0, "command": [], "entrypoint": []}
    sent = {"functionName": "tf", "runtime": "custom-container", "handler": "h", "code": {}, "customRuntimeConfig": {}}
    status, found = await api("POST", "/functions", sent | {"customContainerConfig": config})
    assert (status, found["customContainerConfig"].get("port")) == (200, None)


async def test_what_is_not_there_has_the_codes_that_the_provider_expects(api: Any) -> None:
    sent = {"functionName": "tf", "runtime": "python3.10", "handler": "main.handler", "code": CODE}
    assert (await api("POST", "/functions", sent))[0] == 200
    expected = {
        "/functions/none": "FunctionNotFound", "/functions/tf/aliases/none": "AliasNotFound",
        "/functions/tf/triggers/none": "TriggerNotFound", "/functions/tf?qualifier=9": "VersionNotFound",
        "/functions/tf/async-invoke-config": "AsyncConfigNotExists", "/layers/none/versions/1": "LayerVersionNotFound",
        "/functions/tf/concurrency": "OnDemandConfigNotFound", "/custom-domains/none": "DomainNameNotFound",
    }  # fmt: skip
    for path, code in expected.items():
        status, found = await api("GET", path)
        assert (status, found["Code"]) == (404, code), path


async def test_a_domain_keeps_what_was_sent(api: Any) -> None:
    routes = [{"path": "/*", "functionName": "tf", "qualifier": "", "methods": [], "rewriteConfig": NO_RULES}]
    sent = {
        "domainName": "tf.example.com", "protocol": "HTTP", "routeConfig": {"routes": routes},
        "authConfig": {"authType": "anonymous", "authInfo": ""}, "wafConfig": {"enableWAF": False},
        "corsConfig": {"allowHeaders": [], "allowMethods": [], "exposeHeaders": [], "allowOrigins": [], "maxAge": 0},
        "tlsConfig": {"minVersion": "TLSv1.0", "maxVersion": "TLSv1.2", "cipherSuites": ["A"]},
    }  # fmt: skip
    assert (await api("POST", "/custom-domains", sent))[0] == 200
    changed = {key: value for key, value in sent.items() if key != "domainName"} | {"certConfig": {}}
    status, found = await api("PUT", "/custom-domains/tf.example.com", changed)
    assert (status, found["authConfig"], found["tlsConfig"]) == (200, sent["authConfig"], sent["tlsConfig"])
