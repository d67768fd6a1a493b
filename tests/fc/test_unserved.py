"""Versions of the API that are not served are refused in the form that their clients read."""

from typing import Any

import pytest
from tests.fc.conftest import Endpoint, asgi, request_of, scope
from tests.support.exchanges import FakeWebSocket

ACS = "ACS3-HMAC-SHA256 Credential=LTAItest,SignedHeaders=host;x-acs-date,Signature=00"
OF_2021 = {"Code", "Message", "RequestId", "errorCode", "errorMessage"}
OF_ALL = OF_2021 | {"ErrorCode", "ErrorMessage"}


async def answer(endpoint: Endpoint, method: str, path: str, headers: dict[str, str]) -> Any:
    return await asgi(endpoint.gateway, scope(method, path, headers), [b'{"functionName": "f"}'])


@pytest.mark.parametrize(
    ("path", "version", "names"),
    [
        ("/2099-01-01/anything", "2099-01-01", OF_ALL),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"authorization": ACS}, {"authorization": "FC id:signature"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_versions_named_by_the_path(
    endpoint: Endpoint, method: str, path: str, version: str, names: set[str], headers: dict[str, str]
) -> None:
    refused = await answer(endpoint, method, path, headers)
    document = refused.json()
    assert (refused.status, set(document)) == (400, names)
    assert document["Code"] == "PathNotSupported"
    assert document["RequestId"] == refused.headers["X-Fc-Request-Id"] == refused.headers["x-acs-request-id"]
    assert f"API version {version}" in document["Message"]
    assert "this server serves 2016-08-15, 2021-04-06, 2023-03-30" in document["Message"]
    assert all(document[name] == document["Message"] for name in names if name.lower() == "errormessage")
    assert all(document[name] == document["Code"] for name in names if name.lower() == "errorcode")


@pytest.mark.parametrize(
    ("headers", "version", "names"),
    [
        ({"x-acs-version": "2015-04-01", "x-acs-action": "GetCallerIdentity"}, "API version 2015-04-01", OF_ALL),
        ({"x-acs-version": "nonsense"}, "another API version", OF_ALL),
        ({}, "another API version", OF_ALL),
    ],
)
async def test_versions_named_by_headers(
    endpoint: Endpoint, headers: dict[str, str], version: str, names: set[str]
) -> None:
    refused = await answer(endpoint, "POST", "/", {"authorization": ACS, **headers})
    assert (refused.status, set(refused.json())) == (400, names)
    assert version in refused.json()["Message"]
    assert headers.get("x-acs-action", "") in refused.json()["Message"]


async def test_a_later_client_on_a_path_of_2016_can_read_why_it_is_refused(endpoint: Endpoint) -> None:
    refused = await answer(endpoint, "GET", "/2016-08-15/services", {"authorization": ACS, "date": "now"})
    assert (refused.status, set(refused.json())) == (400, OF_ALL)
    assert "ACS3-HMAC-SHA256 Credential={accessKeyId}" in refused.json()["Message"]


@pytest.mark.parametrize("path", ["/", "/x", "/2016-08-15/x", "/2016-8-15/x", "/20210406/services"])
async def test_what_names_no_version_is_refused_as_before(endpoint: Endpoint, path: str) -> None:
    refused = await answer(endpoint, "GET", path, {})
    assert (refused.status, set(refused.json())) == (400, {"ErrorCode", "ErrorMessage"})


async def test_paths_that_look_like_versions_belong_to_a_custom_domain(endpoint: Endpoint) -> None:
    await endpoint.call("POST", "/custom-domains", {"domainName": "d.example.com", "protocol": "HTTP"})
    refused = await answer(endpoint, "GET", "/2099-01-01/functions", {"host": "d.example.com"})
    assert refused.json()["ErrorCode"] == "RouteNotFound"


@pytest.mark.parametrize(("version", "names"), [("2099-01-01", OF_ALL)])
async def test_commands_in_instances_of_later_versions(endpoint: Endpoint, version: str, names: set[str]) -> None:
    client = FakeWebSocket(request_of(scope("GET", f"/{version}/functions/f/instances/i/exec", {"authorization": ACS})))
    client.serve(endpoint.gateway)
    refused = await client.next()
    assert refused.status == 400
    assert b"this server serves 2016-08-15, 2021-04-06, 2023-03-30" in refused.body
    assert all(name.encode() in refused.body for name in names)
