"""Roles: seeding, who may do what through them, and the credentials that services get of them.

Run by pytest, over a real catalog, with an injected clock.
"""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sesame.identity.issuer import RENEWAL_MARGIN_S, Issuer
from sesame.identity.policy.compiled import CompiledPolicies
from sesame.identity.policy.evaluator import Decision, MalformedPolicy, Question, strongest
from sesame.identity.roles import Roles, new_role, parse_role_arn, role_arn, trust_of_service
from sesame.identity.tokens import Grant, Tokens, master_key
from sesame.model import records
from sesame.model.errors import ConfigurationError, Forbidden, Unusable
from sesame.model.invocation import Credentials
from sesame.model.role import MasterKey, Policy, Principal, PrincipalKind, Role, Seed
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

KINDS = {records.ROLE: Role, records.POLICY: Policy, records.SEED: Seed, records.MASTER_KEY: MasterKey}
DEFAULT_ARN = "acs:ram::42:role/aliyunfcdefaultrole"
OBJECT = "acs:oss:oss-cn-hangzhou:42:photos/a.jpg"


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_323_045.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    database = Database(tmp_path / "db")
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()
    yield catalog
    await database.close()


@pytest.fixture
async def roles(catalog: Catalog) -> Roles:
    roles = Roles(catalog)
    await roles.seed("42", {})
    return roles


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(roles: Roles, clock: Clock) -> Issuer:
    return Issuer(Tokens(bytes(32), clock), roles, clock)


def allowing(action: str, resource: str = "*", effect: str = "Allow") -> str:
    return json.dumps({"Version": "1", "Statement": [{"Effect": effect, "Action": action, "Resource": resource}]})


def session_of(roles: Roles, name: str, policy: str | None = None) -> Principal:
    role = roles.get("42", name)
    assert role is not None
    return Principal(PrincipalKind.ROLE, "42", role.role_name, role.role_id, "session", policy)


def may(roles: Roles, principal: Principal, action: str, resource: str = OBJECT) -> bool:
    policies = CompiledPolicies()
    question = Question(action=action, resource=resource, context={})
    decisions = [policies.policy(document).decide(question) for document in roles.documents_of(principal)]
    return strongest(decisions) is Decision.ALLOW


async def test_a_fresh_account_has_the_default_role_which_may_use_oss_and_logs(roles: Roles) -> None:
    principal = session_of(roles, "AliyunFCDefaultRole")
    assert may(roles, principal, "oss:PutObject")
    assert may(roles, principal, "log:PostLogStoreLogs", "acs:log:*:42:project/p")
    assert not may(roles, principal, "fc:InvokeFunction")


