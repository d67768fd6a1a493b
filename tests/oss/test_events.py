"""Which events each operation writes into the outbox, and what they say; a bucket that nothing watches writes none.

Run by pytest against a real endpoint on a free port. What becomes of the events is tested in tests/triggers.
"""

from collections.abc import Iterator

import msgspec
import oss2
import pytest
from oss2.models import PartInfo
from tests.oss.conftest import ACCOUNT, OTHER_ACCOUNT, RunningEndpoint
from tests.oss.test_lifecycle import DAYS, apply, put
from tests.oss.test_post_object import policy, post, v1

from sesame.model import object_event, records
from sesame.model.bucket import Bucket
from sesame.model.errors import NotFound
from sesame.model.object_event import Cause, ObjectEvent
from sesame.store import outbox
from sesame.store.objects.events import Watch
from sesame.store.objects.multipart import Uploads

PART = b"p" * 102_400
ALL = frozenset(object_event.RAISED)


class Events:
    """What is in the outbox, for a trigger that watches the whole bucket."""

    def __init__(self, endpoint: RunningEndpoint) -> None:
        self._endpoint = endpoint
        self.watch()

    def watch(self, events: frozenset[str] = ALL, prefix: str = "", suffix: str = "", account: str = ACCOUNT) -> None:
        watch = Watch(trigger="s/f/t", trigger_id="id", account_id=account, events=events, prefix=prefix, suffix=suffix)
        self._endpoint.call(lambda: self._endpoint.objects.events.watch({"photos": [watch]}))

    def close(self) -> None:
        self._endpoint.call(lambda: self._endpoint.objects.events.watch({}))
        self.take()

    def take(self) -> list[ObjectEvent]:
        """All since the last time, in order of commit."""
        database = self._endpoint.database
        found = self._endpoint.run(database.read(lambda c: outbox.pending(c, outbox.OBJECT_EVENT)))
        self._endpoint.run(database.write(lambda c: outbox.remove_each(c, found)))
        return [msgspec.json.decode(entry.payload, type=ObjectEvent) for entry in found]

    def brief(self) -> list[tuple[str, str, int, int]]:
        return [(event.cause.event, event.key, event.size, event.delta_size) for event in self.take()]


