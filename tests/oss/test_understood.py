"""A request that asks for more than an operation does is refused before anything is touched, whatever it asks for.

Run by pytest against a real endpoint on a free port.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import oss2
import pytest
import requests
from tests.oss.conftest import KEY_ID, SECRET, RunningEndpoint

from sesame.oss.operations import BUCKET, COPIES, OBJECT, SERVICE
from sesame.oss.signature import NOT_SERVED, SERVED, UNSIGNED_IN_V1

# Sub-resources of the real service that are not served here, and one that no service knows.
OBJECT_ITEMS = (
    "retention", "legalHold", "seal", "asyncFetch", "vod", "live", "x-oss-process",
    "x-oss-async-process", "callback", "callback-var", "x-oss-traffic-limit", "no-such-thing", "worm", "policy",
    "partNumber", "max-keys", "x-oss-ac-source-ip", "objectInfo", "img", "bucketInfo",
)  # fmt: skip
BUCKET_ITEMS = (
    "responseHeader", "inventory", "style", "replication", "transferAcceleration", "worm", "wormId", "wormExtend",
    "objectWorm", "accessPoint", "accessPointPolicy", "metaQuery", "cname", "resourceGroup", "accessmonitor", "qosInfo",
    "httpsConfig", "redundancyTransition", "overwriteConfig",
    "userDefinedLogFieldsConfig", "asyncFetch", "no-such-thing", "append", "symlink", "versionId", "uploadId",
)  # fmt: skip
SIGNERS = (oss2.Auth, oss2.AuthV2, oss2.AuthV4)


def code(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.text.partition("<Code>")[2].partition("</Code>")[0]


NOT_IMPLEMENTED = (400, "NotImplemented")


@pytest.mark.parametrize("signer", SIGNERS)
def test_an_unknown_item_of_an_object_touches_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, signer: Any
) -> None:
    bucket.put_object("k", b"data", headers={"x-oss-meta-a": "1"})
    before = bucket.head_object("k").headers["Last-Modified"]
    for item in OBJECT_ITEMS:
        for value in ("", "x"):
            for method in ("PUT", "DELETE", "POST"):
                response = endpoint.request(
                    method, "k", params={item: value}, body=b"other", auth=signer(KEY_ID, SECRET)
                )
                assert code(response) == NOT_IMPLEMENTED, (method, item, value, response.text)
    found = bucket.get_object("k")
    assert (found.read(), found.headers["Last-Modified"], found.headers["x-oss-meta-a"]) == (b"data", before, "1")


@pytest.mark.parametrize("signer", SIGNERS)
@pytest.mark.parametrize("value", ["", "x"])
def test_an_item_without_a_name_touches_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, signer: Any, value: str
) -> None:
    bucket.put_object("k", b"data")
    for method in ("PUT", "DELETE", "GET"):
        response = endpoint.request(method, "k", params={"": value}, body=b"other", auth=signer(KEY_ID, SECRET))
        # oss2 signs V1 and V2 without an empty item that has no value.
        assert code(response) in (NOT_IMPLEMENTED, (403, "SignatureDoesNotMatch")), response.text
    assert bucket.get_object("k").read() == b"data"


@pytest.mark.parametrize("signer", SIGNERS)
def test_an_unknown_item_of_a_bucket_touches_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, signer: Any
) -> None:
    for item in BUCKET_ITEMS:
        for method in ("DELETE", "PUT", "GET"):
            response = endpoint.request(method, params={item: ""}, body=b"<X/>", auth=signer(KEY_ID, SECRET))
            assert code(response) == NOT_IMPLEMENTED, (method, item, response.text)
    assert bucket.get_bucket_acl().acl == "private"


@pytest.mark.parametrize(
    ("method", "key", "params"),
    [
        ("PUT", "", {"inventory": "", "inventoryId": "i"}),
        ("PUT", "", {"style": "", "styleName": "s"}),
        ("GET", "", {"acl": "", "versionId": "null"}),
        ("PUT", "", {"accessmonitor": ""}),
        ("POST", "k", {"seal": "", "position": "0"}),
        ("GET", "", {"list-type": "2", "marker": "a"}),
        ("GET", "", {"start-after": "a"}),
        ("DELETE", "k", {"uploads": "", "x": ""}),
        ("PUT", "k", {"acl": "", "partNumber": "1"}),
        ("PUT", "k", {"v": "2"}),
        ("DELETE", "k", {"v": "2"}),
        ("GET", "", {"v": "2"}),
        ("GET", "k", {"tagging": "", "v": "2"}),
        ("GET", "k", {"v": ""}),
        ("GET", "k", {"x-oss-new": "1"}),
    ],
)
def test_what_does_not_go_together_is_not_implemented(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, method: str, key: str, params: Mapping[str, str]
) -> None:
    bucket.put_object("k", b"data")
    for signer in SIGNERS:
        assert code(endpoint.request(method, key, params=params, auth=signer(KEY_ID, SECRET))) == NOT_IMPLEMENTED
    assert bucket.get_object("k").read() == b"data"


@pytest.mark.parametrize("item", ["v=2", "t=1796039000", "20261130", "_=1", "utm_source=x&spm=a.b", "para1=%E6%95%B0"])
def test_what_pages_append_to_links_of_objects_is_dropped(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, item: str
) -> None:
    bucket.put_object("k", b"data")
    params = dict(parse_qsl(item, keep_blank_values=True))
    links = [oss2.Bucket(oss2.Auth(KEY_ID, SECRET), endpoint.url, "photos").sign_url("GET", "k", 60) + f"&{item}"]
    for signer in SIGNERS:
        signing = endpoint.bucket("photos", signer(KEY_ID, SECRET))
        links.append(signing.sign_url("GET", "k", 60, params=dict(params)))
    bucket.put_object_acl("k", "public-read")
    links.append(f"{endpoint.url}/photos/k?{item}")
    for link in links:
        found = requests.get(link, timeout=60)
        assert (found.status_code, found.content) == (200, b"data"), (link, found.text)
    assert requests.head(links[-1], timeout=60).headers["Content-Length"] == "4"


def test_a_repeated_item_is_refused(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_bucket_acl("public-read")
    bucket.put_object("k", b"data")
    response = requests.get(f"{endpoint.url}/photos/k?versionId=null&versionId=other", timeout=60)
    assert code(response) == (400, "InvalidArgument")


def test_another_version_than_the_only_one_does_not_exist(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data")
    for method, item in (("GET", ""), ("DELETE", ""), ("PUT", "acl"), ("GET", "tagging"), ("DELETE", "tagging")):
        params = {"versionId": "CAEQNhiBgMDJgZCA0BYiIDc4MGZjZGI2OTBjOTRmNTE5NmU5NmFhZjhjYmY0"} | (
            {item: ""} if item else {}
        )
        headers = {"x-oss-object-acl": "public-read"} if method == "PUT" else {}
        assert code(endpoint.request(method, "k", params=params, headers=headers)) == (404, "NoSuchVersion")
    for version, status in (("?versionId=CAEQ", 404), ("?other=1", 404), ("?versionId=null", 200)):
        source = {"x-oss-copy-source": f"/photos/k{version}"}
        assert endpoint.request("PUT", "c", headers=source).status_code == status
    assert endpoint.request("GET", "k", params={"versionId": "null"}).content == b"data"
    assert endpoint.request("DELETE", "k", params={"versionId": "null"}).status_code == 204
    assert not bucket.object_exists("k")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-oss-server-side-encryption", "AES256"),
        ("x-oss-server-side-encryption", "KMS"),
        ("x-oss-server-side-data-encryption", "SM4"),
        ("x-oss-server-side-encryption-key-id", "k"),
        ("x-oss-callback", "e30="),
        ("x-oss-callback-var", "e30="),
        ("x-oss-traffic-limit", "819200"),
        ("x-oss-object-worm-mode", "COMPLIANCE"),
        ("x-oss-object-worm-retain-until-date", "2030-01-01T00:00:00Z"),
        ("x-oss-object-worm-legal-hold", "ON"),
        ("x-oss-resource-group-id", "rg-1"),
        ("x-oss-object-no-such-setting", "1"),
        ("x-oss-acl", "public-read"),
        ("x-oss-copy-source-if-match", '"A"'),
        ("x-oss-metadata-directive", "REPLACE"),
        ("If-Match", '"A"'),
        ("If-None-Match", "*"),
        ("If-Unmodified-Since", "Fri, 02 Jan 2026 03:04:05 GMT"),
        ("Content-Range", "bytes 0-1/4"),
    ],
)
def test_a_header_that_is_not_obeyed_is_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, header: str, value: str
) -> None:
    bucket.put_object("k", b"data")
    upload = bucket.init_multipart_upload("big").upload_id
    for method, key, params in (
        ("PUT", "k", {}),
        ("POST", "log", {"append": "", "position": "0"}),
        ("POST", "big", {"uploads": ""}),
        ("PUT", "big", {"uploadId": upload, "partNumber": "1"}),
        ("PUT", "link", {"symlink": ""}),
    ):
        response = endpoint.request(method, key, params=params, headers={header: value}, body=b"other")
        assert code(response) == NOT_IMPLEMENTED, (method, key, response.text)
    assert bucket.get_object("k").read() == b"data"
    assert [found.key for found in oss2.ObjectIterator(bucket)] == ["k"]
    assert not bucket.list_parts("big", upload).parts


def test_a_header_that_is_none_of_osss_is_dropped_with_objects_alone(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    """oss2's and the V2 SDK's own tests send x-oss-user and x-oss-auth, which the cloud takes."""
    for signer in SIGNERS:
        signing = endpoint.bucket("photos", signer(KEY_ID, SECRET))
        headers = {"x-oss-user": "user-001"}
        assert signing.put_object("k", b"data", headers={**headers, "x-oss-auth": "o"}).status == 200
        url = signing.sign_url("GET", "k", 60, headers=headers)
        found = signing.get_object_with_url(url, headers=headers)
        assert (found.read(), "x-oss-user" in found.headers) == (b"data", False)
        assert requests.get(url, timeout=60).status_code == 403, "it takes part in the signature"
    assert code(endpoint.request("GET", headers={"x-oss-user": "user-001"})) == NOT_IMPLEMENTED


@pytest.mark.parametrize(
    "header",
    ["x-oss-server-side-encryption", "x-oss-resource-group-id", "x-oss-object-acl", "x-oss-bucket-object-worm-enabled"],
)
def test_a_bucket_is_not_made_with_less_than_was_asked_for(endpoint: RunningEndpoint, header: str) -> None:
    response = endpoint.request("PUT", bucket="less-than-asked", headers={header: "AES256"})
    assert code(response) == NOT_IMPLEMENTED
    assert endpoint.request("GET", bucket="less-than-asked").status_code == 404


def test_who_pays_is_always_the_owner(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"data", headers={"x-oss-request-payer": "requester"})
    assert endpoint.request("GET", "k", params={"x-oss-request-payer": "requester"}).content == b"data"
    assert code(endpoint.request("GET", "k", headers={"x-oss-request-payer": "owner"})) == (400, "InvalidArgument")


def test_every_item_of_the_table_is_signed_by_v1_or_known_not_to_be() -> None:
    for table in (SERVICE, BUCKET, OBJECT, COPIES):
        for (_, subresource), operation in table.items():
            assert ({subresource} - {""} | operation.query) <= SERVED | UNSIGNED_IN_V1
    assert NOT_SERVED.isdisjoint(SERVED | UNSIGNED_IN_V1)


def test_an_acl_given_at_the_end_of_an_upload_counts(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_bucket_acl("public-read")
    upload = bucket.init_multipart_upload("k").upload_id
    part = bucket.upload_part("k", upload, 1, b"data")
    digest = "jXd/OF09/siBXSD3SWAm3A=="
    assert part.headers["Content-MD5"] == digest
    parts = [oss2.models.PartInfo(1, part.etag)]
    bucket.complete_multipart_upload("k", upload, parts, headers={"x-oss-object-acl": "private"})
    assert bucket.get_object_acl("k").acl == "private"
    assert requests.get(f"{endpoint.url}/photos/k", timeout=60).status_code == 403
    upload = bucket.init_multipart_upload("k").upload_id
    part = bucket.upload_part("k", upload, 1, b"data")
    with pytest.raises(oss2.exceptions.InvalidArgument):
        bucket.complete_multipart_upload("k", upload, parts, headers={"x-oss-object-acl": "secret"})
    bucket.abort_multipart_upload("k", upload)


def test_the_meta_of_an_object_comes_whole_also_by_get(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("k", b"12345")
    found = endpoint.request("GET", "k", params={"objectMeta": ""})
    # Clients take the size of the object from the length.
    assert (found.status_code, found.headers["Content-Length"], found.content) == (200, "5", b"12345")
    asked = endpoint.request("HEAD", "k", params={"objectMeta": ""})
    assert asked.headers["Content-Length"] == "5"
    assert found.headers["ETag"] == asked.headers["ETag"]
