"""Log groups in protobuf: what the official client writes is read, what is written it reads, and rubbish is refused."""

import contextlib

import pytest
from aliyun.log.proto import LogGroupListRaw, LogGroupRaw
from hypothesis import given, settings
from hypothesis import strategies as st

from sesame.model.logstore import LogGroup, LogRecord
from sesame.sls import protobuf
from sesame.sls.errors import SlsError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=4).map(tuple)
RECORDS = st.builds(LogRecord, st.integers(1, 2**32 - 1), st.integers(0, 10**9 - 1), PAIRS)
GROUPS = st.builds(LogGroup, st.lists(RECORDS, max_size=4).map(tuple), TEXTS, TEXTS, PAIRS)
# Bytes that are often nearly a message: tags of its fields, and lengths.
NEARLY = st.lists(
    st.sampled_from([b"\x0a\x02", b"\x08\x01", b"\x12\x04", b"\x25", b"\x32", b"\xff" * 9, b"\x00", b"abc"]),
    max_size=12,
).map(b"".join)


def by_client(group: LogGroup) -> bytes:
    message = LogGroupRaw(Topic=group.topic, Source=group.source)
    for key, value in group.tags:
        message.LogTags.add(Key=key, Value=value)
    for record in group.records:
        log = message.Logs.add(Time=record.time_s, Time_ns=record.time_ns)
        for key, value in record.contents:
            log.Contents.add(Key=key, Value=value.encode())
    return bytes(message.SerializeToString())


@given(GROUPS)
@settings(max_examples=25, deadline=None)
def test_the_reader_gives_what_the_client_wrote(group: LogGroup) -> None:
    assert protobuf.read_group(by_client(group)) == group


@given(st.lists(GROUPS, max_size=3))
@settings(max_examples=15, deadline=None)
def test_the_client_reads_what_is_written(groups: list[LogGroup]) -> None:
    message = LogGroupListRaw()
    message.ParseFromString(protobuf.write_groups(groups))
    assert [protobuf.read_group(each.SerializeToString()) for each in message.LogGroups] == groups


@given(st.one_of(st.binary(max_size=300), NEARLY, GROUPS.map(by_client).map(lambda data: data[:-1])))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    refused_or_read(data)


def refused_or_read(data: bytes) -> None:
    with contextlib.suppress(SlsError):
        assert all(record.time_s > 0 for record in protobuf.read_group(data).records)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x0a\x05abc", "PostBodyInvalid"),
        (b"\x0a\x00", "InvalidTimestamp"),
        (b"\x0a\x07\x08\x01\x25\xff\xff\xff\xff", "InvalidTimestamp"),
        (b"\x1a\x01\xff", "InvalidEncoding"),
        (b"\x0a\x00" * (protobuf.RECORDS_MAX + 1), "PostBodyTooLarge"),
    ],
    ids=["cut off", "no time", "nanoseconds", "no UTF-8", "too many"],
)
def test_what_is_wrong_has_the_code_of_the_api(data: bytes, code: str) -> None:
    with pytest.raises(SlsError) as refused:
        protobuf.read_group(data)
    assert refused.value.code == code
