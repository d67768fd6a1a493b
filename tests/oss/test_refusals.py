"""Who is refused and in which words: keys, tokens, signatures, clocks, roles, accounts, strangers; in their order.

Run by pytest against a real endpoint on a free port, with its clock in the tests' hands.
"""

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import oss2
import pytest
import requests
from tests.oss.conftest import ACCOUNT, KEY_ID, OTHER_KEY_ID, OTHER_SECRET, SECRET, RunningEndpoint
from tests.support.official_sdks import key_of_sts, v1_signature_by_oss2

from sesame.identity.tokens import Grant
from sesame.model.role import Role

HOUR_S = 3600
PUT_ONLY = json.dumps(
    {
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": "oss:PutObject", "Resource": "acs:oss:*:*:photos/in/*"}],
    }
)
GET_ONLY = json.dumps({"Version": "1", "Statement": [{"Effect": "Allow", "Action": ["oss:Get*"], "Resource": "*"}]})


def refused(bucket: oss2.Bucket, key: str = "k") -> tuple[int, str]:
    """How a put is refused; that it left nothing is looked at by its caller."""
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket.put_object(key, b"data")
    return caught.value.status, caught.value.code


def credentials(auth: oss2.StsAuth) -> Any:
    return key_of_sts(auth)


def altered(auth: oss2.StsAuth, **changes: str) -> oss2.StsAuth:
    given = credentials(auth)
    parts = {"id": given.access_key_id, "secret": given.access_key_secret, "token": given.security_token} | changes
    return oss2.StsAuth(parts["id"], parts["secret"], parts["token"])


@pytest.fixture
def others(endpoint: RunningEndpoint) -> Iterator[oss2.Bucket]:
    """A bucket of another account."""
    bucket = endpoint.bucket("theirs", oss2.Auth(OTHER_KEY_ID, OTHER_SECRET))
    bucket.create_bucket()
    yield bucket
    for found in oss2.ObjectIterator(bucket):
        bucket.delete_object(found.key)
    bucket.delete_bucket()


def test_a_role_that_may_puts_and_reads(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    for version in ("v1", "v2", "v4"):
        mine = endpoint.bucket(auth=endpoint.sts(auth_version=version))
        mine.put_object("k", b"data")
        assert mine.get_object("k").read() == b"data"


def test_without_its_token_a_temporary_key_is_unknown(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    given = credentials(endpoint.sts())
    bare = endpoint.bucket(auth=oss2.Auth(given.access_key_id, given.access_key_secret))
    assert refused(bare) == (403, "InvalidAccessKeyId")
    assert not bucket.object_exists("k")


def test_the_token_of_another_service_does_not_fit(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    mine, theirs = endpoint.sts(session="mine"), endpoint.sts(session="theirs")
    mixed = altered(mine, token=credentials(theirs).security_token)
    assert refused(endpoint.bucket(auth=mixed)) == (403, "AccessKeyIdAndSecurityTokenNotMatch")
    assert not bucket.object_exists("k")


def test_any_changed_byte_of_the_token_is_noticed(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    auth = endpoint.sts()
    token = credentials(auth).security_token
    for at in range(0, len(token), 17):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert refused(endpoint.bucket(auth=altered(auth, token=changed))) == (403, "InvalidSecurityToken")
    assert not bucket.object_exists("k")


def test_an_expired_token_is_refused(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    auth = endpoint.sts(session="brief")
    endpoint.clock.ahead_s = 6 * HOUR_S
    try:
        assert refused(endpoint.bucket(auth=auth)) == (403, "SecurityTokenExpired")
    finally:
        endpoint.clock.ahead_s = 0
    assert not bucket.object_exists("k")


@pytest.mark.parametrize("auth", [oss2.Auth, oss2.AuthV2, oss2.AuthV4])
def test_a_missing_bucket_is_reported_before_a_wrong_key(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, auth: Any
) -> None:
    unknown = auth("LTAIunknown", "secret")
    assert refused(endpoint.bucket("photos", unknown)) == (403, "InvalidAccessKeyId")
    missing = endpoint.bucket("no-such-bucket", unknown)
    assert refused(missing) == (404, "NoSuchBucket")
    for attempt in (
        missing.list_objects,
        missing.get_bucket_info,
        missing.get_bucket_versioning,
        missing.delete_bucket,
    ):
        with pytest.raises(oss2.exceptions.NoSuchBucket):
            attempt()
    # These two make buckets, on the real service; so the key comes first.
    for make in (missing.create_bucket, lambda: missing.put_bucket_acl("private")):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            make()
        assert (caught.value.status, caught.value.code) == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize("auth", [oss2.Auth, oss2.AuthV2, oss2.AuthV4])
def test_a_wrong_secret_is_refused_and_told_what_was_to_be_signed(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, auth: Any
) -> None:
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch) as caught:
        endpoint.bucket(auth=auth(KEY_ID, "wrong")).put_object("k", b"data")
    details = caught.value.details
    assert details["OSSAccessKeyId"] == KEY_ID
    assert details["SignatureProvided"]
    assert bytes.fromhex(details["StringToSignBytes"]).decode() == details["StringToSign"]
    assert SECRET not in str(details)


@pytest.mark.parametrize("ahead_s", [-HOUR_S, -901, 901, HOUR_S])
@pytest.mark.parametrize("auth", [oss2.Auth, oss2.AuthV4])
def test_clocks_that_differ_by_more_than_a_quarter_of_an_hour_are_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, auth: Any, ahead_s: int
) -> None:
    endpoint.clock.ahead_s = ahead_s
    try:
        assert refused(endpoint.bucket(auth=auth(KEY_ID, SECRET))) == (403, "RequestTimeTooSkewed")
    finally:
        endpoint.clock.ahead_s = 0
    assert not bucket.object_exists("k")


def test_a_role_without_put_object_may_not_put(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    endpoint.make_role("reader", GET_ONLY)
    bucket.put_object("there", b"data")
    reader = endpoint.bucket(auth=endpoint.sts("reader"))
    assert refused(reader) == (403, "AccessDenied")
    assert reader.get_object("there").read() == b"data"
    with pytest.raises(oss2.exceptions.AccessDenied):
        reader.delete_object("there")
    with pytest.raises(oss2.exceptions.AccessDenied):
        reader.list_objects()
    with pytest.raises(oss2.exceptions.AccessDenied):
        reader.copy_object("photos", "there", "here")
    assert [found.key for found in oss2.ObjectIterator(bucket)] == ["there"]


def test_a_role_is_bound_to_the_resources_it_was_given(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    endpoint.make_role("inbox", PUT_ONLY)
    inbox = endpoint.bucket(auth=endpoint.sts("inbox"))
    inbox.put_object("in/k", b"data")
    assert refused(inbox, "out/k") == (403, "AccessDenied")
    with pytest.raises(oss2.exceptions.AccessDenied):
        inbox.get_object("in/k")
    with pytest.raises(oss2.exceptions.AccessDenied):
        inbox.batch_delete_objects(["in/k"])
    with pytest.raises(oss2.exceptions.AccessDenied):
        inbox.copy_object("photos", "in/k", "in/copy")
    with pytest.raises(oss2.exceptions.AccessDenied):
        oss2.Service(endpoint.sts("inbox"), endpoint.url).list_buckets()


def test_the_buckets_of_another_account_are_closed_to_root_and_role(
    endpoint: RunningEndpoint, others: oss2.Bucket
) -> None:
    others.put_object("k", b"data")
    for auth in (oss2.Auth(KEY_ID, SECRET), endpoint.sts()):
        mine = endpoint.bucket("theirs", auth)
        assert refused(mine) == (403, "AccessDenied")
        for attempt in (mine.get_object, mine.delete_object, mine.get_object_acl):
            with pytest.raises(oss2.exceptions.AccessDenied):
                attempt("k")
        for attempt in (mine.list_objects, mine.get_bucket_info, mine.delete_bucket):
            with pytest.raises(oss2.exceptions.AccessDenied):
                attempt()
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        endpoint.bucket("theirs").create_bucket()
    assert (caught.value.status, caught.value.code) == (409, "BucketAlreadyExists")
    assert "theirs" not in [found.name for found in endpoint.service().list_buckets().buckets]
    assert others.get_object("k").read() == b"data"


def test_copying_out_of_another_account_is_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, others: oss2.Bucket
) -> None:
    others.put_object("k", b"data")
    with pytest.raises(oss2.exceptions.AccessDenied):
        bucket.copy_object("theirs", "k", "k")
    others.put_object_acl("k", oss2.OBJECT_ACL_PUBLIC_READ)
    bucket.copy_object("theirs", "k", "k")
    assert bucket.get_object("k").read() == b"data"


def test_strangers_get_what_acls_open_and_no_more(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    stranger = endpoint.bucket(auth=oss2.AnonymousAuth())
    with pytest.raises(oss2.exceptions.AccessDenied) as caught:
        stranger.get_object("k")
    assert caught.value.message == "Anonymous user has no right to access this object."
    bucket.put_object_acl("k", oss2.OBJECT_ACL_PUBLIC_READ)
    assert stranger.get_object("k").read() == b"data"
    assert refused(stranger) == (403, "AccessDenied")
    with pytest.raises(oss2.exceptions.InvalidRequest):
        stranger.get_object("k", params={"response-content-type": "text/html"})
    bucket.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ_WRITE)
    stranger.put_object("new", b"data")
    bucket.put_object("closed", b"data", headers={"x-oss-object-acl": "private"})
    with pytest.raises(oss2.exceptions.AccessDenied):
        stranger.get_object("closed")
    with pytest.raises(oss2.exceptions.AccessDenied):
        stranger.list_objects()
    with pytest.raises(oss2.exceptions.AccessDenied):
        oss2.Service(oss2.AnonymousAuth(), endpoint.url).list_buckets()


def test_a_session_policy_narrows_and_says_so(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    role: Role | None = endpoint.call(lambda: endpoint.roles.get(ACCOUNT, "aliyunfcdefaultrole"))
    assert role is not None
    given = endpoint.tokens.issue(Grant(ACCOUNT, role.role_name, role.role_id, "narrow", GET_ONLY))
    narrow = endpoint.bucket(auth=oss2.StsAuth(given.access_key_id, given.access_key_secret, given.security_token))
    bucket.put_object("k", b"data")
    assert narrow.get_object("k").read() == b"data"
    with pytest.raises(oss2.exceptions.AccessDenied) as caught:
        narrow.put_object("k", b"other")
    assert caught.value.message == "Access denied by authorizer's policy."


def test_a_missing_bucket_is_reported_before_missing_rights_and_a_wrong_signature(endpoint: RunningEndpoint) -> None:
    endpoint.make_role("reader", GET_ONLY)
    assert refused(endpoint.bucket("no-such-bucket", endpoint.sts("reader"))) == (404, "NoSuchBucket")
    assert refused(endpoint.bucket("no-such-bucket", oss2.Auth(KEY_ID, "wrong"))) == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    "authorization",
    [
        "OSS",
        "OSS nothing",
        "OSS :sig",
        "OSS id:",
        "Basic abc",
        "OSS2 AccessKeyId:a",
        "OSS4-HMAC-SHA256 Credential=a/b/c, Signature=x",
        "OSS4-HMAC-SHA256 Signature=x",
    ],
)
def test_a_malformed_authorization_is_an_invalid_argument(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, authorization: str
) -> None:
    response = requests.get(f"{endpoint.url}/photos/k", headers={"Authorization": authorization}, timeout=60)
    assert (response.status_code, "<Code>InvalidArgument</Code>" in response.text) == (400, True)


def test_a_date_is_needed(endpoint: RunningEndpoint) -> None:
    for date in ("", "soon"):
        call = oss2.http.Request("GET", f"{endpoint.url}/")
        auth = oss2.Auth(KEY_ID, SECRET)
        call.headers["date"] = date
        signature = v1_signature_by_oss2(auth, call)
        headers = {"Date": date, "Authorization": f"OSS {KEY_ID}:{signature}"}
        response = requests.get(call.url, headers=headers, timeout=60)
        assert (response.status_code, "requires a valid Date" in response.text) == (403, True)


def test_links_with_the_token_elsewhere_are_told_where_it_belongs(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    auth = endpoint.sts()
    link = endpoint.bucket(auth=auth).sign_url("GET", "k", 60)
    token = credentials(auth).security_token
    path, _, query = link.partition("?")
    bare = f"{path}?" + "&".join(part for part in query.split("&") if not part.startswith("security-token"))
    response = requests.get(bare, headers={"x-oss-security-token": token}, timeout=60)
    assert response.status_code == 400
    assert "Security-token must be provided by query string parameter" in response.text
    assert requests.get(bare, timeout=60).status_code == 403


def test_with_a_strict_region_other_regions_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RunningEndpoint(tmp_path_factory.mktemp("strict"), strict_region=True) as endpoint:
        right = oss2.Bucket(oss2.AuthV4(KEY_ID, SECRET), endpoint.url, "photos", region="cn-hangzhou")
        right.create_bucket()
        wrong = oss2.Bucket(oss2.AuthV4(KEY_ID, SECRET), endpoint.url, "photos", region="cn-shanghai")
        with pytest.raises(oss2.exceptions.InvalidArgument) as caught:
            wrong.head_object("k")
        assert (caught.value.ec, caught.value.headers["x-oss-ec"]) == ("0002-00000226", "0002-00000226")


def test_an_error_that_quotes_a_long_value_can_be_read_by_clients(bucket: oss2.Bucket) -> None:
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket.list_objects(max_keys="9" * 5000)
    assert (caught.value.status, caught.value.code) == (400, "InvalidArgument")
    assert caught.value.details["ArgumentValue"] == "9" * 512


@pytest.mark.parametrize("sent", [b"no http at all\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_refused_in_the_form_of_oss(endpoint: RunningEndpoint, sent: bytes) -> None:
    url = urlsplit(endpoint.url)
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.sendall(sent)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["Content-Type"] == "application/xml"
    assert (headers["Content-Length"], headers["Connection"]) == (str(len(body)), "close")
    error = ElementTree.fromstring(body)
    assert error.findtext("Code") == "InvalidRequest"
    assert error.findtext("RequestId") == headers["x-oss-request-id"]
    assert error.findtext("EC") == headers["x-oss-ec"]
    assert b"ErrorCode" not in raw


def test_the_error_of_a_head_request_fits_a_header_whatever_it_quotes(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    headers = {"x-oss-meta-a": "a" * 20_000}
    refused = endpoint.request("HEAD", "k", headers=headers, auth=oss2.Auth(KEY_ID, "wrong"))
    error = ElementTree.fromstring(base64.b64decode(refused.headers["x-oss-err"]))
    assert (refused.status_code, error.findtext("Code")) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("version", [oss2.AUTH_VERSION_1, oss2.AUTH_VERSION_2, oss2.AUTH_VERSION_4])
def test_a_lasting_key_has_no_token_wherever_it_comes(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, version: str
) -> None:
    bucket.put_object("k", b"x")
    mine = endpoint.bucket(auth=oss2.make_auth(KEY_ID, SECRET, version))
    theirs = credentials(endpoint.sts()).security_token
    for token, code in (("forged", "InvalidSecurityToken"), (theirs, "AccessKeyIdAndSecurityTokenNotMatch")):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            mine.get_object("k", headers={"x-oss-security-token": token})
        assert (caught.value.status, caught.value.code) == (403, code)
        for name in ("security-token", "x-oss-security-token"):
            with pytest.raises(oss2.exceptions.ServerError) as caught:
                mine.get_object("k", params={name: token})
            assert (caught.value.status, caught.value.code) == (403, code)
            link = mine.sign_url("GET", "k", 60, params={name: token})
            assert f"<Code>{code}</Code>" in requests.get(link, timeout=60).text


def test_two_tokens_are_refused(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"x")
    other = credentials(endpoint.sts(session="other")).security_token
    for name in ("security-token", "x-oss-security-token"):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            endpoint.bucket(auth=endpoint.sts()).get_object("k", params={name: other})
        assert caught.value.code == "AccessKeyIdAndSecurityTokenNotMatch"


@pytest.mark.parametrize(
    ("key", "value", "applies"),
    [
        ("oss:BucketTag/team", "dev", True),
        ("oss:BucketTag/team", "ops", False),
        ("oss:ExistingObjectTag/kind", "secret", True),
        ("oss:ExistingObjectTag/kind", "public", False),
        ("oss:RequestObjectTag/kind", "new", True),
    ],
)
def test_conditions_see_tags(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, key: str, value: str, applies: bool
) -> None:
    tagging = oss2.models.Tagging()
    tagging.tag_set.add("team", "dev")
    bucket.put_bucket_tagging(tagging)
    bucket.put_object("k", b"x", headers={"x-oss-tagging": "kind=secret"})
    document = {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": "oss:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "oss:*", "Resource": "*", "Condition": {"StringEquals": {key: value}}},
        ],
    }
    endpoint.make_role("tagged", json.dumps(document))
    role = endpoint.bucket(auth=endpoint.sts("tagged"))

    def put() -> Any:
        return role.put_object("k", b"y", headers={"x-oss-tagging": "kind=new"})

    if not applies:
        assert put().status == 200
        return
    with pytest.raises(oss2.exceptions.AccessDenied):
        put()


def test_conditions_see_the_tags_that_the_body_of_put_object_tagging_names(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    bucket.put_object("k", b"x")
    only_new = {"StringEquals": {"oss:RequestObjectTag/kind": "new"}}
    document = {
        "Version": "1",
        "Statement": [{"Effect": "Allow", "Action": "oss:PutObject*", "Resource": "*", "Condition": only_new}],
    }
    endpoint.make_role("tagger", json.dumps(document))
    role = endpoint.bucket(auth=endpoint.sts("tagger"))

    def tagged(**tags: str) -> oss2.models.Tagging:
        tagging = oss2.models.Tagging()
        for name, value in tags.items():
            tagging.tag_set.add(name, value)
        return tagging

    assert role.put_object_tagging("k", tagged(kind="new", other="1")).status == 200
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == {"kind": "new", "other": "1"}
    for refused in (tagged(kind="old"), tagged(other="new")):
        with pytest.raises(oss2.exceptions.AccessDenied):
            role.put_object_tagging("k", refused)
    # The header of another operation does not stand for the body.
    answer = endpoint.request(
        "PUT", "k", params={"tagging": ""}, body=b"<broken", auth=endpoint.sts("tagger", auth_version="v4")
    )
    assert answer.status_code == 403
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == {"kind": "new", "other": "1"}


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        ({}, ("prefix", "marker", "delimiter")),
        ({"list-type": "2"}, ("prefix", "start-after", "delimiter")),
        ({"versions": ""}, ("prefix", "key-marker", "delimiter")),
        ({"uploads": ""}, ("prefix", "key-marker", "upload-id-marker", "delimiter")),
    ],
)
def test_what_is_longer_than_any_key_lists_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, listing: dict[str, str], names: tuple[str, ...]
) -> None:
    """As oss2's own tests have it of the cloud."""
    for name in names:
        for value, status in (("a" * 1023, 200), ("a" * 1024, 400), ("\u4e2d" * 342, 400)):
            response = endpoint.request("GET", params={**listing, name: value})
            assert (response.status_code, name) == (status, name)
    assert endpoint.request("GET", bucket="", params={"prefix": "a" * 1024}).status_code == 400
    versions = {"versions": "", "key-marker": "a", "version-id-marker": "a" * 1024}
    assert endpoint.request("GET", params=versions).status_code == 400
