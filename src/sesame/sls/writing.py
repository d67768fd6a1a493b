"""Operations that write logs: PutLogs in protobuf, and web tracking in JSON or in the query string.

Called by `sls.app` through the table of operations.
"""

import asyncio
import base64
import re
from collections.abc import Callable

import msgspec

from sesame.model.logstore import LogGroup, LogRecord
from sesame.sls import protobuf
from sesame.sls.answers import EMPTY, Answer
from sesame.sls.bodies import LOGS_BYTES_MAX, off_loop
from sesame.sls.calls import Call
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.logstores import APPEND_META, TRACKING
from sesame.sls.request import HASH_KEY

OLDEST_S, NEWEST_S = 7 * 86400, 15 * 60
# Names of built-in columns of query results, which fields cannot have.
RESERVED_KEYS = frozenset({"__time__", "__source__", "__topic__"})
TRACK_VERSION = "APIVersion"
# Tiny records take far more memory than their bytes, so larger bodies are parsed one at a time.
ALONE_BYTES = LOGS_BYTES_MAX // 10
_NS = 1_000_000_000
# A GIF of one transparent pixel.
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class _Tracked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of web tracking."""

    logs: list[dict[str, str]] = msgspec.field(name="__logs__")
    topic: str = msgspec.field(default="", name="__topic__")
    source: str = msgspec.field(default="", name="__source__")
    tags: dict[str, str] = msgspec.field(default_factory=dict, name="__tags__")


async def put_logs(call: Call) -> Answer:
    """Writes to the shard of the header `x-log-hashkey`; without it, to each shard in turn."""
    key = call.request.header("x-log-hashkey")
    await _append(call, await _read_group(call), hash_key=_checked(key, "x-log-hashkey") if key else None)
    return EMPTY


async def put_logs_by_key(call: Call) -> Answer:
    await _append(call, await _read_group(call), hash_key=_checked(call.text("key"), "key"))
    return EMPTY


def _checked(key: str, name: str) -> str:
    if not HASH_KEY.match(key):
        raise parameter_invalid(name, "32 hexadecimal digits", key[:64])
    return key.lower()


async def track(call: Call) -> Answer:
    """Writes many logs in JSON, without a signature."""

    def read() -> LogGroup:
        sent = call.json(_Tracked, "PostBodyInvalid")
        if len(sent.logs) > protobuf.RECORDS_MAX:
            raise SlsError("PostBodyTooLarge", f"__logs__ must be less than or equal to {protobuf.RECORDS_MAX} entries")
        records = tuple(_tracked_record(call, each) for each in sent.logs)
        return LogGroup(records, sent.topic, sent.source or call.request.client_ip, tuple(sent.tags.items()))

    await _append(call, await _read_in_turn(call, read), hash_key=None)
    return EMPTY


async def track_one(call: Call) -> Answer:
    """Writes one log from the query string, without a signature."""
    await _track_query(call, {})
    return EMPTY


async def track_gif(call: Call) -> Answer:
    await _track_query(call, {})
    return Answer(headers={"Content-Type": "image/gif"}, body=_GIF)


async def track_gif_with_agent(call: Call) -> Answer:
    """Like `track_gif`, with the browser's User-Agent and Referer as additional fields."""
    own = {"__userAgent__": call.request.header("user-agent"), "__referer__": call.request.header("referer")}
    await _track_query(call, own)
    return Answer(headers={"Content-Type": "image/gif"}, body=_GIF)


async def preflight(call: Call) -> Answer:
    """Answers the CORS preflight of a browser that sends JSON from a page of another origin."""
    asked = call.request.header("access-control-request-headers", "*")
    return Answer(
        headers={
            "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
            "Access-Control-Allow-Headers": re.sub(r"[^A-Za-z0-9,* _-]", "", asked),
            "Access-Control-Max-Age": "86400",
        }
    )


async def _track_query(call: Call, own: dict[str, str]) -> None:
    fields = dict(call.request.query)
    if not fields.pop(TRACK_VERSION, ""):
        raise SlsError("MissingAPIVersion", f"parameter {TRACK_VERSION} is missing: expected 0.6.0")
    topic = fields.pop("__topic__", "")
    source = fields.pop("__source__", "") or call.request.client_ip
    await _append(call, LogGroup((_tracked_record(call, fields | own),), topic, source), hash_key=None)


async def require_tracking(call: Call) -> None:
    """Runs before the body is read, since the sender is not authenticated. Raises SlsError."""
    logstore = await call.store.logstore(call.project, call.logstore)
    if not logstore.options.get(TRACKING):
        raise SlsError(
            "Unauthorized", f"logstore {call.logstore} takes no web tracking: set enable_tracking, or sign the request"
        )


def _tracked_record(call: Call, fields: dict[str, str]) -> LogRecord:
    """A record with the current time: pages send none."""
    now_ns = int(call.dependencies.clock() * _NS)
    contents = tuple((key, value) for key, value in fields.items() if key != "__time__")
    return LogRecord(now_ns // _NS, now_ns % _NS, contents)


async def _read_group(call: Call) -> LogGroup:
    content_type = call.request.header("content-type").partition(";")[0].strip().lower()
    if not content_type:
        raise SlsError("MissingContentType")
    if content_type != protobuf.CONTENT_TYPE:
        raise SlsError(
            "InvalidContentType", f"Content-Type {content_type[:64]} is unsupported: send {protobuf.CONTENT_TYPE}"
        )

    def read() -> LogGroup:
        return protobuf.read_group(call.body)

    return await _read_in_turn(call, read)


async def _read_in_turn(call: Call, read: Callable[[], LogGroup]) -> LogGroup:
    if len(call.body) <= ALONE_BYTES:
        return await off_loop(len(call.body), read)
    async with call.dependencies.reading:
        return await asyncio.to_thread(read)


async def _append(call: Call, group: LogGroup, *, hash_key: str | None) -> None:
    await off_loop(len(call.body), lambda: _check(group, call.dependencies.clock()))
    logstore = await call.store.logstore(call.project, call.logstore)
    if not group.records:
        return
    if logstore.options.get(APPEND_META):
        received = str(int(call.dependencies.clock()))
        meta = (("__client_ip__", call.request.client_ip), ("__receive_time__", received))
        group = msgspec.structs.replace(group, tags=(*group.tags, *meta))
    await call.store.append(call.project, call.logstore, group, hash_key=hash_key)


def _check(group: LogGroup, now: float) -> None:
    oldest, newest = now - OLDEST_S, now + NEWEST_S
    for record in group.records:
        if not oldest <= record.time_s <= newest:
            raise SlsError(
                "PostBodyInvalid",
                f"The post data time is out of range: found {record.time_s}, expected {int(oldest)} to {int(newest)}",
            )
        for key, _value in record.contents:
            if not key or key in RESERVED_KEYS:
                raise SlsError("InvalidKey", f"a log has a field with the key '{key}', which is no key of a field")
