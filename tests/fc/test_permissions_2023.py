"""Which action and resource a request of 2023-03-30 means: a function has one name in policies, in every API."""

from typing import Any

import pytest
from tests.fc.conftest import ACCOUNT_ID, REGION, Endpoint
from tests.fc.test_permissions import credentials, statement
from tests.support.sdk import Client as OldClient
from tests.support.sdk_2023 import Client, made

from sesame.fc.auth.actions import Actions
from sesame.fc.v2016.version import VERSION as OLD
from sesame.fc.v2023.operations import OPERATIONS
from sesame.fc.v2023.version import VERSION
from sesame.http.server import HttpServer

ACTIONS = Actions((OLD, VERSION), "cn-hangzhou")
ARN = f"acs:fc:{REGION}:{ACCOUNT_ID}"


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("POST", "functions", "", ("fc:CreateFunction", "functions/*")),
        ("GET", "functions/f", "", ("fc:GetFunction", "functions/f")),
        ("GET", "functions/f", "qualifier=LATEST", ("fc:GetFunction", "functions/f")),
        ("GET", "functions/f", "qualifier=prod", ("fc:GetFunction", "functions/f/prod")),
        ("GET", "functions/s%24f", "", ("fc:GetFunction", "services/s/functions/f")),
        ("GET", "functions/s$f", "qualifier=1", ("fc:GetFunction", "services/s.1/functions/f")),
        ("POST", "functions/f/invocations", "", ("fc:InvokeFunction", "functions/f")),
        ("POST", "functions/s$f/invocations", "qualifier=1", ("fc:InvokeFunction", "services/s.1/functions/f")),
        ("POST", "functions/f/invoke/disable", "", ("fc:DisableFunctionInvocation", "functions/f")),
        ("PUT", "functions/f/concurrency", "", ("fc:PutConcurrencyConfig", "functions/f")),
        ("PUT", "functions/f/async-tasks/i/stop", "", ("fc:StopAsyncTask", "functions/f/async-tasks/i")),
        ("GET", "functions/f/versions", "", ("fc:ListFunctionVersions", "functions/f/versions/*")),
        # These are the service's, and lead to all of its functions.
        ("POST", "functions/s$f/versions", "", ("fc:PublishFunctionVersion", "services/s/versions/*")),
        ("PUT", "functions/s$f/aliases/a", "", ("fc:UpdateAlias", "services/s/aliases/a")),
        ("POST", "functions/s$f/vpc-bindings", "", ("fc:CreateVpcBinding", "services/s")),
        ("DELETE", "functions/s$f/vpc-bindings/v", "", ("fc:DeleteVpcBinding", "services/s/bindings/v")),
        ("PUT", "functions/f/sessions/x/pause", "", ("fc:PauseSession", "functions/f/sessions/x")),
        ("GET", "functions/f/instances/c-1/exec", "", ("fc:InstanceExec", "functions/f/instances/c-1")),
        ("PUT", "layers/l/acl", "", ("fc:PutLayerACL", "layers/l")),
    ],
)
def test_actions_and_resources(method: str, path: str, query: str, expected: tuple[str, str]) -> None:
    assert ACTIONS.find(method, b"/2023-03-30/" + path.encode(), query.encode()) == expected


def test_every_operation_has_an_action() -> None:
    for each in OPERATIONS:
        path = each.route.replace("{", "").replace("}", "").encode()
        found = ACTIONS.find(each.method, path)
        assert found is not None, each.name
        assert found[0] == f"fc:{each.name}"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "functions/f"),
        ("DELETE", "functions/f"),
        ("DELETE", "functions/s$f"),
        ("PUT", "functions/f/concurrency"),
        ("POST", "functions/f/invoke/disable"),
        ("POST", "functions/f/versions"),
        ("DELETE", "functions/f/aliases/a"),
        ("POST", "functions/f/triggers"),
        ("DELETE", "functions/f/triggers/t"),
        ("GET", "functions/f/vpc-bindings"),
    ],
)
async def test_a_qualifier_evades_no_policy(endpoint: Endpoint, method: str, path: str) -> None:
    """The right would be one to `functions/f/x`, and the operation one on all of the function."""
    answer = await endpoint.call(method, f"/2023-03-30/{path}?qualifier=x", {"reservedConcurrency": 1}, whole_path=True)
    assert (answer.status, answer.json()["Code"]) == (400, "InvalidArgument"), answer.body
    assert "Qualifier is set to an invalid value" in answer.json()["Message"]


async def as_role(endpoint: Endpoint, server: HttpServer, *statements: dict[str, Any]) -> Client:
    keys = await credentials(endpoint, list(statements))
    return Client(server, keys.access_key_id, keys.access_key_secret, keys.security_token)


async def test_what_is_denied_through_one_api_is_denied_through_the_other(
    sdk_of_f: Client,
    client: OldClient,
    code: str,
    endpoint: Endpoint,
    server: HttpServer,
) -> None:
    await client("create_service", "s")
    await client("create_function", "s", "f", "python3", "index.handler", codeZipFile=code)
    role = await as_role(
        endpoint,
        server,
        statement("Allow", "fc:*"),
        statement("Deny", "fc:GetFunction", f"{ARN}:services/s/*"),
        statement("Deny", "fc:*", f"{ARN}:functions/f/*"),
    )
    assert (await role.failure("get_function", "s$f"))[:2] == (403, "AccessDenied")
    assert (await role("get_function", "f"))["functionName"] == "f"
    assert (await role.failure("list_aliases", "f"))[:2] == (403, "AccessDenied")


