"""Reads that go on where another was broken off, tags that a proxy weakened, and encodings that a client refuses.

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
