"""Requests that meet at one key or one bucket end as if they had come one after the other.

Run by pytest against a real endpoint on a free port, with threads as clients.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import oss2
import pytest
from oss2.models import PartInfo
from tests.oss.conftest import RunningEndpoint

from sesame.store.objects.multipart import PartReplaced, Uploads

rounds = pytest.mark.parametrize("number", range(6))


def outcome(act: Callable[[], object]) -> str:
    """The code of the refusal, "" for a success."""
    try:
        act()
    except oss2.exceptions.ServerError as error:
        return str(error.code)
    return ""


def together(*acts: Callable[[], object]) -> list[str]:
    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(outcome, acts))


def own(endpoint: RunningEndpoint) -> oss2.Bucket:
    """A client of its own, as each thread needs."""
    return endpoint.bucket()


@rounds
def test_of_puts_at_once_one_is_there_whole(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    contents = [bytes([65 + number]) * 300_000 for number in range(4)]
    assert together(*(lambda c=content: own(endpoint).put_object("k", c) for content in contents)) == [""] * 4
    assert bucket.get_object("k").read() in contents
    assert list(endpoint.files().values()).count(300_000) <= 1 + len(contents)


@rounds
def test_of_puts_that_forbid_overwriting_one_succeeds(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int
) -> None:
    forbid = {"x-oss-forbid-overwrite": "true"}
    found = together(*[lambda: own(endpoint).put_object(f"k{number}", b"data", headers=forbid)] * 3)
    assert Counter(found) == {"": 1, "FileAlreadyExists": 2}


@rounds
def test_an_upload_is_completed_once(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    upload = bucket.init_multipart_upload("k").upload_id
    parts = [PartInfo(1, bucket.upload_part("k", upload, 1, b"data").etag)]
    found = together(*[lambda: own(endpoint).complete_multipart_upload("k", upload, parts)] * 3)
    assert Counter(found) == {"": 1, "NoSuchUpload": 2}
    assert bucket.get_object("k").read() == b"data"


@rounds
def test_an_upload_is_completed_or_aborted(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    key = f"k{number}"
    upload = bucket.init_multipart_upload(key).upload_id
    parts = [PartInfo(1, bucket.upload_part(key, upload, 1, b"data").etag)]
    found = together(
        lambda: own(endpoint).complete_multipart_upload(key, upload, parts),
        lambda: own(endpoint).abort_multipart_upload(key, upload),
    )
    assert sorted(found) == ["", "NoSuchUpload"]
    assert bucket.object_exists(key) == (found[0] == "")


@rounds
def test_a_part_that_is_replaced_while_its_upload_completes_counts_or_is_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int
) -> None:
    upload = bucket.init_multipart_upload("k").upload_id
    parts = [PartInfo(1, bucket.upload_part("k", upload, 1, b"old").etag)]
    replaced, completed = together(
        lambda: own(endpoint).upload_part("k", upload, 1, b"new"),
        lambda: own(endpoint).complete_multipart_upload("k", upload, parts),
    )
    # The new part came first, so that the old one cannot be completed; or it came too late.
    assert (replaced, completed) in {("", "InvalidPart"), ("NoSuchUpload", "")}
    if not completed:
        assert bucket.get_object("k").read() == b"old"
    else:
        bucket.abort_multipart_upload("k", upload)


def test_a_part_replaced_between_the_check_and_the_commit_is_noticed(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    uploads = Uploads(endpoint.objects, endpoint.clock)
    upload_id = bucket.init_multipart_upload("k").upload_id
    bucket.upload_part("k", upload_id, 1, b"old")
    upload = endpoint.run(uploads.get("photos", "k", upload_id))
    chosen = endpoint.run(uploads.parts(upload))
    bucket.upload_part("k", upload_id, 1, b"new")
    with pytest.raises(PartReplaced):
        endpoint.run(uploads.complete(upload, chosen))
    assert not bucket.object_exists("k")


@rounds
def test_of_appends_at_one_place_one_succeeds(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    found = together(*[lambda: own(endpoint).append_object(f"k{number}", 0, b"abc")] * 3)
    assert Counter(found) == {"": 1, "PositionNotEqualToLength": 2}
    assert bucket.get_object(f"k{number}").read() == b"abc"


@rounds
def test_a_first_append_never_replaces_a_put(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    key = f"k{number}"
    appended, put = together(
        lambda: own(endpoint).append_object(key, 0, b"appended"), lambda: own(endpoint).put_object(key, b"put")
    )
    assert (appended, put) in {("", ""), ("ObjectNotAppendable", "")}
    assert bucket.get_object(key).read() == b"put"


@rounds
def test_an_acl_set_while_an_object_grows_stays(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    bucket.append_object("k", 0, b"x")
    acl = ("private", "public-read")[number % 2]
    assert together(
        lambda: own(endpoint).append_object("k", 1, b"x"), lambda: own(endpoint).put_object_acl("k", acl)
    ) == [
        "",
        "",
    ]
    assert (bucket.get_object_acl("k").acl, bucket.get_object("k").read()) == (acl, b"xx")


@rounds
def test_a_copy_onto_itself_and_a_put_never_mix(endpoint: RunningEndpoint, bucket: oss2.Bucket, number: int) -> None:
    bucket.put_object("k", b"old", headers={"x-oss-meta-a": "old", "x-oss-tagging": "of=old"})
    assert together(
        lambda: own(endpoint).put_object("k", b"new", headers={"x-oss-meta-a": "new"}),
        lambda: own(endpoint).update_object_meta("k", {"x-oss-meta-a": "copied"}),
    ) == ["", ""]
    found = bucket.get_object("k")
    assert (found.read(), found.headers["x-oss-meta-a"]) in {(b"new", "new"), (b"new", "copied")}
    assert bucket.get_object_tagging("k").tag_set.tagging_rule == {}


@rounds
def test_a_bucket_is_deleted_empty_or_not_at_all(endpoint: RunningEndpoint, number: int) -> None:
    victim = endpoint.bucket("victim")
    victim.create_bucket()
    put, deleted = together(
        lambda: endpoint.bucket("victim").put_object("k", b"data"), lambda: endpoint.bucket("victim").delete_bucket()
    )
    assert (put, deleted) in {("", "BucketNotEmpty"), ("NoSuchBucket", "")}
    if not put:
        victim.delete_object("k")
        victim.delete_bucket()