async def test_tags_are_changed_only_where_that_is_allowed(
    sdk_of_f: Client,
    endpoint: Endpoint,
    server: HttpServer,
) -> None:
    role = await as_role(endpoint, server, statement("Allow", "fc:TagResources", f"{ARN}:functions/other"))
    body = {"ResourceId": ["f"], "ResourceType": "function", "Tag": [{"Key": "a", "Value": "1"}]}
    assert (await role.failure("tag_resources", body=body))[:2] == (403, "AccessDenied")
    group = {"NewResourceGroupId": "rg", "ResourceId": "f", "ResourceType": "function"}
    assert (await role.failure("change_resource_group", body=group))[:2] == (403, "AccessDenied")
    assert (await role.failure("list_tag_resources", resource_type="function"))[:2] == (403, "AccessDenied")


async def test_lists_of_functions_leave_out_services_that_the_caller_may_not_list(
    sdk_of_f: Client, client: OldClient, code: str, endpoint: Endpoint, server: HttpServer
) -> None:
    for service in ("hidden", "shown"):
        await client("create_service", service)
        await client("create_function", service, "g", "python3", "index.handler", codeZipFile=code)
        await sdk_of_f("put_async_invoke_config", f"{service}$g", body={"maxAsyncRetryAttempts": 1})

    async def names(*statements: dict[str, Any]) -> list[str]:
        role = await as_role(endpoint, server, *statements)
        return [each["functionName"] for each in (await role("list_functions"))["functions"]]

    allowed = statement("Allow", "fc:*")
    assert await names(allowed) == ["f", "hidden$g", "shown$g"]
    assert await names(allowed, statement("Deny", "fc:*", f"{ARN}:services/hidden/*")) == ["f", "shown$g"]
    assert await names(statement("Allow", "fc:ListFunctions", f"{ARN}:functions/*")) == ["f"]
    role = await as_role(
        endpoint,
        server,
        allowed,
        statement("Deny", "fc:GetFunctionAsyncInvokeConfig", f"{ARN}:services/hidden/*"),
        statement("Deny", "fc:ListFunctionAsyncInvokeConfigs", f"{ARN}:services/hidden/*"),
    )
    found = (await role("list_async_invoke_configs"))["configs"]
    assert [each["functionArn"].rpartition("/")[2] for each in found] == ["shown$g"]


async def test_who_may_not_let_services_reach_the_internet_lets_no_function_reach_it(
    sdk_of_f: Client, endpoint: Endpoint, server: HttpServer
) -> None:
    condition = {"Bool": {"fc:EnableServiceInternetAccess": "true"}}
    role = await as_role(
        endpoint, server, statement("Allow", "fc:*"), statement("Deny", "fc:*") | {"Condition": condition}
    )
    for body in (made("g"), made("g", internetAccess=True)):
        assert (await role.failure("create_function", body=body))[:2] == (403, "AccessDenied")
    await role("create_function", body=made("g", internetAccess=False))
    assert (await role.failure("update_function", "g", body={"internetAccess": True}))[:2] == (403, "AccessDenied")
    assert (await role("update_function", "g", body={"description": "d"}))["description"] == "d"


async def test_a_function_is_made_with_tags_only_where_it_may_be_tagged(
    sdk_of_f: Client, endpoint: Endpoint, server: HttpServer
) -> None:
    body = made("g", tags=[{"Key": "team", "Value": "a"}])
    role = await as_role(endpoint, server, statement("Allow", "fc:CreateFunction"))
    assert (await role.failure("create_function", body=body))[:2] == (403, "AccessDenied")
    assert (await role("create_function", body=made("plain")))["functionName"] == "plain"
    tagging = statement("Allow", "fc:TagResources", f"{ARN}:functions/g")
    role = await as_role(endpoint, server, statement("Allow", "fc:CreateFunction"), tagging)
    assert (await role("create_function", body=body))["functionName"] == "g"
    role = await as_role(
        endpoint, server, statement("Allow", "*"), statement("Deny", "fc:TagResource", f"{ARN}:functions/h")
    )
    denied = made("h", tags=[{"Key": "team", "Value": "a"}])
    assert (await role.failure("create_function", body=denied))[:2] == (403, "AccessDenied")


async def test_who_may_not_put_provisioned_instances_may_not_delete_them_and_the_other_way_round(
    sdk_of_f: Client, endpoint: Endpoint, server: HttpServer
) -> None:
    """2016-08-15 has no DeleteProvisionConfig: there a target of 0 deletes."""
    await sdk_of_f("put_provision_config", "f", body={"target": 1})
    allowed = statement("Allow", "fc:*")
    role = await as_role(endpoint, server, allowed, statement("Deny", "fc:PutProvisionConfig"))
    assert (await role.failure("delete_provision_config", "f"))[:2] == (403, "AccessDenied")
    role = await as_role(endpoint, server, allowed, statement("Deny", "fc:DeleteProvisionConfig"))
    assert (await role.failure("delete_provision_config", "f"))[:2] == (403, "AccessDenied")
    assert (await role.failure("put_provision_config", "f", body={"target": 0}))[:2] == (403, "AccessDenied")
    assert (await role("put_provision_config", "f", body={"target": 2}))["target"] is not None