@pytest.fixture
def events(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> Iterator[Events]:
    events = Events(endpoint)
    yield events
    events.close()


def test_every_way_to_make_and_remove_an_object_is_an_event(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events
) -> None:
    bucket.put_object("a", b"12345")
    bucket.put_object("a", b"123")
    bucket.copy_object("photos", "a", "b")
    bucket.put_symlink("a", "link")
    bucket.append_object("log", 0, b"first")
    bucket.append_object("log", 5, b"and more")
    assert post(endpoint, {"key": "in/form", **v1(policy())}).status_code == 204
    assert events.brief() == [
        ("ObjectCreated:PutObject", "a", 5, 5),
        ("ObjectCreated:PutObject", "a", 3, -2),
        ("ObjectCreated:CopyObject", "b", 3, 3),
        ("ObjectCreated:PutSymlink", "link", 0, 0),
        ("ObjectCreated:AppendObject", "log", 5, 5),
        ("ObjectCreated:AppendObject", "log", 13, 8),
        ("ObjectCreated:PostObject", "in/form", 4, 4),
    ]
    bucket.delete_object("a")
    bucket.batch_delete_objects(["b", "link", "never there"])
    assert events.brief() == [
        ("ObjectRemoved:DeleteObject", "a", 3, -3),
        ("ObjectRemoved:DeleteObjects", "b", 3, -3),
        ("ObjectRemoved:DeleteObjects", "link", 0, 0),
    ]


def test_a_multipart_upload_has_an_event_for_each_step(bucket: oss2.Bucket, events: Events) -> None:
    bucket.put_object("source", b"source")
    upload = bucket.init_multipart_upload("film").upload_id
    parts = [PartInfo(1, bucket.upload_part("film", upload, 1, PART).etag)]
    parts.append(PartInfo(2, bucket.upload_part_copy("photos", "source", (0, 5), "film", upload, 2).etag))
    bucket.complete_multipart_upload("film", upload, parts)
    other = bucket.init_multipart_upload("never").upload_id
    bucket.abort_multipart_upload("never", other)
    assert events.brief()[1:] == [
        ("ObjectCreated:InitiateMultipartUpload", "film", 0, 0),
        ("ObjectCreated:UploadPart", "film", 102_400, 0),
        ("ObjectCreated:UploadPartCopy", "film", 6, 0),
        ("ObjectCreated:CompleteMultipartUpload", "film", 102_406, 102_406),
        ("ObjectCreated:InitiateMultipartUpload", "never", 0, 0),
        ("ObjectRemoved:AbortMultipartUpload", "never", 0, 0),
    ]


def test_the_growth_of_all_events_of_a_key_adds_up_to_its_size(bucket: oss2.Bucket, events: Events) -> None:
    def upload(key: str, *bodies: bytes) -> None:
        number = bucket.init_multipart_upload(key).upload_id
        # The first part is replaced, and one more is left out of the object.
        bucket.upload_part(key, number, 1, PART + b"replaced")
        bucket.upload_part(key, number, 99, b"left out")
        sent = [PartInfo(i, bucket.upload_part(key, number, i, body).etag) for i, body in enumerate(bodies, 1)]
        bucket.complete_multipart_upload(key, number, sent)

    def steps() -> Iterator[object]:
        yield upload("k", PART, b"12345")
        yield upload("k", b"123")
        yield bucket.put_object("k", b"1234567")
        yield upload("k", PART)
        yield bucket.put_object("source", b"12")
        yield bucket.copy_object("photos", "source", "k")
        yield bucket.copy_object("photos", "k", "k", {"x-oss-metadata-directive": "REPLACE"})
        yield bucket.put_symlink("source", "k")
        yield bucket.delete_object("k")
        yield bucket.append_object("k", 0, b"first")
        yield bucket.append_object("k", 5, b"")
        yield bucket.append_object("k", 5, b"second")
        yield upload("k", b"over an appended one")
        yield bucket.abort_multipart_upload("k", bucket.init_multipart_upload("k").upload_id)
        yield bucket.batch_delete_objects(["k", "k", "source"])

    grown: dict[str, int] = {}
    for _ in steps():
        for _event, key, _size, delta in events.brief():
            grown[key] = grown.get(key, 0) + delta
        here = {each.key: each.size for each in oss2.ObjectIterator(bucket)}
        assert {key: size for key, size in grown.items() if size} == {k: s for k, s in here.items() if s}
    assert grown == {"k": 0, "source": 0}


def test_what_lifecycle_rules_remove_has_events_in_the_owners_name(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events
) -> None:
    bucket.put_object("p/old", b"data")
    upload = bucket.init_multipart_upload("p/never").upload_id
    assert put(endpoint, DAYS + b"<AbortMultipartUpload><Days>3</Days></AbortMultipartUpload>") == (200, "")
    events.take()
    assert apply(endpoint, 4) == 2
    found = events.take()
    assert [(event.cause.event, event.key) for event in found] == [
        ("ObjectRemoved:DeleteObject", "p/old"),
        ("ObjectRemoved:AbortMultipartUpload", "p/never"),
    ]
    assert {(event.cause.principal_id, event.cause.source_ip) for event in found} == {(ACCOUNT, "")}
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.abort_multipart_upload("p/never", upload)


def test_uploads_that_are_given_up_have_events(endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events) -> None:
    bucket.init_multipart_upload("never")
    events.take()
    uploads = Uploads(endpoint.objects, endpoint.clock)
    assert endpoint.run(uploads.abort_old(-1.0)) == 1
    assert events.brief() == [("ObjectRemoved:AbortMultipartUpload", "never", 0, 0)]


def test_an_event_says_what_happened_and_who_asked(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events
) -> None:
    answer = bucket.put_object("naïve/ü+ %25.txt", b"12345", {"Content-Type": "text/x", "x-oss-meta-a": "1"})
    (event,) = events.take()
    cause = event.cause
    assert (event.bucket, event.key, event.etag) == ("photos", "naïve/ü+ %25.txt", answer.etag)
    assert (event.mime_type, event.user_meta, event.trigger_id) == ("text/x", {"x-oss-meta-a": "1"}, "id")
    assert (cause.request_id, cause.source_ip, cause.principal_id) == (answer.request_id, "127.0.0.1", ACCOUNT)
    assert abs(cause.at - endpoint.clock()) < 10
    endpoint.bucket(auth=endpoint.sts(session="photos-service")).delete_object(event.key)
    (event,) = events.take()
    role = endpoint.roles.get(ACCOUNT, "aliyunfcdefaultrole")
    assert role is not None
    assert event.cause.principal_id == f"{role.role_id}:photos-service"


def test_only_what_a_trigger_asks_for_is_written(bucket: oss2.Bucket, events: Events) -> None:
    events.watch(frozenset({"ObjectCreated:PutObject"}), "in/", ".jpg")
    for key in ("in/a.jpg", "in/a.png", "out/a.jpg", "in/.jpg", "in/b.jpg.txt"):
        bucket.put_object(key, b"")
    bucket.copy_object("photos", "in/a.jpg", "in/copy.jpg")
    bucket.delete_object("in/a.jpg")
    assert [event.key for event in events.take()] == ["in/a.jpg", "in/.jpg"]


def test_nothing_is_written_for_a_bucket_that_nothing_watches(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events
) -> None:
    other = endpoint.bucket("unwatched")
    other.create_bucket()
    other.put_object("a", b"")
    other.delete_object("a")
    other.delete_bucket()
    events.watch(account=OTHER_ACCOUNT)
    bucket.put_object("a", b"")
    assert events.take() == []


def test_what_is_refused_has_no_event(endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events) -> None:
    bucket.put_object("a", b"1")
    bucket.append_object("log", 0, b"1")
    events.take()
    with pytest.raises(oss2.exceptions.ServerError, match="FileAlreadyExists"):
        bucket.put_object("a", b"2", {"x-oss-forbid-overwrite": "true"})
    with pytest.raises(oss2.exceptions.ServerError, match="FileAlreadyExists"):
        bucket.put_symlink("log", "a", {"x-oss-forbid-overwrite": "true"})
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength):
        bucket.append_object("log", 0, b"2")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.copy_object("photos", "absent", "b")
    upload = bucket.init_multipart_upload("film").upload_id
    events.take()
    with pytest.raises(oss2.exceptions.ServerError, match="InvalidPart"):
        bucket.complete_multipart_upload("film", upload, [PartInfo(1, "0" * 32)])
    bucket.delete_object("absent")
    bucket.put_object_acl("a", "private")
    assert events.take() == []


