"""Lifecycle rules: kept as they were given, refused where they would not be obeyed, and obeyed when they are due.

Run by pytest against a real endpoint on a free port, with the time in the tests' hands.
"""

import time
from datetime import date
from typing import Any

import oss2
import pytest
from oss2.models import BucketLifecycle, LifecycleExpiration, LifecycleRule, StorageTransition
from tests.oss.conftest import RunningEndpoint

from sesame.control.buckets import Buckets
from sesame.oss.lifecycle import Lifecycle
from sesame.store.objects.multipart import Uploads

DAY_S = 86_400
RULE = b"<Rule><ID>r</ID><Prefix>p/</Prefix><Status>Enabled</Status>%s</Rule>"
DAYS = b"<Expiration><Days>3</Days></Expiration>"


def put(endpoint: RunningEndpoint, actions: bytes, **headers: str) -> tuple[int, str]:
    response = endpoint.request(
        "PUT",
        params={"lifecycle": ""},
        body=b"<LifecycleConfiguration>%s</LifecycleConfiguration>" % (RULE % actions),
        headers=headers,
    )
    return response.status_code, response.text.partition("<Code>")[2].partition("</Code>")[0]


def apply(endpoint: RunningEndpoint, days: float) -> int:
    """Acts on what is due so many days from now."""
    lifecycle = Lifecycle(Buckets(endpoint.catalog), endpoint.objects, Uploads(endpoint.objects, endpoint.clock))
    return endpoint.run(lifecycle.apply(endpoint.clock() + days * DAY_S))


def keys(bucket: oss2.Bucket) -> list[str]:
    return [found.key for found in oss2.ObjectIterator(bucket)]


