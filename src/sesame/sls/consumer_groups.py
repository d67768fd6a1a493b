"""Operations on consumer groups: their consumers share a logstore's shards and store checkpoints.

Called by `sls.app` through the table of operations.
"""

import msgspec

from sesame.sls.answers import EMPTY, Answer, json_answer
from sesame.sls.calls import Call
from sesame.sls.cursors import cursor_text, read_cursor
from sesame.sls.errors import SlsError, parameter_invalid
from sesame.store.logs.logstores.interface import ConsumerGroup
from sesame.store.logs.logstores.reader_cursors import READERS

TIMEOUT_S_MAX = 3600
NAME_CHARS_MAX = 128
_US = 1_000_000


class _NewGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"name": "consumerGroup"}):
    name: str
    timeout: int
    order: bool = False


class _Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timeout: int | None = None
    order: bool | None = None


class _Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shards: tuple[int, ...]


class _Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shard: int
    checkpoint: str


async def create_group(call: Call) -> Answer:
    sent = call.json(_NewGroup, "JsonInfoInvalid")
    if not 0 < len(sent.name) <= NAME_CHARS_MAX or "/" in sent.name:
        raise SlsError(
            "JsonInfoInvalid", f"consumerGroup is invalid: expected 1 to {NAME_CHARS_MAX} characters without '/'"
        )
    if sent.name.startswith(READERS):
        raise SlsError(
            "JsonInfoInvalid", f"consumerGroup is invalid: names that begin with '{READERS}' are those of log triggers"
        )
    _check_timeout(sent.timeout)
    await call.store.create_group(call.project, call.logstore, ConsumerGroup(sent.name, sent.timeout, sent.order))
    return EMPTY


async def update_group(call: Call) -> Answer:
    sent = call.json(_Changes, "JsonInfoInvalid")
    former = await _group(call)
    timeout = former.timeout_s if sent.timeout is None else sent.timeout
    _check_timeout(timeout)
    in_order = former.in_order if sent.order is None else sent.order
    await call.store.update_group(call.project, call.logstore, ConsumerGroup(former.name, timeout, in_order))
    return EMPTY


async def delete_group(call: Call) -> Answer:
    await call.store.delete_group(call.project, call.logstore, call.names["group"])
    return EMPTY


async def list_groups(call: Call) -> Answer:
    groups = await call.store.groups(call.project, call.logstore)
    return json_answer([{"name": each.name, "timeout": each.timeout_s, "order": each.in_order} for each in groups])


async def heart_beat(call: Call) -> Answer:
    """The body is a list of shards, or `{"shards": […]}` as in the manual; the answer has the same form as the body."""
    wrapped = call.body.lstrip().startswith(b"{")
    held = call.json(_Held, "JsonInfoInvalid").shards if wrapped else call.json(tuple[int, ...], "JsonInfoInvalid")
    consumer = _consumer(call)
    shards = list(await call.store.heart_beat(call.project, call.logstore, call.names["group"], consumer, held))
    return json_answer({"shards": shards} if wrapped else shards)


async def get_checkpoints(call: Call) -> Answer:
    wanted = call.number("shard", -1)
    found = await call.store.checkpoints(call.project, call.logstore, call.names["group"])
    return json_answer(
        [
            {
                "shard": each.shard,
                "checkpoint": "" if each.cursor is None else cursor_text(each.cursor),
                "updateTime": each.updated_s * _US,
                "consumer": each.consumer,
            }
            for each in found
            if wanted in (-1, each.shard)
        ]
    )


async def update_checkpoint(call: Call) -> Answer:
    sent = call.json(_Progress, "JsonInfoInvalid")
    cursor = read_cursor(sent.checkpoint, "InvalidShardCheckPoint")
    await call.store.set_checkpoint(
        call.project,
        call.logstore,
        call.names["group"],
        sent.shard,
        cursor,
        consumer=call.text("consumer"),
        force=call.flag("forceSuccess", default=False),
    )
    return EMPTY


async def _group(call: Call) -> ConsumerGroup:
    wanted = call.names["group"]
    for group in await call.store.groups(call.project, call.logstore):
        if group.name == wanted:
            return group
    raise SlsError("ConsumerGroupNotExist")


def _consumer(call: Call) -> str:
    consumer = call.text("consumer")
    if not 0 < len(consumer) <= NAME_CHARS_MAX:
        raise parameter_invalid("consumer", f"1 to {NAME_CHARS_MAX} characters", consumer[:64])
    return consumer


def _check_timeout(timeout: int) -> None:
    if not 0 < timeout <= TIMEOUT_S_MAX:
        raise SlsError("JsonInfoInvalid", f"timeout is {timeout}: expected 1 to {TIMEOUT_S_MAX} seconds")