def test_a_metadata_change_by_copy_is_an_event_and_a_tag_is_none(bucket: oss2.Bucket, events: Events) -> None:
    bucket.put_object("a", b"123")
    events.take()
    bucket.update_object_meta("a", {"x-oss-meta-b": "2"})
    (event,) = events.take()
    assert (event.cause.event, event.delta_size, event.user_meta) == (
        "ObjectCreated:CopyObject", 0, {"x-oss-meta-b": "2"},
    )  # fmt: skip


def test_a_callback_follows_every_commit(endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events) -> None:
    called: list[int] = []
    endpoint.call(lambda: endpoint.objects.events.on_events(lambda: called.append(len(called))))
    bucket.put_object("a", b"")
    bucket.delete_object("a")
    bucket.append_object("log", 0, b"1")
    bucket.append_object("log", 1, b"1")
    upload = bucket.init_multipart_upload("film").upload_id
    bucket.upload_part("film", upload, 1, b"1")
    bucket.abort_multipart_upload("film", upload)
    assert called == list(range(7))


def test_a_bucket_that_came_to_another_account_meanwhile_takes_nothing(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, events: Events
) -> None:
    """As by an upload that begins before its bucket is deleted and ends after another account has made it again."""
    bucket.put_object("a", b"123")
    stored = endpoint.run(endpoint.objects.head("photos", "a"))
    assert stored is not None
    bucket.delete_object("a")
    events.take()
    mine = Cause(event=object_event.PUT_OBJECT, account_id=ACCOUNT, principal_id=ACCOUNT, at=1.0)

    def give(account: str) -> None:
        document = Bucket("photos", account)
        endpoint.run(endpoint.catalog.edit(lambda tx: tx.put(records.BUCKET, "", "photos", document)))

    give(OTHER_ACCOUNT)
    try:
        with pytest.raises(NotFound):
            endpoint.run(endpoint.objects.put(msgspec.structs.replace(stored, blob=""), mine))
        assert endpoint.run(endpoint.objects.head("photos", "a")) is None
    finally:
        give(ACCOUNT)
    assert events.take() == []
