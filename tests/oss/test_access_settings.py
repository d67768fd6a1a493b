"""Settings that decide who reaches a bucket, and restores of cold objects: each is set, told, and obeyed.

Run by pytest against a real endpoint on a free port.
"""

import time
from collections.abc import Iterator
from xml.etree import ElementTree

import oss2
import pytest
import requests
from tests.oss.conftest import OTHER_KEY_ID, OTHER_SECRET, RunningEndpoint

from sesame.model.bucket import Bucket, RefererRules
from sesame.oss.access_rules import check_referer
from sesame.oss.errors import OssError
from sesame.oss.request import Request
from sesame.oss.restore import RESTORE_S

DAY_S = 86_400
BLOCK = b"<PublicAccessBlockConfiguration><BlockPublicAccess>%s</BlockPublicAccess></PublicAccessBlockConfiguration>"


def block(endpoint: RunningEndpoint, *, on: bool, bucket: str = "photos") -> requests.Response:
    body = (
        f"<PublicAccessBlockConfiguration><BlockPublicAccess>{on}</BlockPublicAccess></PublicAccessBlockConfiguration>"
    )
    return endpoint.request("PUT", params={"publicAccessBlock": ""}, body=body.encode(), bucket=bucket)


def blocked(endpoint: RunningEndpoint, bucket: str) -> str | None:
    answer = endpoint.request("GET", params={"publicAccessBlock": ""}, bucket=bucket)
    return ElementTree.fromstring(answer.content).findtext("BlockPublicAccess")


