"""The OSS endpoint on objects in an S3-speaking store, by the official client: what works, and what a fault is.

Run by pytest, with a real server behind a proxy that plays faults.
"""

import io
from collections.abc import Iterator

import oss2
import pytest
import requests
from tests.oss.conftest import RunningEndpoint
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.s3 import Store

from sesame.store.blobs import bucket as bucket_module
from sesame.store.blobs.segments import SEGMENT_BYTES

PART_BYTES = 5 * 1024 * 1024 + 11


@pytest.fixture(scope="module")
def proxy(s3_store: Store) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_store.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory, s3_store: Store, proxy: FaultyProxy
) -> Iterator[RunningEndpoint]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bucket_module, "RETRY_FOR_S", 0.3)
        root = tmp_path_factory.mktemp("oss")
        with RunningEndpoint(root, place=s3_store.new_url(proxy.endpoint)) as endpoint:
            yield endpoint


@pytest.fixture
def healthy(proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    yield proxy
    proxy.heal()


def letters(size: int) -> bytes:
    return (b"abcdefghijklmnopqrstuvwxyz0123456789" * (size // 36 + 1))[:size]


@pytest.mark.thorough
def test_objects_of_every_kind_are_read_back(bucket: oss2.Bucket) -> None:
    large = letters(2 * SEGMENT_BYTES + 5)
    for key, data in (("empty", b""), ("small", b"small"), ("large", large)):
        bucket.put_object(key, io.BytesIO(data))
        assert bucket.get_object(key).read() == data
    middle = bucket.get_object("large", byte_range=(SEGMENT_BYTES - 3, SEGMENT_BYTES + 3)).read()
    assert middle == large[SEGMENT_BYTES - 3 : SEGMENT_BYTES + 4]
    bucket.copy_object("photos", "large", "copied")
    assert bucket.get_object("copied").read() == large
    upload = bucket.init_multipart_upload("joined").upload_id
    parts = [
        oss2.models.PartInfo(number, bucket.upload_part("joined", upload, number, letters(PART_BYTES)).etag)
        for number in (1, 2, 3)
    ]
    bucket.complete_multipart_upload("joined", upload, parts)
    assert bucket.get_object("joined").read() == letters(PART_BYTES) * 3
    position = 0
    for piece in (b"one", b"two" * 1000, b"three"):
        position = bucket.append_object("log", position, piece).next_position
    assert bucket.get_object("log").read() == b"one" + b"two" * 1000 + b"three"
    bucket.batch_delete_objects(["large", "copied", "joined"])
    assert [found.key for found in oss2.ObjectIterator(bucket)] == ["empty", "log", "small"]


@pytest.mark.parametrize("status", [500, 503, 403])
def test_a_fault_of_the_store_is_answered_with_503_and_passes(
    bucket: oss2.Bucket, healthy: FaultyProxy, status: int
) -> None:
    bucket.put_object("kept", b"kept")
    healthy.status = status
    for act in (lambda: bucket.put_object("new", b"new"), lambda: bucket.get_object("kept")):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            act()
        assert (caught.value.status, caught.value.code) == (503, "ServiceUnavailable")
        assert "secret" not in caught.value.message
    assert bucket.head_object("kept").content_length == 4
    healthy.heal()
    assert not bucket.object_exists("new")
    assert bucket.get_object("kept").read() == b"kept"


def test_an_object_whose_store_fails_on_the_way_is_broken_off(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, healthy: FaultyProxy
) -> None:
    bucket.put_object("long", letters(3 * SEGMENT_BYTES))
    healthy.failing = lambda method, path: method == "GET" and path.endswith("/000001")
    healthy.status = 500
    url = bucket.sign_url("GET", "long", 60)
    with pytest.raises(requests.exceptions.RequestException):
        assert len(requests.get(url, timeout=60).content) == 3 * SEGMENT_BYTES
