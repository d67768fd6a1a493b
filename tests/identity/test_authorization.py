"""Who may do what: over a real catalog, with the real evaluator and every fact of a request."""

import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.databases import new_database

from sesame.identity.authentication import ANONYMOUS_CALLER, Caller
from sesame.identity.authorization import Authorization, Denied, Requester, Source
from sesame.identity.facts import RequestFacts
from sesame.identity.policy.compiled import BYTES_MAX, BYTES_PER_CHAR, CompiledPolicies
from sesame.identity.policy.evaluator import Decision
from sesame.identity.roles import Roles, new_role, role_arn
from sesame.identity.service_rights import ServiceRights
from sesame.model import records
from sesame.model.kinds import KINDS
from sesame.model.role import FUNCTION_COMPUTE_ACCOUNT, CodeUpload, Policy, Principal, PrincipalKind
from sesame.store.catalog import Catalog, Transaction
from sesame.store.sql.database import Database

OBJECT = "acs:oss:oss-cn-hangzhou:42:photos/a.jpg"
ACCOUNT = Caller(Principal(PrincipalKind.ACCOUNT, "42"), "LTAIkey", "secret")
FACTS = RequestFacts(
    source_ip="10.1.2.3",
    at=1_767_323_045.0,
    secure_transport=False,
    user_agent="aliyun-sdk-python/2.19.1",
    access_key_id="STS.key",
    service_keys={},
)


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    catalog = Catalog(database, KINDS)
    await catalog.open()
    await Roles(catalog).seed("42", {})
    yield catalog
    await database.close()


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)})


