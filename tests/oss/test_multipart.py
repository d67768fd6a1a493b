"""Multipart uploads and appends through the endpoint with the official client.

Run by pytest against a real endpoint on a free port.
"""

import os
from pathlib import Path
from xml.etree import ElementTree

import fastcrc
import oss2
import pytest
from oss2.models import PartInfo
from tests.oss.conftest import RunningEndpoint

PART = 100 * 1024


def test_parts_become_an_object(bucket: oss2.Bucket) -> None:
    data = os.urandom(PART * 2 + 5)
    upload = bucket.init_multipart_upload("film ä", headers={"x-oss-meta-a": "1", "Content-Type": "video/x"})
    pieces = [data[:PART], data[PART : 2 * PART], data[2 * PART :]]
    parts = []
    for number, piece in enumerate(pieces, 1):
        result = bucket.upload_part("film ä", upload.upload_id, number, piece)
        parts.append(PartInfo(number, result.etag, size=len(piece), part_crc=result.crc))
    assert not bucket.object_exists("film ä")
    listed = bucket.list_parts("film ä", upload.upload_id)
    assert [(p.part_number, p.size, p.etag) for p in listed.parts] == [(p.part_number, p.size, p.etag) for p in parts]
    done = bucket.complete_multipart_upload("film ä", upload.upload_id, parts)
    assert done.crc == fastcrc.crc64.xz(data)
    got = bucket.get_object("film ä")
    assert got.read() == data
    assert (got.content_type, got.headers["x-oss-meta-a"]) == ("video/x", "1")
    assert got.headers["x-oss-object-type"] == "Multipart"
    assert bucket.list_multipart_uploads().upload_list == []


