"""Uploads by forms: under a signed policy, without one into a public bucket, and refused where the policy is not met.

Run by pytest against a real endpoint on a free port, with the forms that `requests` makes.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import oss2
import pytest
import requests
from tests.oss.conftest import KEY_ID, SECRET, RunningEndpoint
from tests.support.official_sdks import key_of_sts

from sesame.identity.signatures import Scope, sign_v4

MULTIPART = "multipart/form-data; boundary=x"
CONDITIONS: list[Any] = [{"bucket": "photos"}, ["starts-with", "$key", "in/"], ["content-length-range", 1, 10]]


def policy(conditions: list[Any] = CONDITIONS, valid_s: float = 60) -> str:
    expiration = datetime.fromtimestamp(time.time() + valid_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


def v1(written: str, key_id: str = KEY_ID, secret: str = SECRET) -> dict[str, str]:
    mac = hmac.digest(secret.encode(), written.encode(), hashlib.sha1)
    return {"policy": written, "OSSAccessKeyId": key_id, "Signature": base64.b64encode(mac).decode()}


def v4(written: str) -> dict[str, str]:
    day = datetime.now(UTC).strftime("%Y%m%d")
    return {
        "policy": written,
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{KEY_ID}/{day}/cn-hangzhou/oss/aliyun_v4_request",
        "x-oss-date": f"{day}T000000Z",
        "x-oss-signature": sign_v4(SECRET, written.encode(), Scope(day, "cn-hangzhou", "oss")),
    }


def post(endpoint: RunningEndpoint, fields: dict[str, str], data: bytes = b"data", **kwargs: Any) -> requests.Response:
    files = {"file": ("dir/name.txt", data, "text/plain")}
    return requests.post(
        f"{endpoint.url}/photos", data=fields, files=files, timeout=60, allow_redirects=False, **kwargs
    )


def refusal(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize("sign", [v1, v4])
def test_a_signed_policy_lets_a_form_in(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, sign: Callable[[str], Any]
) -> None:
    fields = {
        "key": "in/${filename}",
        "x-oss-meta-a": "1",
        "x-oss-object-acl": "public-read",
        "Cache-Control": "no-cache",
    }
    answer = post(endpoint, {**fields, **sign(policy())})
    assert (answer.status_code, answer.content) == (204, b"")
    found = bucket.get_object("in/name.txt")
    assert (found.read(), found.headers["ETag"]) == (b"data", answer.headers["ETag"])
    said = found.headers
    assert (said["Content-Type"], said["x-oss-meta-a"], said["Cache-Control"]) == ("text/plain", "1", "no-cache")
    assert bucket.get_object_acl("in/name.txt").acl == "public-read"


def test_the_answer_is_what_the_form_asks_for(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    answer = post(endpoint, {"key": "in/a", "success_action_status": "201", **v1(policy())})
    assert (answer.status_code, ElementTree.fromstring(answer.content).findtext("Key")) == (201, "in/a")
    assert post(endpoint, {"key": "in/a", "success_action_status": "200", **v1(policy())}).status_code == 200
    target = "http://page.example/done?x=1"
    answer = post(endpoint, {"key": "in/a", "success_action_redirect": target, **v1(policy())})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{target}&bucket=photos&key=in%2Fa&etag=")
    answer = post(endpoint, {"key": "in/b", "success_action_redirect": "javascript:alert(1)", **v1(policy())})
    assert refusal(answer) == (400, "InvalidArgument")
    assert not bucket.object_exists("in/b")


@pytest.mark.parametrize("size", [0, 1, 255 * 1024, 3_000_000])
def test_files_of_every_size_arrive_whole(endpoint: RunningEndpoint, bucket: oss2.Bucket, size: int) -> None:
    data = (b"\r\n--boundary" * (size // 12 + 1))[:size]
    assert post(endpoint, {"key": "k", **v1(policy([]))}, data).status_code == 204
    assert bucket.get_object("k").read() == data


def test_temporary_credentials_sign_forms_too(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    given = key_of_sts(endpoint.sts())
    written = policy()
    fields = {"key": "in/a", **v1(written, given.access_key_id, given.access_key_secret)}
    assert refusal(post(endpoint, fields)) == (403, "InvalidAccessKeyId")
    assert post(endpoint, {**fields, "x-oss-security-token": given.security_token}).status_code == 204


def test_an_anonymous_form_enters_public_buckets_only(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    assert refusal(post(endpoint, {"key": "k"})) == (403, "AccessDenied")
    bucket.put_bucket_acl("public-read-write")
    assert post(endpoint, {"key": "k"}).status_code == 204
    assert bucket.get_object("k").read() == b"data"


@pytest.mark.parametrize(
    ("fields", "conditions", "code"),
    [
        ({"key": "out/a"}, CONDITIONS, "AccessDenied"),
        ({"key": "in/a"}, [{"bucket": "other"}], "AccessDenied"),
        ({"key": "in/a"}, [["eq", "$key", "in/b"]], "AccessDenied"),
        ({"key": "in/a"}, [["eq", "$x-oss-object-acl", "private"]], "AccessDenied"),
        ({"key": "in/a"}, [["content-length-range", 5, 9]], "AccessDenied"),
        ({"key": "in/a"}, [["content-length-range", 0, 3]], "AccessDenied"),
        ({"key": "in/a"}, [["in", "$content-type", ["image/png"]]], "AccessDenied"),
        ({"key": "in/a"}, [["not-in", "$key", ["in/a"]]], "AccessDenied"),
        ({"key": "in/a"}, [["like", "$key", "in"]], "InvalidPolicyDocument"),
        ({"key": "in/a"}, [["eq", "$key"]], "InvalidPolicyDocument"),
        ({"key": "in/a"}, [["content-length-range", "1", None]], "InvalidPolicyDocument"),
        ({"key": "in/a"}, [{}], "InvalidPolicyDocument"),
        ({}, [], "InvalidObjectName"),
        ({"key": "/a"}, [], "InvalidObjectName"),
        ({"key": "a", "callback": "e30="}, [], "NotImplemented"),
        ({"key": "a", "x-oss-server-side-encryption": "AES256"}, [], "NotImplemented"),
        ({"key": "a", "x-oss-object-acl": "secret"}, [], "InvalidArgument"),
        ({"key": "a", "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, [], "InvalidDigest"),
    ],
)
def test_what_the_policy_does_not_allow_leaves_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, fields: dict[str, str], conditions: list[Any], code: str
) -> None:
    files = len(endpoint.files())
    assert refusal(post(endpoint, {**fields, **v1(policy(conditions))}))[1] == code
    assert [found.key for found in oss2.ObjectIterator(bucket)] == []
    assert len(endpoint.files()) == files


def test_a_form_with_part_of_a_proof_is_not_taken_for_an_anonymous_one(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    bucket.put_bucket_acl("public-read-write")
    whole = v1(policy([{"bucket": "photos"}]))
    for left_out in whole:
        fields = {name: value for name, value in whole.items() if name != left_out}
        assert refusal(post(endpoint, {"key": "in/a", **fields})) == (400, "InvalidArgument"), left_out
    assert refusal(post(endpoint, {"key": "in/a", "Signature": "forged"})) == (400, "InvalidArgument")
    assert not bucket.object_exists("in/a")


def test_an_expired_forged_or_unreadable_policy_is_refused(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    assert refusal(post(endpoint, {"key": "in/a", **v1(policy(valid_s=-60))})) == (403, "AccessDenied")
    assert refusal(post(endpoint, {"key": "in/a", **v1(policy(), secret="wrong")})) == (403, "SignatureDoesNotMatch")
    wider = {**v1(policy()), "policy": policy([])}
    assert refusal(post(endpoint, {"key": "x", **wider})) == (403, "SignatureDoesNotMatch")
    for written in ("%%%", base64.b64encode(b"[]").decode(), base64.b64encode(b"[" * 50_000).decode()):
        assert refusal(post(endpoint, {"key": "in/a", **v1(written)})) == (400, "InvalidPolicyDocument")
    assert refusal(post(endpoint, {"key": "in/a", "policy": policy()})) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"data"),
        ("multipart/form-data", b"data"),
        (MULTIPART, b"no form"),
        (MULTIPART, b"--x\r\nContent-Disposition: form-data\r\n\r\nv\r\n--x--\r\n"),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--x--\r\n'),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf a fi'),
        (MULTIPART, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"v" * 300_000),
    ],
)  # fmt: skip
def test_what_is_no_form_is_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, content_type: str, body: bytes
) -> None:
    bucket.put_bucket_acl("public-read-write")
    response = requests.post(f"{endpoint.url}/photos/", data=body, headers={"Content-Type": content_type}, timeout=60)
    assert response.status_code == 400
    assert [found.key for found in oss2.ObjectIterator(bucket)] == []