def statement(effect: str, action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def allowing(action: str, resource: str = "*") -> str:
    return policy(statement("Allow", action, resource))


async def role_with(catalog: Catalog, *policies: str, session_policy: str | None = None) -> Caller:
    """A session of a new role, whose own policies are these documents."""
    roles = Roles(catalog)
    for number, document in enumerate(policies):
        await catalog.edit(partial(_put, policy=Policy(f"own-{number}", document)))
    role = new_role("tester", [f"own-{number}" for number in range(len(policies))])
    await roles.put("42", role)
    principal = Principal(PrincipalKind.ROLE, "42", role.role_name, role.role_id, "session", session_policy)
    return Caller(principal, "STS.key", "secret")


def _put(tx: Transaction, policy: Policy) -> None:
    tx.put(records.POLICY, "42", policy.policy_name, policy)


def refused(
    catalog: Catalog, caller: Caller, action: str, resource: str = OBJECT, **changes: Any
) -> tuple[Decision, Source] | None:
    """What denied it, or None where it is allowed."""
    facts = msgspec.structs.replace(FACTS, **changes)
    try:
        Authorization(catalog, Roles(catalog)).require(caller, action, resource, facts)
    except Denied as denied:
        return denied.decision, denied.source
    return None


def test_no_fact_has_a_default() -> None:
    assert all(field.required for field in msgspec.structs.fields(RequestFacts))


async def test_the_account_s_own_key_may_do_everything_to_its_own_and_nothing_to_others(catalog: Catalog) -> None:
    assert refused(catalog, ACCOUNT, "oss:DeleteBucket") is None
    assert refused(catalog, ACCOUNT, "oss:GetObject", "acs:oss:*:43:photos/a") == (
        Decision.IMPLICIT_DENY,
        Source.ACCOUNT,
    )
    assert refused(catalog, ACCOUNT, "oss:GetObject", "nonsense") == (Decision.IMPLICIT_DENY, Source.ACCOUNT)


async def test_a_role_does_not_reach_into_another_account(catalog: Catalog) -> None:
    caller = await role_with(catalog, allowing("*"))
    assert refused(catalog, caller, "oss:GetObject", "acs:oss:*:43:photos/a") == (
        Decision.IMPLICIT_DENY,
        Source.ACCOUNT,
    )


@pytest.mark.parametrize("resource", [OBJECT, "acs:oss:*::photos/a"])
async def test_an_unknown_caller_may_do_nothing(catalog: Catalog, resource: str) -> None:
    assert refused(catalog, ANONYMOUS_CALLER, "oss:GetObject", resource) == (Decision.IMPLICIT_DENY, Source.ACCOUNT)


async def test_a_session_policy_only_narrows(catalog: Catalog) -> None:
    narrowed = await role_with(catalog, allowing("oss:*"), session_policy=allowing("oss:Get*"))
    assert refused(catalog, narrowed, "oss:GetObject") is None
    assert refused(catalog, narrowed, "oss:PutObject") == (Decision.IMPLICIT_DENY, Source.SESSION_POLICY)
    widened = await role_with(catalog, allowing("oss:*"), session_policy=allowing("*"))
    assert refused(catalog, widened, "fc:InvokeFunction") == (Decision.IMPLICIT_DENY, Source.IDENTITY_POLICY)
    denied = await role_with(catalog, allowing("oss:*"), session_policy=policy(statement("Deny", "oss:*")))
    assert refused(catalog, denied, "oss:GetObject") == (Decision.EXPLICIT_DENY, Source.SESSION_POLICY)


async def test_a_deny_in_one_policy_overrides_an_allow_in_another(catalog: Catalog) -> None:
    caller = await role_with(catalog, allowing("oss:*"), policy(statement("Deny", "oss:Delete*")))
    assert refused(catalog, caller, "oss:PutObject") is None
    assert refused(catalog, caller, "oss:DeleteObject") == (Decision.EXPLICIT_DENY, Source.IDENTITY_POLICY)


async def test_sessions_of_a_deleted_role_may_do_nothing_even_if_it_is_made_anew(catalog: Catalog) -> None:
    former = await role_with(catalog, allowing("oss:*"))
    assert refused(catalog, former, "oss:GetObject") is None
    await Roles(catalog).delete("42", "tester")
    assert refused(catalog, former, "oss:GetObject") is not None
    await role_with(catalog, allowing("oss:*"))
    assert refused(catalog, former, "oss:GetObject") is not None


@pytest.mark.parametrize(
    ("condition", "changes", "applies"),
    [
        ({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {}, True),
        ({"IpAddress": {"ACS:sourceip": "10.0.0.0/8"}}, {}, True),
        ({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {"source_ip": "::ffff:10.1.2.3"}, True),
        ({"IpAddress": {"acs:SourceIp": "::ffff:10.0.0.0/104"}}, {}, True),
        ({"IpAddress": {"acs:SourceIp": ["192.0.2.1", "2001:db8::/32"]}}, {"source_ip": "2001:db8::7"}, True),
        ({"IpAddress": {"acs:SourceIp": "fe80::/10"}}, {"source_ip": "fe80::1%eth0"}, True),
        ({"IpAddress": {"acs:SourceIp": "2001:db8::/32"}}, {}, False),
        ({"IpAddress": {"acs:SourceIp": "0.0.0.0/0"}}, {"source_ip": ""}, False),
        ({"NotIpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {}, False),
        ({"NotIpAddress": {"acs:SourceIp": "10.0.0.0/8"}}, {"source_ip": ""}, True),
        ({"Bool": {"acs:SecureTransport": "false"}}, {}, True),
        ({"Bool": {"acs:SecureTransport": "true"}}, {"secure_transport": True}, True),
        ({"Bool": {"acs:MFAPresent": "false"}}, {}, True),
        ({"StringLike": {"acs:UserAgent": "aliyun-sdk-*"}}, {}, True),
        ({"StringLike": {"acs:UserAgent": "*"}}, {"user_agent": ""}, False),
        ({"StringEquals": {"acs:AccessId": "STS.key"}}, {}, True),
        ({"DateGreaterThan": {"acs:CurrentTime": "2026-01-02T03:00:00Z"}}, {}, True),
        ({"DateGreaterThan": {"acs:CurrentTime": "2026-01-02T13:00:00+08:00"}}, {}, False),
        ({"StringEquals": {"oss:Prefix": "user/"}}, {"service_keys": {"oss:Prefix": "user/"}}, True),
        ({"StringEquals": {"acs:ResourceTag/Team": "dev"}}, {"service_keys": {"acs:ResourceTag/Team": "dev"}}, True),
        ({"StringEquals": {"acs:ResourceTag/team": "dev"}}, {"service_keys": {"acs:ResourceTag/Team": "dev"}}, False),
        ({"StringEquals": {"acs:SourceVpc": "vpc-1"}}, {}, False),
    ],
)
async def test_every_fact_of_a_request_reaches_conditions(
    catalog: Catalog, condition: Any, changes: Mapping[str, Any], applies: bool
) -> None:
    caller = await role_with(catalog, policy(statement("Allow", "oss:*"), statement("Deny", "*", Condition=condition)))
    expected = (Decision.EXPLICIT_DENY, Source.IDENTITY_POLICY) if applies else None
    assert refused(catalog, caller, "oss:GetObject", **changes) == expected


async def test_a_kept_policy_that_asks_for_an_unknown_key_errs_on_the_side_of_denial(catalog: Catalog) -> None:
    unknown = {"StringEquals": {"acs:PrincipalMood": "good"}}
    allowed = await role_with(catalog, policy(statement("Allow", "oss:*", Condition=unknown)))
    assert refused(catalog, allowed, "oss:GetObject") == (Decision.IMPLICIT_DENY, Source.IDENTITY_POLICY)
    denied = await role_with(catalog, policy(statement("Allow", "*"), statement("Deny", "oss:*", Condition=unknown)))
    assert refused(catalog, denied, "oss:GetObject") == (Decision.EXPLICIT_DENY, Source.IDENTITY_POLICY)


async def test_a_kept_policy_that_cannot_be_read_denies_everything(catalog: Catalog) -> None:
    caller = await role_with(catalog, allowing("*"), '{"Version":"2"}')
    assert refused(catalog, caller, "oss:GetObject") == (Decision.EXPLICIT_DENY, Source.IDENTITY_POLICY)


async def test_policies_say_which_keys_they_ask_for(catalog: Catalog) -> None:
    authorization = Authorization(catalog, Roles(catalog))
    asking = policy(statement("Deny", "*", Condition={"StringLike": {"oss:ExistingObjectTag/Secret": "*"}}))
    assert authorization.asks_for(await role_with(catalog, asking), "oss:existingobjecttag/")
    assert not authorization.asks_for(await role_with(catalog, allowing("*")), "oss:existingobjecttag/")
    narrowed = await role_with(catalog, allowing("*"), session_policy=asking)
    assert authorization.asks_for(narrowed, "oss:existingobjecttag/")
    assert not authorization.asks_for(ACCOUNT, "oss:")


def requester(catalog: Catalog, caller: Caller, **changes: Any) -> Requester:
    return Requester(Authorization(catalog, Roles(catalog)), caller, msgspec.structs.replace(FACTS, **changes))


ROLE = "acs:ram::42:role/aliyunfcdefaultrole"


@pytest.mark.parametrize(
    ("own", "role", "passes"),
    [
        (allowing("fc:*"), ROLE, False),
        (allowing("ram:PassRole"), ROLE, True),
        (allowing("ram:PassRole", ROLE), ROLE, True),
        (allowing("ram:PassRole", "acs:ram:*:*:role/AliyunFCDefaultRole"), ROLE, True),
        (allowing("ram:PassRole", ROLE), "acs:ram::42:role/AliyunFCDefaultRole", True),
        (allowing("ram:PassRole", ROLE), "AliyunFCDefaultRole", True),
        (allowing("ram:PassRole", ROLE), "acs:ram::42:role/other", False),
        (allowing("*"), "acs:ram::43:role/aliyunfcdefaultrole", False),
        (allowing("*"), "acs:ram::43:role/a/b", False),
        (
            policy(statement("Allow", "ram:PassRole", Condition={"StringEquals": {"acs:Service": "fc.aliyuncs.com"}})),
            ROLE,
            True,
        ),
        (
            policy(statement("Allow", "ram:PassRole", Condition={"StringEquals": {"acs:Service": "ecs.aliyuncs.com"}})),
            ROLE,
            False,
        ),
        (
            policy(
                statement("Allow", "ram:PassRole"),
                statement("Deny", "ram:*", Condition={"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}),
            ),
            ROLE,
            False,
        ),
    ],
)
async def test_a_role_is_passed_by_who_may_pass_it(catalog: Catalog, own: str, role: str, passes: bool) -> None:
    by = requester(catalog, await role_with(catalog, own))
    if passes:
        by.pass_role(role)
        return
    with pytest.raises(Denied, match="the caller is not authorized to perform 'ram:PassRole'"):
        by.pass_role(role)


async def test_the_account_s_own_key_passes_every_role(catalog: Catalog) -> None:
    for role in (ROLE, "acs:ram::43:role/x", "nonsense"):
        requester(catalog, ACCOUNT).pass_role(role)


async def test_an_upload_may_do_what_it_was_lent_for_until_it_is_taken_or_expires(catalog: Catalog) -> None:
    place = f"acs:oss:oss-cn-hangzhou:{FUNCTION_COMPUTE_ACCOUNT}:code/upload-1"
    lent = Principal(
        PrincipalKind.CODE_UPLOAD,
        FUNCTION_COMPUTE_ACCOUNT,
        session="upload-1",
        session_policy=allowing("oss:PutObject", place),
    )
    caller = Caller(lent, "STS.key", "secret")
    assert refused(catalog, caller, "oss:PutObject", place) == (Decision.EXPLICIT_DENY, Source.SESSION_POLICY)
    upload = CodeUpload(bucket_name="code", lent_to="x", expires_at=FACTS.at + 1)
    await catalog.edit(lambda tx: tx.put(records.CODE_UPLOAD, "", "upload-1", upload))
    assert refused(catalog, caller, "oss:PutObject", place) is None
    assert refused(catalog, caller, "oss:DeleteObject", place) == (Decision.IMPLICIT_DENY, Source.SESSION_POLICY)
    assert refused(catalog, caller, "oss:PutObject", OBJECT) == (Decision.IMPLICIT_DENY, Source.ACCOUNT)
    assert refused(catalog, caller, "oss:PutObject", place, at=FACTS.at + 1) is not None
    for other in (ACCOUNT, await role_with(catalog, allowing("*"))):
        assert refused(catalog, other, "oss:GetObject", place) == (Decision.IMPLICIT_DENY, Source.ACCOUNT)


def test_compiled_policies_are_bounded_by_bytes() -> None:
    policies = CompiledPolicies()
    first = policies.policy(allowing("oss:*"))
    assert policies.policy(allowing("oss:*")) is first
    filler = "x" * 5000
    for number in range(BYTES_MAX // (5000 * BYTES_PER_CHAR) + 1):
        policies.policy(allowing("oss:*", f"acs:oss:*:*:{number}{filler}"))
    assert policies.policy(allowing("oss:*")) is not first


async def test_function_compute_may_in_a_services_role_what_the_role_allows(catalog: Catalog) -> None:
    function = "acs:fc:cn-shanghai:42:services/s/functions/f"
    caller = await role_with(catalog, allowing("fc:InvokeFunction", function))
    arn = role_arn(caller.account_id, caller.principal.role)
    roles = Roles(catalog)
    rights = ServiceRights(roles, Authorization(catalog, roles), lambda: 1_700_000_000.0)
    assert rights.objection("s", arn, "fc:InvokeFunction", function) == ""
    assert "does not allow" in rights.objection("s", arn, "fc:InvokeFunction", function + "2")
    assert "does not exist" in rights.objection("s", arn + "x", "fc:InvokeFunction", function)
    assert rights.objection("s", "", "fc:InvokeFunction", function) == ""
