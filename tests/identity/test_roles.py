"""Roles: seeding, who may do what through them, and the credentials that services get of them.

Run by pytest, over a real catalog, with an injected clock.
"""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.databases import new_database

from sesame.identity.issuer import RENEWAL_MARGIN_S, Issuer
from sesame.identity.policy.compiled import CompiledPolicies
from sesame.identity.policy.evaluator import Decision, MalformedPolicy, Question, strongest
from sesame.identity.role_definitions import RoleDefinition
from sesame.identity.roles import Roles, new_role, parse_role_arn, role_arn, trust_of_service
from sesame.identity.tokens import Grant, Tokens, master_key
from sesame.model import records
from sesame.model.errors import AlreadyExists, ConfigurationError, Forbidden, NotFound, Unusable
from sesame.model.invocation import Credentials
from sesame.model.role import Policy, Principal, PrincipalKind, Seed
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database

DEFAULT_ARN = "acs:ram::42:role/aliyunfcdefaultrole"
OBJECT = "acs:oss:oss-cn-hangzhou:42:photos/a.jpg"


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_323_045.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    catalog = Catalog(database)
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


async def test_a_fresh_account_has_the_default_role_which_may_use_oss_and_logs_and_call_functions(roles: Roles) -> None:
    principal = session_of(roles, "AliyunFCDefaultRole")
    assert may(roles, principal, "oss:PutObject")
    assert may(roles, principal, "log:PostLogStoreLogs", "acs:log:*:42:project/p")
    assert may(roles, principal, "fc:InvokeFunction")
    assert not may(roles, principal, "fc:CreateFunction")


SEEDS: Mapping[str, Any] = {
    "reader": {"policies": ["AliyunOSSReadOnlyAccess"], "description": "reads"},
    "Inbox": {"policy": json.loads(allowing("oss:PutObject", "acs:oss:*:*:inbox/*"))},
    "text": {"policy": allowing("oss:*"), "trust": trust_of_service("ecs.aliyuncs.com")},
}


async def test_roles_of_the_settings_are_made_at_the_first_start_and_at_later_ones(catalog: Catalog) -> None:
    roles = Roles(catalog)
    assert await roles.seed("42", {"reader": SEEDS["reader"]}) == []
    reader = session_of(roles, "reader")
    assert await roles.seed("42", SEEDS) == []
    assert session_of(roles, "reader") == reader
    inbox = session_of(roles, "inbox")
    assert may(roles, reader, "oss:GetObject")
    assert not may(roles, reader, "oss:PutObject")
    assert may(roles, inbox, "oss:PutObject", "acs:oss:*:42:inbox/x")
    assert not may(roles, inbox, "oss:PutObject")
    await roles.remove("42", "reader")
    assert await roles.seed("42", SEEDS) == []
    assert not may(roles, reader, "oss:GetObject")
    assert may(roles, session_of(roles, "reader"), "oss:GetObject")


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("reader", {"policies": ["AliyunOSSFullAccess"]}, "policies"),
        ("reader", {"description": "writes"}, "description"),
        ("reader", {"max_session_duration": 7200}, "max_session_duration"),
        ("reader", {"policy": allowing("oss:*")}, "policy"),
        ("Inbox", {"policy": allowing("oss:*")}, "policy"),
        ("inbox", {"policy": allowing("oss:*")}, "policy"),
        ("text", {"trust": trust_of_service("fc.aliyuncs.com")}, "trust"),
    ],
)
async def test_a_table_that_differs_from_the_role_is_named_and_the_role_stays(
    catalog: Catalog, name: str, change: dict[str, Any], named: str
) -> None:
    roles = Roles(catalog)
    await roles.seed("42", SEEDS)
    before = roles.all_of("42")
    [warning] = await roles.seed("42", {name: {**SEEDS.get(name, SEEDS["Inbox"]), **change}})
    assert warning.startswith(f"[roles.{name}] in sesame.toml is not applied")
    assert f"differs in {named};" in warning
    assert f"`sesame roles remove {name}` and start again" in warning
    assert roles.all_of("42") == before


async def test_a_table_written_in_another_way_is_the_same(catalog: Catalog) -> None:
    roles = Roles(catalog)
    await roles.seed("42", SEEDS)
    document = SEEDS["Inbox"]["policy"]
    assert await roles.seed("42", {"Inbox": {"policy": json.dumps(document, indent=4)}}) == []


CONSOLE = {
    "aliyunfcdefaultrole": ("fc.aliyuncs.com", "oss:PutObject", OBJECT),
    "aliyunfclogexecutionrole": ("fc.aliyuncs.com", "log:PostLogStoreLogs", "acs:log:*:42:project/p/logstore/l"),
    "aliyunserviceroleforfc": ("fc.aliyuncs.com", "log:CreateProject", "acs:log:*:42:project/aliyun-fc-x"),
    "aliyunosseventnotificationrole": ("oss.aliyuncs.com", "fc:InvokeFunction", "acs:fc:*:42:services/s/functions/f"),
    "aliyunlogetlrole": ("log.aliyuncs.com", "fc:InvokeFunction", "acs:fc:*:42:services/s/functions/f"),
    "aliyuncdneventnotificationrole": ("cdn.aliyuncs.com", "fc:InvokeFunction", "acs:fc:*:42:services/s/functions/f"),
    "aliyunmnsnotificationrole": ("mns.aliyuncs.com", "fc:InvokeFunction", "acs:fc:*:42:services/s/functions/f"),
    "aliyuntablestorestreamnotificationrole": ("ots.aliyuncs.com", "ots:GetRow", "acs:ots:*:42:instance/i"),
}