def test_objects_expire_below_their_prefix_and_not_before_their_time(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    for key in ("p/a", "p/b", "q"):
        bucket.put_object(key, b"data")
    files = len(endpoint.files())
    assert put(endpoint, DAYS) == (200, "")
    assert apply(endpoint, 2.9) == 0
    assert apply(endpoint, 3.1) == 2
    assert keys(bucket) == ["q"]
    assert len(endpoint.files()) == files - 2


def test_only_what_a_rule_means_expires(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("p/small", b"d")
    bucket.put_object("p/tagged", b"data", headers={"x-oss-tagging": "k=v"})
    bucket.put_object("p/kept/tagged", b"data", headers={"x-oss-tagging": "k=v"})
    bucket.put_object("p/other", b"data", headers={"x-oss-tagging": "k=w"})
    conditions = b"""<Tag><Key>k</Key><Value>v</Value></Tag><Filter><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>
        <Not><Prefix>p/kept/</Prefix></Not></Filter>"""
    assert put(endpoint, DAYS + conditions) == (200, "")
    assert apply(endpoint, 4) == 1
    assert keys(bucket) == ["p/kept/tagged", "p/other", "p/small"]


def test_dates_mean_what_is_older(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("p/a", b"data")
    past = b"<CreatedBeforeDate>2016-12-25T00:00:00.000Z</CreatedBeforeDate>"
    future = b"<CreatedBeforeDate>9000-12-25T00:00:00.000Z</CreatedBeforeDate>"
    later = b"<Date>9000-12-25T00:00:00.000Z</Date>"
    for due, acted in ((past, 0), (later, 0), (future, 1)):
        assert put(endpoint, b"<Expiration>%s</Expiration>" % due) == (200, "")
        assert apply(endpoint, 0) == acted


def test_what_was_written_again_is_left(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("p/a", b"old")
    found = endpoint.run(endpoint.objects.head("photos", "p/a"))
    assert found is not None
    bucket.put_object("p/a", b"new")
    assert endpoint.run(endpoint.objects.delete_unchanged("photos", [found])) == 0
    assert bucket.get_object("p/a").read() == b"new"


def test_objects_move_to_the_coldest_class_that_is_due_and_never_back(
    endpoint: RunningEndpoint, bucket: oss2.Bucket
) -> None:
    bucket.put_object("p/a", b"data")
    rule = LifecycleRule("r", "p/", status=LifecycleRule.ENABLED, expiration=LifecycleExpiration(days=9))
    rule.storage_transitions = [
        StorageTransition(days=5, storage_class="Archive"),
        StorageTransition(days=3, storage_class="IA"),
    ]
    bucket.put_bucket_lifecycle(BucketLifecycle([rule]))
    for days, acted, storage_class in (
        (2, 0, "Standard"),
        (4, 1, "IA"),
        (4, 0, "IA"),
        (6, 1, "Archive"),
        (4, 0, "Archive"),
    ):
        assert apply(endpoint, days) == acted
        assert bucket.head_object("p/a").headers["x-oss-storage-class"] == storage_class
    assert apply(endpoint, 10) == 1
    assert keys(bucket) == []


def test_uploads_are_aborted(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.init_multipart_upload("p/a")
    bucket.init_multipart_upload("q")
    assert put(endpoint, b"<AbortMultipartUpload><Days>1</Days></AbortMultipartUpload>") == (200, "")
    assert apply(endpoint, 2) == 1
    assert [upload.key for upload in oss2.MultipartUploadIterator(bucket)] == ["q"]


def test_a_rule_that_is_disabled_or_deleted_does_nothing(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    bucket.put_object("p/a", b"data")
    rule = LifecycleRule("r", "p/", status=LifecycleRule.DISABLED, expiration=LifecycleExpiration(days=1))
    bucket.put_bucket_lifecycle(BucketLifecycle([rule]))
    assert apply(endpoint, 9) == 0
    bucket.delete_bucket_lifecycle()
    with pytest.raises(oss2.exceptions.NoSuchLifecycle):
        bucket.get_bucket_lifecycle()
    assert apply(endpoint, 9) == 0
    assert keys(bucket) == ["p/a"]


def test_rules_are_told_as_they_were_given(bucket: oss2.Bucket) -> None:
    rule = LifecycleRule(
        "r",
        "p/",
        status=LifecycleRule.ENABLED,
        expiration=LifecycleExpiration(created_before_date=date(2016, 12, 25)),
        storage_transitions=[StorageTransition(created_before_date=date(2015, 1, 1), storage_class="IA")],
        abort_multipart_upload=oss2.models.AbortMultipartUpload(days=3),
    )
    bucket.put_bucket_lifecycle(BucketLifecycle([rule]))
    (found,) = bucket.get_bucket_lifecycle().rules
    assert (found.id, found.prefix, found.status) == ("r", "p/", "Enabled")
    assert found.expiration.created_before_date == date(2016, 12, 25)
    assert found.storage_transitions[0].created_before_date == date(2015, 1, 1)
    assert found.abort_multipart_upload.days == 3


@pytest.mark.parametrize(
    ("actions", "refusal"),
    [
        (b"", "MalformedXML"),
        (b"<Expiration/>", "MalformedXML"),
        (b"<Expiration><Days>1</Days><Date>2026-01-01T00:00:00.000Z</Date></Expiration>", "MalformedXML"),
        (b"<Expiration><Days>0</Days></Expiration>", "InvalidArgument"),
        (b"<Expiration><Days>-1</Days></Expiration>", "InvalidArgument"),
        (b"<Expiration><Days>%s</Days></Expiration>" % (b"9" * 5000), "InvalidArgument"),
        (b"<Expiration><Date>2026-02-31T00:00:00.000Z</Date></Expiration>", "InvalidArgument"),
        (b"<Expiration><Date>soon</Date></Expiration>", "InvalidArgument"),
        (b"<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>", "NotImplemented"),
        (b"<NoncurrentVersionExpiration/>", "NotImplemented"),
        (b"<Transition><Days>1</Days><StorageClass>Standard</StorageClass></Transition>", "InvalidArgument"),
        (b"<Transition><IsAccessTime>true</IsAccessTime></Transition>", "NotImplemented"),
        (DAYS + b"<Transition><Days>3</Days><StorageClass>IA</StorageClass></Transition>", "InvalidArgument"),
        (DAYS + b"<Tag><Key>%&amp;</Key><Value>v</Value></Tag>", "InvalidArgument"),
        (DAYS + b"<Filter><Not><Prefix>elsewhere/</Prefix></Not></Filter>", "InvalidArgument"),
        (DAYS + b"<SomethingNew/>", "NotImplemented"),
    ],
)  # fmt: skip
def test_rules_that_would_not_be_obeyed_are_refused(
    endpoint: RunningEndpoint, bucket: oss2.Bucket, actions: bytes, refusal: str
) -> None:
    assert put(endpoint, actions) == (400, refusal)
    with pytest.raises(oss2.exceptions.NoSuchLifecycle):
        bucket.get_bucket_lifecycle()


def test_an_expiration_may_be_said_twice(endpoint: RunningEndpoint, bucket: oss2.Bucket) -> None:
    """As the official client for Node.js sends rules of its earlier form."""
    date = b"2020-02-18T00:00:00.000Z"
    by_date = b"<Date>%s</Date><Expiration><CreatedBeforeDate>%s</CreatedBeforeDate></Expiration>" % (date, date)
    assert put(endpoint, b"<Days>1</Days><Expiration><Days>1</Days></Expiration>")[0] == 200
    assert put(endpoint, by_date)[0] == 200
    bucket.delete_bucket_lifecycle()
    for unlike in (
        b"<Days>2</Days><Expiration><Days>1</Days></Expiration>", b"<Days>1</Days>", b"<Date>%s</Date>" % date,
        b"<Days/><Expiration><Date>%s</Date></Expiration>" % date,
    ):  # fmt: skip
        assert put(endpoint, unlike) == (400, "NotImplemented")


def test_rules_that_overlap_are_refused_unless_that_is_meant(bucket: oss2.Bucket) -> None:
    def rules(*prefixes: str) -> Any:
        return BucketLifecycle(
            [LifecycleRule(prefix, prefix, expiration=LifecycleExpiration(days=1)) for prefix in prefixes]
        )

    with pytest.raises(oss2.exceptions.InvalidArgument) as caught:
        bucket.put_bucket_lifecycle(rules("a/", "b", "a/b", "a0"))
    assert caught.value.message == "Overlap for same action type Expiration"
    bucket.put_bucket_lifecycle(rules("a/", "a/b"), headers={"x-oss-allow-same-action-overlap": "true"})
    started = time.process_time()
    bucket.put_bucket_lifecycle(rules(*(f"{number:04}" for number in range(1000))))
    assert time.process_time() - started < 5
