"""Operations on shards: list, split, merge, and read from a cursor (GetCursor, GetCursorTime, PullLogs).

Called by `sls.app` through the table of operations.
"""

from collections.abc import Sequence
from typing import Literal

from sesame.model.natural import natural
from sesame.sls import protobuf
from sesame.sls.answers import Answer, json_answer
from sesame.sls.bodies import off_loop, packed
from sesame.sls.calls import Call
from sesame.sls.cursors import cursor_text, read_cursor
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.request import HASH_KEY, NUMBER_MAX
from sesame.store.logs.logstores.interface import Shard

GROUPS_MAX = 1000
SPLIT_MAX = 10
# The approximate size in protobuf of a record with a few fields.
RECORD_BYTES = 256


async def list_shards(call: Call) -> Answer:
    return _shards_answer(await call.store.shards(call.project, call.logstore))


async def split_shard(call: Call) -> Answer:
    """Splits a shard at the hash key `key`, or without one into `shardCount` equal parts."""
    shard, key, count = shard_of(call), call.text("key").lower(), call.number("shardCount", 2)
    if key and not HASH_KEY.match(key):
        raise SlsError("ParameterInvalid", f"invalid mid hash: expected 32 hexadecimal digits, found '{key[:64]}'")
    if not 2 <= count <= SPLIT_MAX or (key and count != 2):
        raise parameter_invalid("shardCount", f"2 to {SPLIT_MAX}, and 2 where a key is given", count)
    return _shards_answer(
        await call.store.split_shard(call.project, call.logstore, shard, key=key or None, count=count)
    )


async def merge_shards(call: Call) -> Answer:
    """Merges a shard with the one that follows it."""
    return _shards_answer(await call.store.merge_shards(call.project, call.logstore, shard_of(call)))


async def get_cursor(call: Call) -> Answer:
    sent = call.text("from")
    at: Literal["begin", "end"] | int | None
    at = sent if sent in ("begin", "end") else natural(sent, NUMBER_MAX)  # type: ignore[assignment]
    if at is None:
        raise parameter_invalid("from", "begin, end or Unix seconds", sent[:64])
    cursor = await call.store.cursor(call.project, call.logstore, shard_of(call), at)
    return json_answer({"cursor": cursor_text(cursor)})


async def get_cursor_time(call: Call) -> Answer:
    cursor = read_cursor(call.text("cursor"))
    time_s = await call.store.cursor_time(call.project, call.logstore, shard_of(call), cursor)
    return json_answer({"cursor_time": time_s})


async def pull_logs(call: Call) -> Answer:
    cursor = read_cursor(call.text("cursor"))
    count = call.number("count", GROUPS_MAX)
    if not 0 < count <= GROUPS_MAX:
        raise SlsError("ParameterInvalid", f"ParameterCount should be in [1-{GROUPS_MAX}]")
    end = read_cursor(call.text("end_cursor")) if call.text("end_cursor") else None
    pulled = await call.store.pull(call.project, call.logstore, shard_of(call), cursor, count, end)
    records = sum(len(group.records) for group in pulled.groups)

    def encoded() -> tuple[bytes, dict[str, str]]:
        return packed(call.request, protobuf.write_groups(pulled.groups))

    body, headers = await off_loop(records * RECORD_BYTES, encoded)
    return Answer(
        headers={
            "Content-Type": protobuf.CONTENT_TYPE,
            "x-log-count": str(len(pulled.groups)),
            "x-log-cursor": cursor_text(pulled.next_cursor),
            **headers,
        },
        body=body,
    )


def _shards_answer(shards: Sequence[Shard]) -> Answer:
    return json_answer(
        [
            {
                "shardID": shard.id,
                "status": shard.status,
                "inclusiveBeginKey": shard.begin,
                "exclusiveEndKey": shard.end,
                "createTime": shard.created_s,
            }
            for shard in shards
        ]
    )


def shard_of(call: Call) -> int:
    shard = natural(call.names["shard"], NUMBER_MAX)
    if shard is None:
        raise SlsError("ShardNotExist", f"Shard {call.names['shard'][:64]} does not exist: expected a number")
    return shard
