"""Which events the pattern of a trigger means."""

import pytest

from sesame.model.object_event import NOT_RAISED, RAISED, named_by

CREATED = {name for name in RAISED if name.startswith("ObjectCreated:")}
REMOVED = {"ObjectRemoved:DeleteObject", "ObjectRemoved:DeleteObjects", "ObjectRemoved:AbortMultipartUpload"}


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("oss:ObjectCreated:*", CREATED),
        ("oss:ObjectRemoved:*", REMOVED),
        ("oss:ObjectCreated:PutObject", {"ObjectCreated:PutObject"}),
        ("oss:ObjectRemoved:DeleteObject", {"ObjectRemoved:DeleteObject"}),
        ("oss:ObjectRemoved:DeleteObject*", {"ObjectRemoved:DeleteObject", "ObjectRemoved:DeleteObjects"}),
        ("oss:ObjectCreated:UploadPart*", {"ObjectCreated:UploadPart", "ObjectCreated:UploadPartCopy"}),
        ("oss:*:Put*ct", {"ObjectCreated:PutObject"}),
        ("oss:*", {*RAISED, *NOT_RAISED}),
        ("oss:**", {*RAISED, *NOT_RAISED}),
        ("oss:ObjectReplication:*", {name for name in NOT_RAISED if "Replication" in name}),
        ("oss:ObjectCreated:", set()),
        ("oss:ObjectCreated", set()),
        ("ObjectCreated:*", set()),
        ("oss:objectcreated:*", set()),
        ("oss:ObjectCreated:PutObject*PutObject", set()),
        ("oss:" + "*a" * 5000, set()),
        ("", set()),
    ],
)
def test_a_pattern_means_the_events_that_it_matches(pattern: str, means: set[str]) -> None:
    assert named_by(pattern) == means


def test_the_events_of_the_clouds_table_are_raised() -> None:
    assert len(CREATED) == 9
    assert set(RAISED) == CREATED | REMOVED
