"""Buckets and listings through the endpoint with the official client, and code that lies in a bucket.

Run by pytest against a real endpoint on a free port.
"""

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import oss2
import pytest
import requests
from tests.oss.conftest import ACCOUNT, KEY_ID, OTHER_KEY_ID, OTHER_SECRET, SECRET, RunningEndpoint
from tests.support.official_sdks import sign_by_oss2
from tests.support.requesters import THE_ACCOUNT

from sesame.model.errors import Unusable


def test_a_bucket_is_made_described_and_deleted(endpoint: RunningEndpoint) -> None:
    bucket = endpoint.bucket("fresh")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.get_bucket_info()
    bucket.create_bucket(oss2.BUCKET_ACL_PUBLIC_READ)
    info = bucket.get_bucket_info()
    assert (info.name, info.acl.grant, info.storage_class) == ("fresh", "public-read", "Standard")
    assert (info.owner.id, info.location, info.data_redundancy_type) == (ACCOUNT, "oss-cn-hangzhou", "LRS")
    assert info.extranet_endpoint == endpoint.url
    assert bucket.get_bucket_location().location == "oss-cn-hangzhou"
    assert bucket.get_bucket_acl().acl == "public-read"
    bucket.put_bucket_acl(oss2.BUCKET_ACL_PRIVATE)
    assert bucket.get_bucket_acl().acl == "private"
    bucket.create_bucket()
    bucket.delete_bucket()
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        bucket.delete_bucket()


def test_an_acl_makes_the_bucket_that_it_is_for(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    made = endpoint.bucket("made-by-acl")
    answer = made.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ)
    assert answer.headers["Location"] == "/made-by-acl"
    assert (made.get_bucket_acl().acl, made.get_bucket_info().storage_class) == ("public-read", "Standard")
    made.delete_bucket()
    assert bucket.put_bucket_acl(oss2.BUCKET_ACL_PRIVATE).headers["Location"] == "/photos"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        made.put_bucket_acl("nobody")
    with pytest.raises(oss2.exceptions.AccessDenied):
        endpoint.bucket("made-by-acl", oss2.AnonymousAuth()).put_bucket_acl(oss2.BUCKET_ACL_PRIVATE)
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        made.get_bucket_acl()


def test_a_bucket_keeps_its_storage_class(endpoint: RunningEndpoint) -> None:
    bucket = endpoint.bucket("cool")
    rare = oss2.models.BucketCreateConfig(oss2.BUCKET_STORAGE_CLASS_IA)
    bucket.create_bucket(input=rare)
    assert bucket.get_bucket_info().storage_class == "IA"
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket.create_bucket()
    assert (caught.value.status, caught.value.code) == (409, "BucketAlreadyExists")
    with pytest.raises(oss2.exceptions.InvalidArgument):
        endpoint.bucket("odd").create_bucket(input=oss2.models.BucketCreateConfig("Lukewarm"))
    bucket.delete_bucket()


