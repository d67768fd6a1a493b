"""STS as the official clients use it: both wire forms, who may assume what, and what the new credentials may do."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from Tea.exceptions import TeaException
from tests.support.databases import new_database

from sesame.http.server import HttpServer
from sesame.identity import acs_signature
from sesame.identity.assuming import Assuming
from sesame.identity.authentication import Authentication
from sesame.identity.authorization import Authorization, Denied
from sesame.identity.facts import RequestFacts, facts_of_sesame
from sesame.identity.issuer import Issuer
from sesame.identity.keys import AccessKeys
from sesame.identity.role_definitions import RoleDefinition
from sesame.identity.roles import Roles, new_role, role_arn, trust_of_service
from sesame.identity.tokens import Tokens, master_key
from sesame.model.invocation import Credentials
from sesame.model.role import Policy, Principal, PrincipalKind
from sesame.store.catalog import Catalog
from sesame.store.sql.database import Database
from sesame.sts.app import StsDependencies, StsEndpoint
from sesame.sts.auth import rpc_string_to_sign

ACCOUNT, KEY_ID, SECRET = "4200000000000001", "LTAIexampleroot", "rootsecret"
ROOT = Credentials(KEY_ID, SECRET, "")
SESSION = "nightly-report"
READER = role_arn(ACCOUNT, "reader")
MAY_ASSUME = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
MAY_READ = {"Effect": "Allow", "Action": "oss:GetObject", "Resource": "*"}
RPC_EXAMPLE = {
    "UserName": "test", "SignatureVersion": "1.0", "Format": "JSON", "Timestamp": "2015-08-18T03:15:45Z",
    "AccessKeyId": "testid", "SignatureMethod": "HMAC-SHA1", "Version": "2015-05-01", "Action": "CreateUser",
    "SignatureNonce": "6a6e0ca6-4557-11e5-86a2-b8e8563dc8d2", "Signature": "left out",
}  # fmt: skip


def trust(*names: str, **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"RAM": list(names)}, **more}
    return json.dumps({"Version": "1", "Statement": [statement]})


class Cloud:
    """An STS endpoint, and the roles behind it."""

    def __init__(self, catalog: Catalog, keys: AccessKeys, tokens: Tokens) -> None:
        self.ahead_s = 0.0
        self.roles = Roles(catalog)
        self.tokens = tokens
        self.authorization = Authorization(catalog, self.roles)
        self.authentication = Authentication(keys, tokens)
        assuming = Assuming(self.authorization, self.roles, tokens, time.time)
        parts = StsDependencies(
            authentication=self.authentication, assuming=assuming, clock=self.clock, callers_clock=self.clock
        )
        self.server = HttpServer(StsEndpoint(parts))

    def clock(self) -> float:
        return time.time() + self.ahead_s

    @property
    def address(self) -> str:
        return urlsplit(self.server.url).netloc

    async def role(self, name: str, *statements: dict[str, Any], trust: str | None = None) -> None:
        document = {"Version": "1", "Statement": list(statements) or [MAY_READ]}
        await self.roles.put_policy(ACCOUNT, Policy(name, json.dumps(document)))
        await self.roles.put(ACCOUNT, new_role(name, [name], trust=trust))

    async def function(self, name: str, *statements: dict[str, Any], chain: tuple[str, ...] = ()) -> Credentials:
        """What a function of a service with a role of this name finds in its context."""
        await self.role(name, *statements)
        return Issuer(self.tokens, self.roles, time.time).credentials(role_arn(ACCOUNT, name), "svc", 3.0, chain)

    def may(self, credentials: dict[str, str], action: str, resource: str) -> bool:
        """Whether an endpoint lets the holder of the credentials do this."""
        caller = self.authentication.identify(credentials["AccessKeyId"], credentials["SecurityToken"])
        facts: RequestFacts = facts_of_sesame(time.time())
        try:
            self.authorization.require(caller, action, resource, facts)
        except Denied:
            return False
        return caller.secret == credentials["AccessKeySecret"]


@pytest_asyncio.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    database = Database(new_database(tmp_path / "db"))
    await database.open()
    catalog = Catalog(database)
    await catalog.open()
    keys = AccessKeys(catalog)
    await keys.ensure_account(ACCOUNT, KEY_ID, SECRET)
    cloud = Cloud(catalog, keys, Tokens(await master_key(catalog), time.time))
    await cloud.server.start()
    yield cloud
    await cloud.server.stop(grace_s=1.0)
    await database.close()


Ask = Callable[..., Any]


async def by_acs(cloud: Cloud, credentials: Credentials, action: str, **parameters: Any) -> dict[str, Any]:
    config = Config(
        access_key_id=credentials.access_key_id,
        access_key_secret=credentials.access_key_secret,
        security_token=credentials.security_token or None,
        endpoint=cloud.address,
        protocol="http",
    )
    client, options = Client(config), RuntimeOptions(autoretry=False, read_timeout=30_000, connect_timeout=30_000)
    if action == "GetCallerIdentity":
        answer = await asyncio.to_thread(client.get_caller_identity_with_options, options)
    else:
        request = AssumeRoleRequest().from_map(parameters)
        answer = await asyncio.to_thread(client.assume_role_with_options, request, options)
    return dict(answer.body.to_map())


async def by_rpc(cloud: Cloud, credentials: Credentials, action: str, **parameters: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"ak": credentials.access_key_id, "secret": credentials.access_key_secret}
    if credentials.security_token:
        held = StsTokenCredential(credentials.access_key_id, credentials.access_key_secret, credentials.security_token)
        given = {"credential": held}
    client = AcsClient(region_id="cn-hangzhou", auto_retry=False, timeout=30, **given)
    request = CommonRequest(domain=cloud.address, version="2015-04-01", action_name=action)
    request.set_protocol_type("http")
    request.set_method("POST")
    request.set_accept_format("json")
    for name, value in parameters.items():
        request.add_query_param(name, value)
    return dict(json.loads(await asyncio.to_thread(client.do_action_with_exception, request)))


BOTH = pytest.mark.parametrize("ask", [by_acs, by_rpc])


def code_of(error: pytest.ExceptionInfo[Exception]) -> str:
    value = error.value
    return str(value.get_error_code() if isinstance(value, ServerException) else getattr(value, "code", ""))


async def refused(ask: Ask, *given: Any, **parameters: Any) -> tuple[str, str]:
    with pytest.raises((TeaException, ServerException)) as error:
        await ask(*given, **parameters)
    return code_of(error), str(error.value)


def assume(**more: Any) -> dict[str, Any]:
    return {"RoleArn": READER, "RoleSessionName": SESSION, **more}


def test_the_example_of_the_manual() -> None:
    made = base64.b64encode(hmac.digest(b"testsecret&", rpc_string_to_sign("GET", RPC_EXAMPLE).encode(), "sha1"))
    assert made == b"kRA2cnpJVacIhDMzXnoNZG9tDCI="


@BOTH
async def test_a_function_assumes_a_role_that_trusts_its_own(cloud: Cloud, ask: Ask) -> None:
    caller = await cloud.function("Caller", MAY_ASSUME)
    await cloud.role("Reader", trust=trust(role_arn(ACCOUNT, "Caller")))
    answer = await ask(cloud, caller, "AssumeRole", **assume(DurationSeconds=900))
    role = cloud.roles.get(ACCOUNT, "reader")
    assert role is not None
    assert answer["AssumedRoleUser"] == {
        "Arn": f"{READER}/{SESSION}", "AssumedRoleId": f"{role.role_id}:{SESSION}"
    }  # fmt: skip
    assert set(answer) == {"RequestId", "AssumedRoleUser", "Credentials"}
    given = answer["Credentials"]
    left_s = time.mktime(time.strptime(given["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()
    assert 800 < left_s <= 900
    assert cloud.may(given, "oss:GetObject", f"acs:oss:*:{ACCOUNT}:bucket/key")
    assert not cloud.may(given, "oss:PutObject", f"acs:oss:*:{ACCOUNT}:bucket/key")
    new = Credentials(given["AccessKeyId"], given["AccessKeySecret"], given["SecurityToken"])
    identity = await ask(cloud, new, "GetCallerIdentity")
    assert {**identity, "RequestId": ""} == {
        "RequestId": "",
        "IdentityType": "AssumedRoleUser",
        "AccountId": ACCOUNT,
        "PrincipalId": f"{role.role_id}:{SESSION}",
        "RoleId": role.role_id,
        "Arn": f"acs:ram::{ACCOUNT}:assumed-role/reader/{SESSION}",
    }


async def test_a_session_lasts_as_long_as_its_role_allows(cloud: Cloud) -> None:
    caller = await cloud.function("caller", MAY_ASSUME)
    await cloud.roles.add(ACCOUNT, RoleDefinition("reader", trust_policy=trust("*"), max_session_duration=5400))
    given = (await by_acs(cloud, caller, "AssumeRole", **assume(DurationSeconds=5400)))["Credentials"]
    left_s = time.mktime(time.strptime(given["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()
    assert 5300 < left_s <= 5400
    code, text = await refused(by_acs, cloud, caller, "AssumeRole", **assume(DurationSeconds=5401))
    assert code == "InvalidParameter.DurationSeconds"
    assert "15min/1.5hr" in text


@BOTH
async def test_the_account_itself(cloud: Cloud, ask: Ask) -> None:
    answer = await ask(cloud, ROOT, "GetCallerIdentity")
    assert {**answer, "RequestId": ""} == {
        "RequestId": "", "IdentityType": "Account", "AccountId": ACCOUNT, "PrincipalId": ACCOUNT, "UserId": ACCOUNT,
        "Arn": f"acs:ram::{ACCOUNT}:root",
    }  # fmt: skip
    await cloud.role("reader", trust=trust(f"acs:ram::{ACCOUNT}:root"))
    code, text = await refused(ask, cloud, ROOT, "AssumeRole", **assume())
    assert code == "NoPermission"
    assert "Roles may not be assumed by root accounts." in text


async def test_a_session_of_a_role_that_was_deleted_is_nobody(cloud: Cloud) -> None:
    caller = await cloud.function("caller", MAY_ASSUME)
    await cloud.roles.delete(ACCOUNT, "caller")
    for again in (False, True):
        if again:
            await cloud.role("caller", MAY_ASSUME)
        assert (await refused(by_acs, cloud, caller, "GetCallerIdentity"))[0] == "EntityNotExist.Role"


@pytest.mark.parametrize(
    ("rights", "trusted", "code"),
    [
        ([MAY_READ], trust(f"acs:ram::{ACCOUNT}:root"), "NoPermission"),
        ([MAY_ASSUME, {**MAY_ASSUME, "Effect": "Deny"}], trust(f"acs:ram::{ACCOUNT}:root"), "NoPermission"),
        ([{**MAY_ASSUME, "Resource": role_arn(ACCOUNT, "another")}], trust(f"acs:ram::{ACCOUNT}:root"), "NoPermission"),
        ([MAY_ASSUME], trust_of_service("fc.aliyuncs.com"), "NoPermission"),
        ([MAY_ASSUME], trust(role_arn(ACCOUNT, "another")), "NoPermission"),
        ([MAY_ASSUME], trust("acs:ram::77:root"), "NoPermission"),
        ([MAY_ASSUME], trust("*", Effect="Deny"), "NoPermission"),
        ([MAY_ASSUME], None, "EntityNotExist.Role"),
        ([MAY_READ], None, "NoPermission"),
        ([MAY_ASSUME], trust(f"acs:ram::{ACCOUNT}:root"), ""),
        ([MAY_ASSUME], trust(f"acs:ram::{ACCOUNT}:role/CALLER"), ""),
        ([{**MAY_ASSUME, "Resource": role_arn(ACCOUNT, "READER")}], trust("*"), ""),
    ],
)
async def test_policies_of_both_sides_decide(
    cloud: Cloud, rights: list[dict[str, Any]], trusted: str | None, code: str
) -> None:
    caller = await cloud.function("caller", *rights)
    if trusted is not None:
        await cloud.role("reader", trust=trusted)
    if code:
        assert (await refused(by_acs, cloud, caller, "AssumeRole", **assume()))[0] == code
    else:
        await by_acs(cloud, caller, "AssumeRole", **assume())


async def test_conditions_of_the_trust_policy(cloud: Cloud) -> None:
    caller = await cloud.function("caller", MAY_ASSUME)
    condition = {"StringEquals": {"sts:ExternalId": "tenant-7", "sts:SourceIdentity": "ann"}}
    await cloud.role("reader", trust=trust("*", Condition=condition))
    assert (await refused(by_acs, cloud, caller, "AssumeRole", **assume()))[0] == "NoPermission"
    wrong = assume(ExternalId="tenant-8", SourceIdentity="ann")
    assert (await refused(by_acs, cloud, caller, "AssumeRole", **wrong))[0] == "NoPermission"
    answer = await by_acs(cloud, caller, "AssumeRole", **assume(ExternalId="tenant-7", SourceIdentity="ann"))
    assert answer["SourceIdentity"] == "ann"


async def test_a_session_policy_narrows_the_role(cloud: Cloud) -> None:
    caller = await cloud.function("caller", MAY_ASSUME)
    await cloud.role("reader", trust=trust("*"))
    narrow = {**MAY_READ, "Resource": f"acs:oss:*:{ACCOUNT}:bucket/open/*"}
    policy = json.dumps({"Version": "1", "Statement": [narrow, {**narrow, "Action": "oss:PutObject"}]})
    given = (await by_acs(cloud, caller, "AssumeRole", **assume(Policy=policy)))["Credentials"]
    may = {
        (action, key): cloud.may(given, action, f"acs:oss:*:{ACCOUNT}:bucket/{key}")
        for action in ("oss:GetObject", "oss:PutObject")
        for key in ("open/a", "closed/a")
    }
    assert [each for each, allowed in may.items() if allowed] == [("oss:GetObject", "open/a")]


async def test_a_session_keeps_the_chain_of_functions_that_led_to_it(cloud: Cloud) -> None:
    caller = await cloud.function("caller", MAY_ASSUME, chain=("s/f", "s/g"))
    await cloud.role("reader", trust=trust("*"))
    given = (await by_acs(cloud, caller, "AssumeRole", **assume()))["Credentials"]
    session = cloud.tokens.verify(given["AccessKeyId"], given["SecurityToken"])
    assert session.principal.chain == ("s/f", "s/g")
    assert session.principal == Principal(
        PrincipalKind.ROLE, ACCOUNT, "reader", session.principal.role_id, SESSION, None, ("s/f", "s/g")
    )


@BOTH
@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"RoleArn": "acs:ram::42:user/ann"}, "InvalidParameter.RoleArn"),
        ({"RoleArn": ""}, "MissingParameter"),
        ({"RoleSessionName": "a"}, "InvalidParameter.RoleSessionName"),
        ({"RoleSessionName": "a b"}, "InvalidParameter.RoleSessionName"),
        ({"RoleSessionName": "x" * 65}, "InvalidParameter.RoleSessionName"),
        ({"DurationSeconds": 899}, "InvalidParameter.DurationSeconds"),
        ({"DurationSeconds": 3601}, "InvalidParameter.DurationSeconds"),
        ({"DurationSeconds": 43_201}, "InvalidParameter.DurationSeconds"),
        ({"Policy": "{}"}, "InvalidParameter.PolicyGrammar"),
        ({"Policy": "\x00"}, "InvalidParameter.PolicyGrammar"),
        ({"Policy": " " * 2049}, "InvalidParameter.PolicySize"),
        ({"ExternalId": "!"}, "InvalidParameter"),
        ({"SourceIdentity": "x"}, "InvalidParameter"),
    ],
)
async def test_wrong_parameters(cloud: Cloud, ask: Ask, parameters: dict[str, Any], code: str) -> None:
    caller = await cloud.function("caller", MAY_ASSUME)
    await cloud.role("reader", trust=trust("*"))
    assert (await refused(ask, cloud, caller, "AssumeRole", **assume(**parameters)))[0] == code


@BOTH
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"access_key_id": "LTAIstranger"}, "InvalidAccessKeyId.NotFound"),
        ({"access_key_secret": "another"}, "SignatureDoesNotMatch"),
        ({"security_token": "bm90IGEgdG9rZW4="}, "InvalidSecurityToken.Malformed"),
        ({"security_token": ""}, "MissingSecurityToken"),
    ],
)
async def test_wrong_credentials(cloud: Cloud, ask: Ask, change: dict[str, str], code: str) -> None:
    held = await cloud.function("caller", MAY_ASSUME)
    fields = {name: getattr(held, name) for name in ("access_key_id", "access_key_secret", "security_token")}
    assert (await refused(ask, cloud, Credentials(**{**fields, **change}), "GetCallerIdentity"))[0] == code


@BOTH
@pytest.mark.parametrize("ahead_s", [-3600, 3600])
async def test_a_signature_of_another_time(cloud: Cloud, ask: Ask, ahead_s: float) -> None:
    cloud.ahead_s = ahead_s
    assert (await refused(ask, cloud, ROOT, "GetCallerIdentity"))[0] == "InvalidTimeStamp.Expired"


async def test_an_action_or_a_parameter_that_is_not_there(cloud: Cloud) -> None:
    assert (await refused(by_rpc, cloud, ROOT, "AssumeRoleWithSAML"))[0] == "InvalidAction.NotFound"
    code, text = await refused(by_rpc, cloud, ROOT, "GetCallerIdentity", Tenant="7")
    assert code == "InvalidParameter"
    assert "Tenant" in text


async def sent(cloud: Cloud, parameters: dict[str, str]) -> tuple[bytes, ElementTree.Element]:
    reader, writer = await asyncio.open_connection(*cloud.address.split(":"))
    target = f"/?{urlencode(parameters)}".encode()
    writer.write(b"GET %b HTTP/1.1\r\nHost: sts\r\nConnection: close\r\n\r\n" % target)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"text/xml" in head
    return head.partition(b"\r\n")[0], ElementTree.fromstring(body)


def signed(method: str = "GET", **parameters: str) -> dict[str, str]:
    whole = {
        "Version": "2015-04-01", "AccessKeyId": KEY_ID, "SignatureMethod": "HMAC-SHA1", "SignatureVersion": "1.0",
        "SignatureNonce": "once", "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **parameters,
    }  # fmt: skip
    made = hmac.digest(f"{SECRET}&".encode(), rpc_string_to_sign(method, whole).encode(), "sha1")
    return {**whole, "Signature": base64.b64encode(made).decode()}


async def test_a_request_counts_once(cloud: Cloud) -> None:
    request = signed(Action="GetCallerIdentity")
    status, answer = await sent(cloud, request)
    assert (status, answer.tag, answer.findtext("IdentityType")) == (
        b"HTTP/1.1 200 OK", "GetCallerIdentityResponse", "Account"
    )  # fmt: skip
    status, answer = await sent(cloud, request)
    assert (status, answer.findtext("Code")) == (b"HTTP/1.1 400 Bad Request", "SignatureNonceUsed")


async def test_errors_in_xml(cloud: Cloud) -> None:
    status, error = await sent(cloud, {"Action": "GetCallerIdentity", "Version": "2015-04-01"})
    assert status == b"HTTP/1.1 400 Bad Request"
    assert [child.tag for child in error] == ["RequestId", "HostId", "Code", "Message"]
    assert error.findtext("Code") == "MissingParameter"


FORM = "application/x-www-form-urlencoded"


async def posted(cloud: Cloud, body: bytes, headers: dict[str, str], query: str = "") -> tuple[int, dict[str, Any]]:
    """The status and the fields of an answer in JSON."""

    def post() -> tuple[int, bytes]:
        connection = HTTPConnection(cloud.address, timeout=30)
        connection.request("POST", f"/?{query}", body, headers)
        answer = connection.getresponse()
        with closing(connection):
            assert "application/json" in str(answer.getheader("Content-Type"))
            return answer.status, answer.read()

    status, text = await asyncio.to_thread(post)
    return status, json.loads(text)


async def test_the_format_stands_in_the_form_as_other_parameters(cloud: Cloud) -> None:
    form = signed("POST", Action="GetCallerIdentity", Format="JSON")
    status, answer = await posted(cloud, urlencode(form).encode(), {"Content-Type": FORM})
    assert (status, answer["IdentityType"]) == (200, "Account")
    status, answer = await posted(cloud, urlencode(form).encode(), {"Content-Type": FORM})
    assert (status, answer["Code"]) == (400, "SignatureNonceUsed")


async def test_headers_that_are_not_signed_change_nothing(cloud: Cloud) -> None:
    form = signed("POST", Action="GetCallerIdentity", Format="JSON")
    headers = {"Content-Type": FORM, "x-acs-action": "AssumeRole", "x-acs-version": "2020-01-01"}
    status, answer = await posted(cloud, urlencode(form).encode(), headers)
    assert (status, answer["IdentityType"]) == (200, "Account")


async def test_a_body_that_is_no_form_is_refused(cloud: Cloud) -> None:
    query = urlencode(signed("POST", Action="GetCallerIdentity", Format="JSON"))
    for kind in ({"Content-Type": "application/json"}, {}):
        status, answer = await posted(cloud, b"{}", kind, query)
        assert (status, answer["Code"]) == (400, "InvalidParameter")
        assert FORM in answer["Message"]


@pytest.mark.parametrize("signs_kind", [True, False])
async def test_what_a_body_means_is_signed(cloud: Cloud, signs_kind: bool) -> None:
    body = urlencode({"RoleArn": READER, "RoleSessionName": SESSION}).encode()
    headers = {
        "content-type": FORM, "host": "sts", "x-acs-action": "AssumeRole", "x-acs-version": "2015-04-01",
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(), "x-acs-signature-nonce": "once",
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
    names = ";".join(name for name in sorted(headers) if signs_kind or name != "content-type").encode()
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    whole = acs_signature.Request(b"POST", b"/", b"", encoded, headers["x-acs-content-sha256"].encode())
    made = hmac.digest(SECRET.encode(), acs_signature.string_to_sign(whole, names), "sha256").hex()
    authorization = f"ACS3-HMAC-SHA256 Credential={KEY_ID},SignedHeaders={names.decode()},Signature={made}"
    status, answer = await posted(cloud, body, {**headers, "authorization": authorization})
    # The account itself assumes no role: as far as it comes, it was understood.
    expected = (403, "NoPermission") if signs_kind else (400, "SignatureDoesNotMatch")
    assert (status, answer["Code"]) == expected