def test_listed_parts_say_how_the_client_encrypts(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    said = {"key": "nyXOp7==", "start": "a<b", "cek-alg": "AES/CTR/NoPadding", "data-size": "300", "part-size": "100"}
    headers = {f"x-oss-meta-client-side-encryption-{name}": value for name, value in said.items()}
    upload = bucket.init_multipart_upload("k", headers={**headers, "x-oss-meta-a": "1"})
    listed = endpoint.request("GET", "k", params={"uploadId": upload.upload_id})
    found = {each.tag: each.text for each in ElementTree.fromstring(listed.content) if "Encryption" in each.tag}
    assert found == {
        "ClientEncryptionKey": "nyXOp7==", "ClientEncryptionStart": "a<b", "ClientEncryptionCekAlg": said["cek-alg"],
        "ClientEncryptionDataSize": "300", "ClientEncryptionPartSize": "100",
    }  # fmt: skip
    plain = bucket.init_multipart_upload("k")
    assert "Encryption" not in endpoint.request("GET", "k", params={"uploadId": plain.upload_id}).text


def test_the_clients_own_resumable_upload_and_download(bucket: oss2.Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(PART * 5 + 77))
    oss2.resumable_upload(
        bucket, "k", str(source), multipart_threshold=PART, part_size=PART, num_threads=3,
        store=oss2.ResumableStore(root=str(tmp_path)),
    )  # fmt: skip
    oss2.resumable_download(
        bucket, "k", str(target), multiget_threshold=PART, part_size=PART, num_threads=3,
        store=oss2.ResumableDownloadStore(root=str(tmp_path)),
    )  # fmt: skip
    assert target.read_bytes() == source.read_bytes()


def test_byte_ranges_of_an_object_become_parts(bucket: oss2.Bucket) -> None:
    data = os.urandom(PART * 3)
    bucket.put_object("src", data)
    upload = bucket.init_multipart_upload("dst")
    first = bucket.upload_part_copy("photos", "src", (PART, 2 * PART - 1), "dst", upload.upload_id, 1)
    second = bucket.upload_part_copy("photos", "src", (None, None), "dst", upload.upload_id, 2)
    bucket.complete_multipart_upload("dst", upload.upload_id, [PartInfo(1, first.etag), PartInfo(2, second.etag)])
    assert bucket.get_object("dst").read() == data[PART : 2 * PART] + data


def test_completing_refuses_what_does_not_fit(bucket: oss2.Bucket) -> None:
    upload = bucket.init_multipart_upload("k")
    small = bucket.upload_part("k", upload.upload_id, 1, b"small")
    large = bucket.upload_part("k", upload.upload_id, 2, b"x" * PART)

    def code(*parts: PartInfo) -> str:
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            bucket.complete_multipart_upload("k", upload.upload_id, list(parts))
        return str(caught.value.code)

    one, two = PartInfo(1, small.etag), PartInfo(2, large.etag)
    assert code(one, two) == "EntityTooSmall"
    assert code(PartInfo(1, large.etag)) == "InvalidPart"
    assert code(PartInfo(3, large.etag)) == "InvalidPart"
    assert code(PartInfo(2, large.etag), PartInfo(2, large.etag)) == "InvalidPartOrder"
    bucket.complete_multipart_upload("k", upload.upload_id, [two])
    assert bucket.get_object("k").read() == b"x" * PART
    assert code(two) == "NoSuchUpload"


def test_part_numbers_have_bounds(bucket: oss2.Bucket) -> None:
    upload = bucket.init_multipart_upload("k")
    for number in (0, 10_001):
        with pytest.raises(oss2.exceptions.InvalidArgument):
            bucket.upload_part("k", upload.upload_id, number, b"data")
    bucket.upload_part("k", upload.upload_id, 10_000, b"data")


def test_an_aborted_upload_is_gone_with_its_parts(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    upload = bucket.init_multipart_upload("k")
    bucket.upload_part("k", upload.upload_id, 1, b"data")
    bucket.abort_multipart_upload("k", upload.upload_id)
    assert endpoint.files() == {}
    for attempt in (
        lambda: bucket.upload_part("k", upload.upload_id, 1, b"data"),
        lambda: bucket.list_parts("k", upload.upload_id),
        lambda: bucket.abort_multipart_upload("k", upload.upload_id),
    ):
        with pytest.raises(oss2.exceptions.NoSuchUpload):
            attempt()
    assert endpoint.files() == {}


def test_uploads_are_listed_folded_and_in_pages(bucket: oss2.Bucket) -> None:
    started = [(key, bucket.init_multipart_upload(key).upload_id) for key in ("a/1", "a/2", "b", "b", "c")]
    found = [(u.key, u.upload_id) for u in oss2.MultipartUploadIterator(bucket, max_uploads=2)]
    assert found == sorted(started)
    page = bucket.list_multipart_uploads(delimiter="/", max_uploads=2)
    assert (page.prefix_list, [u.key for u in page.upload_list], page.is_truncated) == (["a/"], ["b"], True)
    rest = bucket.list_multipart_uploads(
        delimiter="/", key_marker=page.next_key_marker, upload_id_marker=page.next_upload_id_marker
    )
    assert (rest.prefix_list, [u.key for u in rest.upload_list], rest.is_truncated) == ([], ["b", "c"], False)


def test_appending(bucket: oss2.Bucket) -> None:
    first = bucket.append_object("log", 0, b"one", headers={"Content-Type": "text/log"}, init_crc=0)
    assert (first.next_position, first.crc) == (3, fastcrc.crc64.xz(b"one"))
    second = bucket.append_object("log", 3, b"two" * 100_000, init_crc=first.crc)
    whole = b"one" + b"two" * 100_000
    assert second.crc == fastcrc.crc64.xz(whole)
    assert bucket.get_object("log").read() == whole
    head = bucket.head_object("log")
    assert (head.object_type, head.content_type) == ("Appendable", "text/log")
    assert int(head.headers["x-oss-next-append-position"]) == len(whole)
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength) as caught:
        bucket.append_object("log", 3, b"three")
    assert caught.value.next_position == len(whole)
    bucket.put_object("log", b"plain")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        bucket.append_object("log", 5, b"more")


def test_an_upload_that_forbids_overwriting_says_so_at_its_beginning_and_its_end(bucket: oss2.Bucket) -> None:
    forbid = {"x-oss-forbid-overwrite": "true"}
    upload = bucket.init_multipart_upload("k", headers=forbid).upload_id
    parts = [oss2.models.PartInfo(1, bucket.upload_part("k", upload, 1, b"new").etag)]
    bucket.put_object("k", b"old")
    for attempt in (
        lambda: bucket.init_multipart_upload("k", headers=forbid),
        lambda: bucket.complete_multipart_upload("k", upload, parts),
    ):
        with pytest.raises(oss2.exceptions.ServerError) as caught:
            attempt()
        assert (caught.value.status, caught.value.code) == (409, "FileAlreadyExists")
    assert bucket.get_object("k").read() == b"old"
    bucket.delete_object("k")
    bucket.complete_multipart_upload("k", upload, parts)
    assert bucket.get_object("k").read() == b"new"