def test_a_bucket_with_something_in_it_is_not_deleted(bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()
    bucket.delete_object("k")
    upload = bucket.init_multipart_upload("k")
    with pytest.raises(oss2.exceptions.BucketNotEmpty):
        bucket.delete_bucket()
    bucket.abort_multipart_upload("k", upload.upload_id)


@pytest.mark.parametrize("name", ["ab", "Photos", "-photos", "photos-", "pho_tos", "x" * 64])
def test_names_of_buckets_have_rules(endpoint: RunningEndpoint, name: str) -> None:
    auth = endpoint.bucket().auth
    call = oss2.http.Request("PUT", f"{endpoint.url}/{name}/")
    sign_by_oss2(auth, call, name, "")
    response = requests.put(call.url, headers=call.headers, timeout=60)
    assert (response.status_code, "<Code>InvalidBucketName</Code>" in response.text) == (400, True)


def test_each_account_lists_its_own_buckets_in_order(endpoint: RunningEndpoint) -> None:
    names = ["list-a", "list-b", "list-c"]
    for name in reversed(names):
        endpoint.bucket(name).create_bucket()
    service = endpoint.service()
    listed = service.list_buckets(prefix="list-")
    assert [found.name for found in listed.buckets] == names
    assert listed.buckets[0].extranet_endpoint == endpoint.url
    assert listed.owner.id == ACCOUNT
    assert not listed.is_truncated
    first = service.list_buckets(prefix="list-", max_keys=2)
    assert ([found.name for found in first.buckets], first.is_truncated) == (names[:2], True)
    rest = service.list_buckets(prefix="list-", marker=first.next_marker)
    assert [found.name for found in rest.buckets] == names[2:]
    assert [found.name for found in oss2.BucketIterator(service, prefix="list-", max_keys=1)] == names
    other = oss2.Service(oss2.Auth(OTHER_KEY_ID, OTHER_SECRET), endpoint.url)
    assert other.list_buckets(prefix="list-").buckets == []
    for name in names:
        endpoint.bucket(name).delete_bucket()


def test_an_account_has_so_many_buckets_and_no_more(endpoint: RunningEndpoint) -> None:
    made = [f"many-{number}" for number in range(100)]
    for name in made:
        endpoint.bucket(name).create_bucket()
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        endpoint.bucket("one-too-many").create_bucket()
    assert (caught.value.status, caught.value.code) == (400, "TooManyBuckets")
    for name in made:
        endpoint.bucket(name).delete_bucket()


def test_statistics_count(bucket: oss2.Bucket) -> None:
    bucket.put_object("a", b"12345")
    stat = bucket.get_bucket_stat()
    assert (stat.object_count, stat.storage_size_in_bytes, stat.multi_part_upload_count) == (1, 5, 0)


def test_listing_folds_pages_and_sorts_by_bytes(bucket: oss2.Bucket) -> None:
    keys = ["a/1", "a/2", "b", "c/1", "c/2/x", "é", "🙂", "\uffff"]
    for key in keys:
        bucket.put_object(key, key.encode())
    in_order = sorted(keys, key=str.encode)
    assert [found.key for found in oss2.ObjectIterator(bucket, max_keys=3)] == in_order
    assert [found.key for found in oss2.ObjectIteratorV2(bucket, max_keys=3)] == in_order
    folded = [(found.key, found.is_prefix()) for found in oss2.ObjectIterator(bucket, delimiter="/", max_keys=2)]
    assert folded == [("a/", True), ("b", False), ("c/", True), *((k, False) for k in in_order[-3:])]
    inner = bucket.list_objects(prefix="c/", delimiter="/")
    assert ([found.key for found in inner.object_list], inner.prefix_list) == (["c/1"], ["c/2/"])
    entry = inner.object_list[0]
    assert (entry.size, entry.type, entry.storage_class, entry.owner.id) == (3, "Normal", "Standard", ACCOUNT)
    later = bucket.list_objects_v2(start_after="c/1", max_keys=1, fetch_owner=True)
    assert ([found.key for found in later.object_list], later.is_truncated) == (["c/2/x"], True)
    assert later.object_list[0].owner.id == ACCOUNT
    assert bucket.list_objects_v2().object_list[0].owner is None
    token = bucket.list_objects_v2(max_keys=len(keys) - 1).next_continuation_token
    assert quote(token, safe="") == token, "it is the same for clients that decode it, and for those that do not"
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.list_objects_v2(continuation_token="no token")
    for wrong in (0, 1001, "x"):
        with pytest.raises(oss2.exceptions.InvalidArgument):
            bucket.list_objects(max_keys=wrong)


def test_listing_without_url_encoding_is_xml_all_the_same(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("a<&>ü", b"data")
    call = oss2.http.Request("GET", f"{endpoint.url}/photos/")
    sign_by_oss2(bucket.auth, call, "photos", "")
    text = requests.get(call.url, headers=call.headers, timeout=60).content.decode()
    assert "<Key>a&lt;&amp;&gt;ü</Key>" in text
    assert "EncodingType" not in text


def test_code_is_read_from_a_bucket_of_the_account_only(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("code.zip", b"PK" * 200_000)
    assert endpoint.run(endpoint.source.read("photos", "code.zip", THE_ACCOUNT)) == b"PK" * 200_000
    other = endpoint.bucket("theirs", oss2.Auth(OTHER_KEY_ID, OTHER_SECRET))
    other.create_bucket()
    for name, key, says in (
        ("photos", "absent", "object 'absent'"),
        ("absent", "code.zip", "bucket 'absent'"),
        ("theirs", "x", "bucket 'theirs'"),
    ):
        with pytest.raises(Unusable, match=says):
            endpoint.run(endpoint.source.read(name, key, THE_ACCOUNT))
    other.delete_bucket()


def test_a_bucket_without_versioning_lists_one_version_of_each_object(bucket: oss2.Bucket) -> None:
    for key in ("a", "b/1", "b/2", "c\x01"):
        bucket.put_object(key, b"data")
    found = bucket.list_object_versions()
    assert [(version.key, version.versionid, version.is_latest) for version in found.versions] == [
        ("a", "null", True), ("b/1", "null", True), ("b/2", "null", True), ("c\x01", "null", True),
    ]  # fmt: skip
    assert (found.delete_marker, found.is_truncated) == ([], False)
    folded = bucket.list_object_versions(delimiter="/", max_keys=2)
    assert ([version.key for version in folded.versions], folded.common_prefix) == (["a"], ["b/"])
    assert (folded.is_truncated, folded.next_key_marker, folded.next_versionid_marker) == (True, "b/", "null")
    rest = bucket.list_object_versions(delimiter="/", key_marker="b/", versionid_marker="null")
    assert [version.key for version in rest.versions] == ["c\x01"]
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.list_object_versions(versionid_marker="null")


@pytest.mark.parametrize("signer", [oss2.Auth, oss2.AuthV2, oss2.AuthV4])
def test_there_is_one_region(endpoint: RunningEndpoint, signer: Any) -> None:
    for asked in ("", "oss-cn-hangzhou"):
        answer = endpoint.request("GET", params={"regions": asked}, bucket="", auth=signer(KEY_ID, SECRET))
        region = ElementTree.fromstring(answer.content)
        assert [found.text for found in region.iter("Region")] == ["oss-cn-hangzhou"]
        assert region.findtext("RegionInfo/InternetEndpoint") == endpoint.url.removeprefix("http://")
    other = endpoint.request("GET", params={"regions": "oss-cn-elsewhere"}, bucket="")
    assert (other.status_code, "<Code>NoSuchRegion</Code>" in other.text) == (404, True)


def test_the_description_of_a_bucket_is_complete(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    before = ElementTree.fromstring(endpoint.request("GET", params={"stat": ""}).content)
    assert before.findtext("LastModifiedTime") == "0"
    bucket.put_object("k", b"data")
    info = ElementTree.fromstring(endpoint.request("GET", params={"bucketInfo": ""}).content)
    named = (
        "Name", "Location", "Region", "CreationDate", "ExtranetEndpoint", "IntranetEndpoint", "StorageClass", "Owner",
        "AccessControlList", "DataRedundancyType", "Comment", "AccessMonitor", "TransferAcceleration",
        "CrossRegionReplication", "BlockPublicAccess", "ResourceGroupId", "ServerSideEncryptionRule",
    )  # fmt: skip
    assert {element.tag for element in info.find("Bucket") or ()} >= set(named)
    stat = ElementTree.fromstring(endpoint.request("GET", params={"stat": ""}).content)
    assert stat.findtext("DeleteMarkerCount") == "0"
    assert abs(int(stat.findtext("LastModifiedTime") or 0) - endpoint.clock()) < 60
    for name in ("InfrequentAccess", "Archive", "ColdArchive", "DeepColdArchive"):
        for kind in ("Storage", "RealStorage", "ObjectCount"):
            assert stat.findtext(name + kind) == "0"
