"""Reads that go on where another was broken off, through symlinks and proxies, and headers that a client says twice.

Run by pytest with the official client, against a real endpoint on a free port.
"""

from email.utils import formatdate

import oss2
import pytest
from tests.oss.conftest import RunningEndpoint

TEXT = b"some text, longer than a kilobyte\n" * 60


@pytest.fixture
def etag(bucket: oss2.Bucket) -> str:
    etag: str = bucket.put_object("k.txt", TEXT, headers={"Content-Type": "text/plain"}).headers["ETag"]
    return etag


def test_a_read_goes_on_only_in_the_object_that_it_began_in(endpoint: RunningEndpoint, etag: str) -> None:
    head = endpoint.request("HEAD", "k.txt").headers
    for validator, status in (
        (etag, 206),
        (head["Last-Modified"], 206),
        ('"5D41402ABC4B2A76B9719D911017C592"', 200),
        (f"W/{etag}", 200),
        (formatdate(0, usegmt=True), 200),
        (formatdate(4e9, usegmt=True), 200),
        ("soon", 200),
    ):
        found = endpoint.request("GET", "k.txt", headers={"Range": "bytes=5-8", "If-Range": validator})
        expected = TEXT[5:9] if status == 206 else TEXT
        assert (found.status_code, found.content) == (status, expected), validator


def test_a_weak_tag_is_as_good_for_what_a_client_has(endpoint: RunningEndpoint, etag: str) -> None:
    for tags in (etag, f"W/{etag}", f'"other", W/{etag}'):
        assert endpoint.request("GET", "k.txt", headers={"If-None-Match": tags}).status_code == 304
    assert endpoint.request("GET", "k.txt", headers={"If-Match": f"W/{etag}"}).status_code == 412


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("deflate, GZIP;q=0.5", "gzip"), ("gzip;q=0.001", "gzip"), ("gzip;q=0", None),
        ("identity, gzip; q=0.000", None), ("br", None),
    ],
)  # fmt: skip
def test_an_encoding_that_the_client_refuses_is_not_sent(
    endpoint: RunningEndpoint, etag: str, accepted: str, encoding: str | None
) -> None:
    found = endpoint.request("GET", "k.txt", headers={"Accept-Encoding": accepted})
    assert (found.headers.get("Content-Encoding"), found.content) == (encoding, TEXT)


def test_what_a_symlink_says_counts_but_for_size_digests_and_class(bucket: oss2.Bucket) -> None:
    """As OSS documents GetObject and HeadObject."""
    bucket.put_object("k", b"data", headers={"x-oss-meta-a": "1", "x-oss-meta-b": "1", "Content-Type": "text/plain"})
    bucket.put_object_tagging("k", oss2.models.Tagging())
    own = {"x-oss-meta-a": "2", "Content-Type": "text/x", "Cache-Control": "no-store", "x-oss-storage-class": "IA"}
    bucket.put_symlink("k", "link", headers=own)
    target = bucket.head_object("k").headers
    for answer in (bucket.head_object("link"), bucket.get_object("link")):
        found = answer.headers
        for name in ("ETag", "Content-MD5", "Content-Length", "x-oss-hash-crc64ecma", "x-oss-storage-class"):
            assert found[name] == target[name], name
        said = [found.get(name) for name in ("x-oss-object-type", "x-oss-meta-a", "Content-Type", "Cache-Control")]
        assert said == ["Symlink", "2", "text/x", "no-store"]
        assert "x-oss-meta-b" not in found
    bucket.append_object("log", 0, b"more")
    bucket.put_symlink("log", "link")
    found = bucket.get_object("link")
    assert (found.read(), found.headers["x-oss-object-type"], "Content-MD5" in found.headers) == (
        b"more", "Symlink", False,
    )  # fmt: skip


