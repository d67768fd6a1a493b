"""Whatever a signed request holds, it is answered by what it means or refused: never by a failure of the endpoint.

Run by pytest against a real endpoint on a free port; hypothesis makes up the requests.
"""

import http.client
from urllib.parse import urlsplit

import oss2
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.oss.conftest import KEY_ID, SECRET, RunningEndpoint
from tests.support.examples import examples
from tests.support.official_sdks import sign_by_oss2

header_text = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30).map(str.strip),
    st.sampled_from(
        ["bytes=0-1", "bytes=-", "bytes=5-" + "9" * 5000, "9" * 5000, "/photos/k", "photos/k", "/photos/%ff", "a=b&a=c"]
    ),
)
headers = st.dictionaries(
    st.sampled_from(
        [
            "range", "content-md5", "content-type", "if-match", "if-none-match", "if-modified-since",
            "if-unmodified-since", "x-oss-copy-source", "x-oss-copy-source-range", "x-oss-copy-source-if-match",
            "x-oss-metadata-directive", "x-oss-tagging", "x-oss-object-acl", "x-oss-acl", "x-oss-storage-class",
            "x-oss-meta-a", "x-oss-symlink-target", "x-oss-range-behavior", "x-oss-forbid-overwrite", "origin",
            "access-control-request-method", "accept-encoding", "x-oss-complete-all", "referer", "x-oss-request-payer",
            "x-oss-tagging-directive", "x-oss-server-side-encryption", "x-oss-copy-source-if-modified-since", "date",
        ]
    ),
    header_text,
    max_size=4,
)  # fmt: skip
query_text = st.one_of(st.text(max_size=20), st.sampled_from(["", "url", "2", "9" * 5000, "-1", "0", "1001", "AAAA"]))
queries = st.dictionaries(
    st.sampled_from(
        [
            "acl", "tagging", "symlink", "uploads", "uploadId", "partNumber", "append", "position", "objectMeta",
            "max-keys", "marker", "prefix", "delimiter", "encoding-type", "list-type", "continuation-token",
            "start-after", "delete", "cors", "stat", "bucketInfo", "max-uploads", "key-marker", "upload-id-marker",
            "max-parts", "part-number-marker", "response-content-type", "x-oss-process", "versionId", "live", "restore",
            "versions", "version-id-marker", "lifecycle", "referer", "publicAccessBlock", "requestPayment", "regions",
            "bucketArchiveDirectRead", "cleanRestoredObject", "retention", "x-oss-request-payer",
        ]
    ),
    query_text,
    max_size=3,
)  # fmt: skip
keys = st.one_of(st.sampled_from(["", "k", "text.txt"]), st.text(min_size=1, max_size=12))
bodies = st.one_of(
    st.binary(max_size=50),
    st.sampled_from(
        [
            b"<Delete><Object><Key>k</Key></Object></Delete>",
            b"<Delete><Object><Key></Key></Object></Delete>",
            b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
            b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
            b"<CORSConfiguration><CORSRule/></CORSConfiguration>",
            b"<RestoreRequest><Days>-1</Days></RestoreRequest>",
            b"<LifecycleConfiguration><Rule><Status>Enabled</Status></Rule></LifecycleConfiguration>",
            b"<RefererConfiguration><RefererList><Referer>***???</Referer></RefererList></RefererConfiguration>",
            b"<PublicAccessBlockConfiguration><BlockPublicAccess>1</BlockPublicAccess></PublicAccessBlockConfiguration>",
            b"<Delete><Object><Key>&#0;</Key></Object></Delete>",
            b"<Delete>\xff</Delete>",
            b"<CreateBucketConfiguration xmlns='x'><StorageClass>?</StorageClass></CreateBucketConfiguration>",
        ]
    ),
)
methods = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(methods, keys, headers, queries, bodies)
def test_no_signed_request_makes_the_endpoint_fail(
    endpoint: RunningEndpoint,
    bucket: oss2.Bucket,
    method: str,
    key: str,
    said: dict[str, str],
    asked: dict[str, str],
    body: bytes,
) -> None:
    if not bucket.object_exists("text.txt"):
        bucket.put_object("text.txt", b"text" * 1000)
    # A bucket that is deleted by the one request must be there for the next.
    if method == "DELETE" and not key:
        key = "k"
    call = oss2.http.Request(
        method, f"{endpoint.url}/photos/{oss2.compat.urlquote(key, '')}", params=asked, headers=said
    )
    sign_by_oss2(oss2.Auth(KEY_ID, SECRET), call, "photos", key)
    data = body if method in ("PUT", "POST") else None
    sent = {name: value.encode() for name, value in call.headers.items() if value}
    response = requests.request(method, call.url, params=call.params, headers=sent, data=data, timeout=20)
    assert response.status_code < 500, response.text
    assert len(response.headers["x-oss-request-id"]) == 24


@pytest.mark.parametrize(
    "path",
    [
        "/photos/%ff", "/photos/%ED%A0%80", "/photos/%00", "/%ff/k", "/photos/" + "%41" * 5000, "//", "/photos//",
        "/photos/..", "/photos/a/../b", "/photos?acl&acl", "/photos?%ff", "/photos?a=%ff", "/?" + "a&" * 5000,
        "/photos?max-keys=%D9%A1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD"])
def test_no_path_makes_the_endpoint_fail(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, method: str, path: str
) -> None:
    url = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=20)
    connection.putrequest(method, path)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    assert 400 <= answer.status < 500
    connection.close()