async def test_roles_of_the_settings_are_seeded_once(catalog: Catalog) -> None:
    roles = Roles(catalog)
    seeds: Mapping[str, Any] = {
        "reader": {"policies": ["AliyunOSSReadOnlyAccess"], "description": "reads"},
        "Inbox": {"policy": json.loads(allowing("oss:PutObject", "acs:oss:*:*:inbox/*"))},
        "text": {"policy": allowing("oss:*"), "trust": trust_of_service("ecs.aliyuncs.com")},
    }
    await roles.seed("42", seeds)
    reader, inbox = session_of(roles, "reader"), session_of(roles, "inbox")
    assert may(roles, reader, "oss:GetObject")
    assert not may(roles, reader, "oss:PutObject")
    assert may(roles, inbox, "oss:PutObject", "acs:oss:*:42:inbox/x")
    assert not may(roles, inbox, "oss:PutObject")
    await roles.delete("42", "reader")
    await roles.seed("42", {**seeds, "late": {}})
    assert roles.get("42", "reader") is None
    assert roles.get("42", "late") is None


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ({"a b": {}}, "name"),
        ({"a": []}, "expected a table"),
        ({"a": {"polices": []}}, "expected a table"),
        ({"a": {"policies": ["NoSuchAccess"]}}, "no system policy 'NoSuchAccess'"),
        ({"a": {"policies": "AliyunOSSFullAccess"}}, "policies is 'AliyunOSSFullAccess'; expected a list"),
        ({"a": {"policies": 5}}, "policies is 5; expected a list"),
        ({"a": {"policies": [["AliyunOSSFullAccess"]]}}, "expected a list"),
        ({"a": {"policy": {"Version": "1"}}}, "Statement"),
        ({"a": {"trust": {"Version": "2"}}}, "Version"),
    ],
)
async def test_seeds_that_cannot_hold_are_the_operators_fault(roles: Roles, seeds: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        await roles.seed("43", seeds)
    assert roles.get("43", "aliyunfcdefaultrole") is None


async def test_policies_that_cannot_be_read_are_not_kept(roles: Roles) -> None:
    with pytest.raises(MalformedPolicy):
        await roles.put_policy("42", Policy("broken", "{}"))
    with pytest.raises(MalformedPolicy):
        await roles.put("42", new_role("broken", [], trust="{}"))
    assert roles.get("42", "broken") is None


def test_arns_of_roles_are_lower_case() -> None:
    assert role_arn("42", "AliyunFCDefaultRole") == DEFAULT_ARN
    assert parse_role_arn("acs:ram::42:role/AliyunFCDefaultRole") == ("42", "aliyunfcdefaultrole")
    for text in (
        "",
        "uploader",
        "acs:ram::42:user/ann",
        "acs:ram:::role/x",
        "acs:ram::42:role/a/b",
        DEFAULT_ARN + "\n",
    ):
        assert parse_role_arn(text) is None


async def test_only_a_role_that_trusts_the_service_can_be_assumed(roles: Roles) -> None:
    roles.require_assumable(DEFAULT_ARN)
    await roles.put("42", new_role("servers", [], trust=trust_of_service("ecs.aliyuncs.com")))
    for arn in (role_arn("42", "servers"), role_arn("42", "absent"), "nonsense"):
        with pytest.raises(Unusable, match="cannot be assumed"):
            roles.require_assumable(arn)


async def test_a_service_without_a_role_gets_empty_strings(issuer: Issuer) -> None:
    assert issuer.credentials("", "photos", 3.0) == Credentials("", "", "")


async def test_credentials_are_the_roles_and_are_kept(issuer: Issuer, roles: Roles, clock: Clock) -> None:
    first = issuer.credentials(DEFAULT_ARN, "photos", 3.0)
    session = Tokens(bytes(32), clock).verify(first.access_key_id, first.security_token)
    assert session.principal == with_session(session_of(roles, "AliyunFCDefaultRole"), "photos")
    assert session.expires_at == clock.now + 6 * 3600
    assert issuer.credentials(DEFAULT_ARN, "photos", 3.0) is first
    assert issuer.credentials(DEFAULT_ARN, "other", 3.0) != first


def with_session(principal: Principal, session: str) -> Principal:
    return Principal(principal.kind, principal.account_id, principal.role, principal.role_id, session)


@pytest.mark.parametrize("timeout_s", [3.0, 600.0, 86_400.0])
async def test_what_a_call_is_given_always_outlives_it(issuer: Issuer, clock: Clock, timeout_s: float) -> None:
    issued = set()
    for _minute in range(24 * 60):
        credentials = issuer.credentials(DEFAULT_ARN, "photos", timeout_s)
        session = Tokens(bytes(32), clock).verify(credentials.access_key_id, credentials.security_token)
        assert session.expires_at >= clock.now + timeout_s + RENEWAL_MARGIN_S
        issued.add(credentials.access_key_id)
        clock.now += 60
    assert len(issued) <= 24 * 3600 / RENEWAL_MARGIN_S + 1


async def test_credentials_are_made_anew_when_the_role_is(issuer: Issuer, roles: Roles) -> None:
    first = issuer.credentials(DEFAULT_ARN, "photos", 3.0)
    await roles.delete("42", "aliyunfcdefaultrole")
    with pytest.raises(Forbidden, match="cannot be assumed"):
        issuer.credentials(DEFAULT_ARN, "photos", 3.0)
    await roles.put("42", new_role("AliyunFCDefaultRole", ["AliyunOSSFullAccess"]))
    second = issuer.credentials(DEFAULT_ARN, "photos", 3.0)
    assert second != first


async def test_the_master_key_is_made_once(catalog: Catalog) -> None:
    key = await master_key(catalog)
    assert len(key) == 32
    assert await master_key(catalog) == key
    assert Tokens(key, Clock()).issue(Grant("42", "r", "i", "s")).security_token
