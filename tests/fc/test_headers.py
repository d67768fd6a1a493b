"""Names on the wire, dates and request ids."""

import uuid

from sesame.fc.headers import DateHeader, canonical, new_request_id, request_id_of


def test_names_are_spelled_as_go_does() -> None:
    spelled = canonical([(b"etag", b"1"), (b"X-OSS-Hash-Crc64ecma", b"2"), (b"content-type", b"3")])
    assert spelled == [(b"Etag", b"1"), (b"X-Oss-Hash-Crc64ecma", b"2"), (b"Content-Type", b"3")]


def test_the_date_is_made_once_a_second() -> None:
    now = [0.0]
    date = DateHeader(lambda: now[0])
    first = date()
    assert first == (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT")
    now[0] = 0.9
    assert date() is first
    now[0] = 61.0
    assert date()[1] == b"Thu, 01 Jan 1970 00:01:01 GMT"


def test_request_ids_are_uuids_of_36_characters() -> None:
    made = {new_request_id() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        assert len(text) == 36
        assert uuid.UUID(text).version == 7
        assert uuid.UUID(text).variant == uuid.RFC_4122


def test_a_trace_id_that_is_a_uuid_becomes_the_request_id() -> None:
    mine = str(uuid.uuid4())
    assert request_id_of(mine.encode()) == mine


def test_any_other_trace_id_does_not() -> None:
    for value in (b"", b"trace-id", b"x" * 36, b"-" * 36, b"\xff" * 36, b"0" * 36, str(uuid.uuid4()).encode()[:-1]):
        found = request_id_of(value)
        assert found != value.decode("latin-1")
        assert uuid.UUID(found).version == 7