@pytest.mark.parametrize("name", list(CONSOLE))
async def test_every_account_has_the_roles_of_the_consoles(roles: Roles, name: str) -> None:
    service, action, resource = CONSOLE[name]
    assert roles.assumable(role_arn("42", name), service) is not None
    assert may(roles, session_of(roles, name), action, resource)
    assert not may(roles, session_of(roles, name), "fc:DeleteService", "acs:fc:*:42:services/s")


async def test_an_account_of_before_gets_what_it_lacks_and_keeps_what_it_has(catalog: Catalog) -> None:
    roles = Roles(catalog)
    own = new_role("AliyunOSSEventNotificationRole", ["AliyunFCFullAccess"])
    await roles.put("42", own)
    await catalog.edit(lambda tx: tx.put(records.SEED, "", "42", Seed(("AliyunFCDefaultRole", "reader"))))
    assert await roles.seed("42", {}) == []
    assert roles.get("42", "AliyunFCLogExecutionRole") is not None
    assert roles.get("42", "AliyunOSSEventNotificationRole") == own
    assert roles.get("42", "AliyunFCDefaultRole") is None


async def test_a_console_s_role_that_was_removed_stays_away(roles: Roles) -> None:
    await roles.remove("42", "aliyunlogetlrole")
    await roles.seed("42", {})
    assert roles.get("42", "aliyunlogetlrole") is None


async def test_a_role_is_added_described_and_removed_with_its_own_policy(catalog: Catalog, roles: Roles) -> None:
    own = allowing("oss:GetObject")
    added = await roles.add("42", RoleDefinition("Mine", ("AliyunLogFullAccess",), own, description="d"))
    assert added == roles.describe("42", "mine")
    assert (added.arn, added.description, added.services) == ("acs:ram::42:role/mine", "d", ())
    assert [(p.policy_name, p.policy_type) for p in added.policies] == [
        ("AliyunLogFullAccess", "System"),
        ("Mine", "Custom"),
    ]
    assert added.policies[1].document == own
    with pytest.raises(AlreadyExists):
        await roles.add("42", RoleDefinition("MINE"))
    session = session_of(roles, "mine")
    assert await roles.remove("42", "MINE") == added
    assert not may(roles, session, "oss:GetObject")
    assert catalog.get(records.POLICY, "42", "Mine") is None
    with pytest.raises(NotFound):
        await roles.remove("42", "mine")
    with pytest.raises(Unusable):
        await roles.add("42", RoleDefinition("a b"))
    with pytest.raises(Unusable, match="has the name of a system policy"):
        await roles.add("42", RoleDefinition("AliyunFCReadOnlyAccess", policy=allowing("*")))
    with pytest.raises(NotFound):
        roles.describe("42", "mine")


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        ({"a b": {}}, "name"),
        ({"a": {"description": "x" * 1025}}, "description"),
        ({"a": []}, "expected a table"),
        ({"a": {"polices": []}}, "expected a table"),
        ({"a": {"policies": ["NoSuchAccess"]}}, "no system policy 'NoSuchAccess'"),
        ({"a": {"policies": "AliyunOSSFullAccess"}}, "policies is 'AliyunOSSFullAccess'; expected a list"),
        ({"a": {"policies": 5}}, "policies is 5; expected a list"),
        ({"a": {"policies": [["AliyunOSSFullAccess"]]}}, "expected a list"),
        ({"a": {"policy": {"Version": "1"}}}, "Statement"),
        ({"a": {"trust": {"Version": "2"}}}, "Version"),
        ({"a": {"max_session_duration": 3599}}, "maximum session duration is 3599 seconds: expected 3600 to 43200"),
        ({"a": {"max_session_duration": 43201}}, "maximum session duration"),
        ({"a": {"max_session_duration": "1h"}}, "max_session_duration is '1h'; expected a number of seconds"),
        ({"a": {"max_session_duration": True}}, "max_session_duration is True; expected a number of seconds"),
        ({"a": {"description": 5}}, r"\[roles\.a\] .*: description is 5; expected text"),
        ({"a": {"description": ["x"]}}, "description is .*; expected text"),
        ({"a": {"policy": 5}}, "policy is 5; expected a table, or its JSON text"),
        ({"a": {"trust": []}}, r"trust is \[\]; expected a table, or its JSON text"),
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


def test_a_role_of_an_account_that_is_not_here_is_told_with_what_to_do(roles: Roles) -> None:
    with pytest.raises(Unusable, match=r"the account 77 is not here: .*`sesame start --account-id 77`"):
        roles.require_assumable(role_arn("77", "aliyunfcdefaultrole"))
    for arn in (role_arn("42", "absent"), "nonsense"):
        with pytest.raises(Unusable, match="; `sesame roles list` shows those that exist"):
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


async def test_credentials_of_a_chain_say_where_they_come_from(issuer: Issuer, clock: Clock) -> None:
    plain = issuer.credentials(DEFAULT_ARN, "photos", 3.0)
    chained = issuer.credentials(DEFAULT_ARN, "photos", 3.0, ("s/f", "s/g"))
    assert issuer.credentials(DEFAULT_ARN, "photos", 3.0, ("s/f", "s/g")) is chained
    assert issuer.credentials(DEFAULT_ARN, "photos", 3.0) is plain
    tokens = Tokens(bytes(32), clock)
    for credentials, chain in ((plain, ()), (chained, ("s/f", "s/g"))):
        assert tokens.verify(credentials.access_key_id, credentials.security_token).principal.chain == chain


async def test_a_trust_policy_that_cannot_be_read_trusts_nobody(catalog: Catalog, roles: Roles) -> None:
    role = new_role("broken", (), trust="{")
    await catalog.edit(lambda tx: tx.put(records.ROLE, "42", "broken", role))
    assert roles.assumable(role_arn("42", "broken"), "fc.aliyuncs.com") is None