def test_a_copy_may_repeat_every_header_for_its_source(endpoint: RunningEndpoint, etag: str) -> None:
    """As the official client for Node.js sends each header of a copy."""

    def copied(**headers: str) -> int:
        repeated = {f"x-oss-copy-source-{name.lower()}": value for name, value in headers.items()}
        sent = {"x-oss-copy-source": "/photos/k.txt", **headers, **repeated}
        return endpoint.request("PUT", "c", headers=sent).status_code

    assert copied(**{"If-Match": etag, "Cache-Control": "no-store"}) == 200
    assert copied(**{"If-Match": '"other"'}) == 412
    assert copied(**{"If-None-Match": etag}) == 304
    assert copied(**{"x-oss-metadata-directive": "REPLACE", "Content-Type": "text/x"}) == 200
    assert endpoint.request("GET", "c").headers["Content-Type"] == "text/x"
    source = {"x-oss-copy-source": "/photos/k.txt"}
    for other in ({"If-Match": etag}, {"x-oss-copy-source-cache-control": "no-store"}):
        assert endpoint.request("PUT", "c", headers={**source, **other}).status_code == 400
    unlike = {"If-Match": etag, "x-oss-copy-source-if-match": '"other"'}
    assert endpoint.request("PUT", "c", headers={**source, **unlike}).status_code == 400
    assert endpoint.request("PUT", "c", headers={"x-oss-copy-source-if-match": etag}).status_code == 400


def test_headers_of_the_writers_own_come_back(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    own = {"x-oss-persistent-headers": "myheader1:bXl2YWx1ZTE=, X-Frame-Options:REVOWQ==,empty:"}
    bucket.put_object("k", b"data", headers=own)
    bucket.append_object("log", 0, b"data", headers=own)
    bucket.copy_object("photos", "k", "copy")
    upload = bucket.init_multipart_upload("big").upload_id
    part = bucket.upload_part("big", upload, 1, b"data")
    parts = [oss2.models.PartInfo(1, part.etag)]
    bucket.complete_multipart_upload("big", upload, parts, headers=own)
    for key in ("k", "log", "copy", "big"):
        for headers in (bucket.head_object(key).headers, bucket.get_object(key).headers):
            found = [headers.get(name) for name in ("myheader1", "X-Frame-Options", "empty")]
            assert (found, "x-oss-persistent-headers" in headers) == (["myvalue1", "DENY", ""], False)
    bucket.copy_object("photos", "k", "copy", headers={"x-oss-metadata-directive": "REPLACE"})
    assert "myheader1" not in bucket.head_object("copy").headers
    for name in ("Tenant", "Dated", "Locations"):
        bucket.put_object("named", b"data", headers={"x-oss-persistent-headers": f"{name}:YQ=="})
        assert bucket.head_object("named").headers[name] == "a"
    for wrong in ("a", "a:%", "a:/w==", "a b:YQ==", "a:YQpi", "Content-Length:OQ==", "x-oss-meta-a:YQ==", "Date:YQ=="):
        response = endpoint.request("PUT", "k", headers={"x-oss-persistent-headers": wrong}, body=b"other")
        assert (response.status_code, wrong) == (400, wrong)
    assert bucket.get_object("k").read() == b"data"


def test_headers_of_the_writers_own_have_a_bound_also_where_an_upload_ends(bucket: oss2.Bucket) -> None:
    upload = bucket.init_multipart_upload("big", headers={"x-oss-meta-a": "a" * 5000}).upload_id
    parts = [oss2.models.PartInfo(1, bucket.upload_part("big", upload, 1, b"data").etag)]
    own = {"x-oss-persistent-headers": "own:" + "YWFh" * 1000}
    with pytest.raises(oss2.exceptions.ServerError) as refused:
        bucket.complete_multipart_upload("big", upload, parts, headers=own)
    assert (refused.value.status, refused.value.code) == (400, "InvalidArgument")
    bucket.complete_multipart_upload("big", upload, parts)
    assert bucket.get_object("big").read() == b"data"
