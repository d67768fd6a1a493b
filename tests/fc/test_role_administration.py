"""Roles at a running server: made, read and removed by who has the right to."""

from typing import Any
from urllib.parse import unquote

import pytest
from tests.fc.conftest import ACCOUNT_ID, DATE, Answer, Endpoint, asgi, scope
from tests.fc.test_permissions import acting, credentials, statement
from tests.support.sdk import KEY_ID, SECRET

from sesame.cli import roles as command
from sesame.fc.auth import signature
from sesame.fc.role_administration import PATH

ROLE = {"roleName": "Reader", "policies": ["AliyunOSSReadOnlyAccess"], "description": "reads"}


async def ask(
    endpoint: Endpoint, method: str, path: str, body: bytes = b"", given: Any = None, **headers: str
) -> Answer:
    key_id, secret = (given.access_key_id, given.access_key_secret) if given else (KEY_ID, SECRET)
    sent = {"host": "127.0.0.1", "date": DATE, **headers}
    if given:
        sent["x-fc-security-token"] = given.security_token
    signed = signature.Signed(
        method.encode(),
        b"",
        b"",
        DATE.encode(),
        signature.canonical_headers((n.encode(), v.encode()) for n, v in sent.items()),
    )
    made = signature.sign(secret.encode(), signature.string_to_sign(signed, unquote(path).encode()))
    sent["authorization"] = f"FC {key_id}:{made.decode()}"
    return await asgi(endpoint.gateway, scope(method, path, sent), [body])


def test_the_command_asks_where_the_server_answers() -> None:
    assert command.PATH == PATH


async def test_a_role_is_made_read_and_removed(endpoint: Endpoint) -> None:
    made = await ask(endpoint, "POST", PATH, b'{"roleName": "Reader", "policies": ["AliyunOSSReadOnlyAccess"]}')
    assert made.status == 200
    assert made.json()["arn"] == f"acs:ram::{ACCOUNT_ID}:role/reader"
    assert (await ask(endpoint, "GET", f"{PATH}/reader")).json() == made.json()
    names = [role["roleName"] for role in (await ask(endpoint, "GET", PATH)).json()["roles"]]
    assert {"Reader", "AliyunFCDefaultRole"} <= set(names)
    again = await ask(endpoint, "POST", PATH, b'{"roleName": "READER"}')
    assert (again.status, again.json()["ErrorCode"]) == (409, "EntityAlreadyExists.Role")
    assert (await ask(endpoint, "DELETE", f"{PATH}/Reader")).json() == made.json()
    for method in ("GET", "DELETE"):
        gone = await ask(endpoint, method, f"{PATH}/Reader")
        assert (gone.status, gone.json()["ErrorCode"]) == (404, "EntityNotExist.Role")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"roleName": "a b"}',
        b'{"roleName": ".."}',
        b'{"roleName": "a", "trust": "{}"}',
        b'{"roleName": "a", "polices": null}',
        b'{"roleName": "a", "policies": ["no"]}',
        b'{"roleName": "a", "policy": "x"}',
    ],
)
async def test_what_is_no_role_is_refused(endpoint: Endpoint, body: bytes) -> None:
    assert (await ask(endpoint, "POST", PATH, body)).status == 400


async def test_a_request_without_a_signature_is_refused(endpoint: Endpoint) -> None:
    for method in ("GET", "POST"):
        answer = await asgi(endpoint.gateway, scope(method, PATH, {"date": DATE}), [b"{}"])
        assert (answer.status, answer.json()["ErrorCode"]) == (400, "MissingRequiredHeader")
        forged = {"date": DATE, "authorization": f"FC {KEY_ID}:AAAA"}
        assert (await asgi(endpoint.gateway, scope(method, PATH, forged), [b"{}"])).status == 403


REQUESTS = [
    ("GET", PATH, b"", ["ram:ListRoles"]),
    ("GET", f"{PATH}/aliyunfcdefaultrole", b"", ["ram:GetRole"]),
    ("DELETE", f"{PATH}/aliyunlogetlrole", b"", ["ram:DeleteRole"]),
    ("POST", PATH, b'{"roleName": "new"}', ["ram:CreateRole", "ram:AttachPolicyToRole"]),
    (
        "POST",
        PATH,
        b'{"roleName": "new", "policy": "{\\"Version\\":\\"1\\",\\"Statement\\":'
        b'[{\\"Effect\\":\\"Allow\\",\\"Action\\":\\"*\\",\\"Resource\\":\\"*\\"}]}"}',
        ["ram:CreateRole", "ram:AttachPolicyToRole", "ram:CreatePolicy"],
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "actions"), REQUESTS, ids=range(len(REQUESTS)))
async def test_a_role_needs_the_rights_of_ram(
    endpoint: Endpoint, method: str, path: str, body: bytes, actions: list[str]
) -> None:
    full = await credentials(endpoint, [statement("Allow", "fc:*"), statement("Allow", "oss:*")])
    refused = await ask(endpoint, method, path, body, full)
    assert (refused.status, refused.json()["ErrorCode"]) == (403, "AccessDenied")
    for left_out in actions:
        some = await credentials(
            endpoint,
            [statement("Allow", action) for action in actions if action != left_out] or [statement("Allow", "fc:*")],
        )
        assert (await ask(endpoint, method, path, body, some)).status == 403
    may = await credentials(endpoint, [statement("Allow", action) for action in actions])
    assert (await ask(endpoint, method, path, body, may)).status == 200


async def test_the_rights_are_not_those_of_function_compute(endpoint: Endpoint) -> None:
    given = await credentials(endpoint, [statement("Allow", "ram:*")])
    assert (await acting(endpoint, given, "GET", "/services")).status == 403


async def test_keys_of_a_role_are_lent_to_who_may_assume_it(endpoint: Endpoint) -> None:
    await ask(endpoint, "POST", PATH, b'{"roleName": "Lent", "policies": ["AliyunOSSReadOnlyAccess"]}')
    lent = await ask(endpoint, "POST", f"{PATH}/Lent/credentials")
    assert lent.status == 200
    assert lent.json()["accessKeyId"].startswith("STS.")
    assert lent.json()["securityToken"]
    gone = await ask(endpoint, "POST", f"{PATH}/none/credentials")
    assert (gone.status, gone.json()["ErrorCode"]) == (404, "EntityNotExist.Role")
    given = await credentials(endpoint, [statement("Allow", "fc:*"), statement("Allow", "ram:*")])
    refused = await ask(endpoint, "POST", f"{PATH}/Lent/credentials", given=given)
    assert (refused.status, refused.json()["ErrorCode"]) == (403, "AccessDenied")
