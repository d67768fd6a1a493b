"""Reads and writes log groups in the Log Service's protobuf messages (reference/companions.md §4.3).

Called by `sls.writing` and `sls.shards`, for large bodies on a thread. A message is either read completely or refused
with the API's error. The protobuf library is imported on first use.
"""

import functools
from collections.abc import Iterable
from typing import Any

from sesame.model.logstore import LogGroup, LogRecord
from sesame.sls.errors import SlsError

CONTENT_TYPE = "application/x-protobuf"
# A few bytes of protobuf become a record or a field: these limits bound the memory that small messages expand to.
RECORDS_MAX = 512_000
FIELDS_MAX = 2_000_000
_NS_MAX = 10**9 - 1
_TYPES = ("bytes", "uint32", "fixed32")
# (field, number, type); `*` marks repeated types. Text is read as bytes, since `read_group` checks its encoding.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "Content": (("Key", 1, "bytes"), ("Value", 2, "bytes")),
    "LogTag": (("Key", 1, "bytes"), ("Value", 2, "bytes")),
    "Log": (("Time", 1, "uint32"), ("Contents", 2, "Content*"), ("Time_ns", 4, "fixed32")),
    "LogGroup": (
        ("Logs", 1, "Log*"),
        ("Reserved", 2, "bytes"),
        ("Topic", 3, "bytes"),
        ("Source", 4, "bytes"),
        ("MachineUUID", 5, "bytes"),
        ("LogTags", 6, "LogTag*"),
    ),
    "LogGroupList": (("LogGroups", 1, "LogGroup*"),),
}


@functools.cache
def _classes() -> dict[str, Any]:
    """Uses a private pool: a client in the same process registers messages of the same names."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="sesame_log_service.proto", package="sesame.sls", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            plain = kind.removesuffix("*")
            added = message.field.add(name=field, number=number)
            added.label = added.LABEL_REPEATED if kind != plain else added.LABEL_OPTIONAL
            if plain in _TYPES:
                added.type = getattr(added, f"TYPE_{plain.upper()}")
            else:
                added.type, added.type_name = added.TYPE_MESSAGE, f".sesame.sls.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"sesame.sls.{name}") for name in _MESSAGES)
    return {each.name: message_factory.GetMessageClass(each) for each in found}


def read_group(data: bytes) -> LogGroup:
    """Parses the log group in a body.

    Raises SlsError: PostBodyInvalid, InvalidTimestamp, InvalidEncoding, InvalidKey.
    """
    from google.protobuf.message import DecodeError

    message = _classes()["LogGroup"]()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise SlsError("PostBodyInvalid") from error
    logs = message.Logs
    if len(logs) > RECORDS_MAX or sum(len(log.Contents) for log in logs) + len(message.LogTags) > FIELDS_MAX:
        raise SlsError(
            "PostBodyTooLarge", f"Logs must be less than or equal to {RECORDS_MAX} entries and {FIELDS_MAX} fields"
        )
    try:
        return LogGroup(
            records=tuple(_record(log) for log in logs),
            topic=message.Topic.decode(),
            source=message.Source.decode(),
            tags=tuple((tag.Key.decode(), tag.Value.decode()) for tag in message.LogTags),
        )
    except UnicodeDecodeError as error:
        raise SlsError("InvalidEncoding") from error


def _record(log: Any) -> LogRecord:
    if not log.Time:
        raise SlsError("InvalidTimestamp", "a log has no time: expected Unix seconds")
    if log.Time_ns > _NS_MAX:
        raise SlsError("InvalidTimestamp", f"Time_ns is {log.Time_ns}: expected at most {_NS_MAX}")
    contents = tuple((content.Key.decode(), content.Value.decode()) for content in log.Contents)
    return LogRecord(log.Time, log.Time_ns, contents)


def write_groups(groups: Iterable[LogGroup]) -> bytes:
    """Encodes a `LogGroupList`. Topic and source are written even if empty, since SDKs require them."""
    message = _classes()["LogGroupList"]()
    for group in groups:
        written = message.LogGroups.add(Topic=group.topic.encode(), Source=group.source.encode())
        for key, value in group.tags:
            written.LogTags.add(Key=key.encode(), Value=value.encode())
        for record in group.records:
            log = written.Logs.add(Time=record.time_s)
            if record.time_ns:
                log.Time_ns = record.time_ns
            for key, value in record.contents:
                log.Contents.add(Key=key.encode(), Value=value.encode())
    data: bytes = message.SerializeToString()
    return data