@pytest.fixture(params=["photos", ""], ids=["bucket", "account"])
def level(endpoint: RunningEndpoint, bucket: oss2.Bucket, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where public access is blocked: at the bucket, or at the account for all its buckets."""
    yield str(request.param)
    assert endpoint.request("DELETE", params={"publicAccessBlock": ""}, bucket=str(request.param)).status_code == 204


def test_blocked_public_access_ends_what_acls_gave_and_refuses_new_ones(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, level: str
) -> None:
    bucket.put_bucket_acl("public-read-write")
    bucket.put_object("k", b"data")
    bucket.put_object("open", b"data", headers={"x-oss-object-acl": "public-read"})
    link = f"{endpoint.url}/photos/"
    assert requests.get(link + "k", timeout=60).status_code == 200
    assert block(endpoint, on=True, bucket=level).status_code == 200
    assert blocked(endpoint, level) == "true"
    for attempt in (
        lambda: requests.get(link + "k", timeout=60),
        lambda: requests.get(link + "open", timeout=60),
        lambda: requests.put(link + "k", data=b"other", timeout=60),
    ):
        assert attempt().status_code == 403
    for refused in (
        lambda: bucket.put_bucket_acl("public-read"),
        lambda: bucket.put_object_acl("k", "public-read"),
        lambda: bucket.put_object("n", b"data", headers={"x-oss-object-acl": "public-read-write"}),
        lambda: bucket.create_bucket("public-read"),
    ):
        with pytest.raises(oss2.exceptions.AccessDenied) as caught:
            refused()
        assert "acl is not allowed" in caught.value.message
    assert bucket.get_object("k").read() == b"data"
    assert block(endpoint, on=False, bucket=level).status_code == 200
    assert blocked(endpoint, level) == "false"
    assert requests.get(link + "open", timeout=60).status_code == 200


def test_the_account_of_another_is_not_blocked(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    other = oss2.AuthV4(OTHER_KEY_ID, OTHER_SECRET)
    body = (
        b"<PublicAccessBlockConfiguration><BlockPublicAccess>true</BlockPublicAccess></PublicAccessBlockConfiguration>"
    )
    assert (
        endpoint.request("PUT", params={"publicAccessBlock": ""}, body=body, bucket="", auth=other).status_code == 200
    )
    assert blocked(endpoint, "") == "false"
    assert endpoint.request("DELETE", params={"publicAccessBlock": ""}, bucket="", auth=other).status_code == 204


def test_who_requests_pays_or_is_refused(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_bucket_acl("public-read")
    bucket.put_object("k", b"data")
    assert bucket.get_bucket_request_payment().payer == "BucketOwner"
    bucket.put_bucket_request_payment("Requester")
    assert bucket.get_bucket_request_payment().payer == "Requester"
    other = oss2.AuthV4(OTHER_KEY_ID, OTHER_SECRET)
    assert endpoint.request("GET", "k", auth=other).status_code == 403
    assert endpoint.request("GET", "k", auth=other, headers={"x-oss-request-payer": "requester"}).content == b"data"
    assert (
        requests.get(f"{endpoint.url}/photos/k", headers={"x-oss-request-payer": "requester"}, timeout=60).status_code
        == 403
    )
    assert bucket.get_object("k").read() == b"data"
    bucket.put_bucket_request_payment("BucketOwner")
    assert requests.get(f"{endpoint.url}/photos/k", timeout=60).content == b"data"


def test_referers_decide_over_links_and_strangers_but_not_over_programs(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    bucket.put_bucket_acl("public-read")
    bucket.put_object("k", b"data")
    rules = oss2.models.BucketReferer(False, ["http://good.example/*"], True, ["http://good.example/bad*"])
    bucket.put_bucket_referer(rules)
    found = bucket.get_bucket_referer()
    assert (found.allow_empty_referer, found.referers) == (False, ["http://good.example/*"])
    assert found.black_referers == ["http://good.example/bad*"]
    for url in (f"{endpoint.url}/photos/k", bucket.sign_url("GET", "k", 60)):
        for referer, status in (
            ("http://good.example/page?x=1", 200),
            ("http://good.example/bad?x", 403),
            ("http://evil.example/?http://good.example/", 403),
            ("", 403),
        ):
            assert requests.get(url, headers={"Referer": referer} if referer else {}, timeout=60).status_code == status
    assert bucket.get_object("k").read() == b"data"
    bucket.put_bucket_referer(oss2.models.BucketReferer(True, ["http://good.example/*"]))
    assert requests.get(f"{endpoint.url}/photos/k", timeout=60).status_code == 200


def test_matching_referers_takes_no_time_that_a_caller_can_stretch() -> None:
    request = Request("GET", "b", "k", {}, {"referer": "a" * 60_000 + "b"}, "http://x", "", secure=False)
    rules = RefererRules(allowed=("*a" * 500 + "?" * 100 + "c",) * 18)
    started = time.thread_time()
    with pytest.raises(OssError):
        check_referer(request, Bucket("b", "1", referer=rules))
    assert time.thread_time() - started < 1


@pytest.mark.parametrize("storage_class", ["Archive", "ColdArchive", "DeepColdArchive"])
def test_a_cold_object_is_read_once_it_is_restored_and_until_that_expires(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, storage_class: str
) -> None:
    bucket.put_object("k", b"data", headers={"x-oss-storage-class": storage_class})
    for attempt in (lambda: bucket.get_object("k"), lambda: bucket.copy_object("photos", "k", "c")):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            attempt()
        assert (caught.value.status, caught.value.code) == (403, "InvalidObjectState")
    assert bucket.restore_object("k").status == 202
    assert bucket.head_object("k").headers["x-oss-restore"] == 'ongoing-request="true"'
    with pytest.raises(oss2.exceptions.RestoreAlreadyInProgress):
        bucket.restore_object("k")
    endpoint.clock.ahead_s = RESTORE_S + 1
    assert bucket.get_object("k").read() == b"data"
    assert bucket.head_object("k").headers["x-oss-restore"].startswith('ongoing-request="false", expiry-date="')
    assert 'ongoing-request="false"' in endpoint.request("GET").text
    bucket.copy_object("photos", "k", "c", headers={"x-oss-storage-class": "Standard"})
    assert bucket.get_object("c").read() == b"data"
    assert bucket.restore_object("k").status == 200
    endpoint.clock.ahead_s += DAY_S + 1
    with pytest.raises(oss2.exceptions.ServerError):
        bucket.get_object("k")


def test_only_cold_objects_are_restored(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    with pytest.raises(oss2.exceptions.OperationNotSupported):
        bucket.restore_object("k")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.restore_object("missing")
    bucket.put_object("cold", b"data", headers={"x-oss-storage-class": "ColdArchive"})
    for body in (
        b"<RestoreRequest><Days>0</Days></RestoreRequest>",
        b"<RestoreRequest><Days>366</Days></RestoreRequest>",
    ):
        assert endpoint.request("POST", "cold", params={"restore": ""}, body=body).status_code == 400
    assert endpoint.request("POST", "cold", params={"cleanRestoredObject": ""}).status_code == 409


def test_archives_may_be_read_directly_where_a_bucket_says_so(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    for storage_class in ("Archive", "ColdArchive"):
        bucket.put_object(storage_class, b"data", headers={"x-oss-storage-class": storage_class})
    bucket.put_bucket_archive_direct_read(True)
    assert bucket.get_bucket_archive_direct_read().enabled is True
    assert bucket.get_object("Archive").read() == b"data"
    with pytest.raises(oss2.exceptions.ServerError):
        bucket.get_object("ColdArchive")
