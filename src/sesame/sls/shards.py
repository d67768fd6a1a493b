"""Reading a shard from a cursor on: GetCursor, GetCursorTime and PullLogs.

Called by `sls.app` through the table of operations.
"""

from typing import Literal

from sesame.sls import protobuf
from sesame.sls.answers import Answer, json_answer
from sesame.sls.bodies import off_loop, packed
from sesame.sls.calls import Call
from sesame.sls.cursors import cursor_text, read_cursor
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.sls.request import natural

GROUPS_MAX = 1000
# About what a record of a few fields takes in protobuf.
RECORD_BYTES = 256


async def get_cursor(call: Call) -> Answer:
    sent = call.text("from")
    at: Literal["begin", "end"] | int | None
    at = sent if sent in ("begin", "end") else natural(sent)  # type: ignore[assignment]
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


def shard_of(call: Call) -> int:
    shard = natural(call.names["shard"])
    if shard is None:
        raise SlsError("ShardNotExist", f"Shard {call.names['shard'][:64]} does not exist: expected a number")
    return shard
