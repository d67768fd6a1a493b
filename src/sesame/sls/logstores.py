"""Operations on logstores.

Called by `sls.app` through the table of operations.
"""

import re
from typing import Any

import msgspec

from sesame.model.logstore import TTL_FOREVER_DAYS, Logstore
from sesame.sls.answers import EMPTY, Answer, json_answer
from sesame.sls.calls import Call, Document
from sesame.sls.errors import SlsError

SHARDS_MAX = 10
SHARDS_USUAL = 2
TRACKING, APPEND_META = "enable_tracking", "appendMeta"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,61}[a-z0-9]\Z")
# Options that are stored and returned; only the first two have an effect in Sesame (docs/log-service.md).
_OPTIONS: Document = {
    TRACKING: False, APPEND_META: False, "autoSplit": False, "maxSplitShard": 64, "telemetryType": "None",
    "mode": "standard",
}  # fmt: skip
_OPTIONAL = ("hot_ttl", "infrequentAccessTTL")
# The API's names of fields, where they differ.
_NAMES = {
    "name": "logstoreName", "shards": "shardCount", "auto_split": "autoSplit", "max_split_shard": "maxSplitShard",
    "append_meta": APPEND_META, "telemetry_type": "telemetryType", "infrequent_access_ttl": "infrequentAccessTTL",
    "enable_modify": "enableModify", "created": "createTime", "modified": "lastModifyTime",
}  # fmt: skip


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename=_NAMES):
    """A logstore in the request's form, or as GetLogstore returned it to a client that sends it back."""

    name: str
    ttl: int
    shards: int | None = None
    enable_tracking: bool | None = None
    auto_split: bool | None = None
    max_split_shard: int | None = None
    append_meta: bool | None = None
    telemetry_type: str | None = None
    mode: str | None = None
    hot_ttl: int | None = None
    infrequent_access_ttl: int | None = None
    encrypt_conf: Any = None
    enable_modify: bool = False
    created: Any = None
    modified: Any = None

    def options(self) -> Document:
        """The options that the request contains."""
        sent = msgspec.to_builtins(self)
        options = {name: sent[name] for name in (*_OPTIONS, *_OPTIONAL) if sent[name] is not None}
        if options.get("telemetryType") == "":
            options["telemetryType"] = "None"
        return options


async def create_logstore(call: Call) -> Answer:
    sent = _read(call)
    if not _NAME.match(sent.name):
        raise SlsError(
            "LogStoreInfoInvalid",
            f"store name {sent.name[:64]} is invalid: expected 2 to 63 lower-case letters, digits, '-' or '_', "
            "with a letter or a digit at both ends",
        )
    shards = SHARDS_USUAL if sent.shards is None else sent.shards
    if not 1 <= shards <= SHARDS_MAX:
        raise SlsError("LogStoreInfoInvalid", f"shardCount is {shards}: expected 1 to {SHARDS_MAX} of a new logstore")
    call.require("log:CreateLogStore", f"project/{call.project}/logstore/{sent.name}")
    options = {**_OPTIONS, **sent.options()}
    await call.store.create_logstore(Logstore(call.project, sent.name, sent.ttl, shards, options=options))
    return EMPTY


async def get_logstore(call: Call) -> Answer:
    logstore = await call.store.logstore(call.project, call.logstore)
    return json_answer(
        {
            "logstoreName": logstore.name,
            "ttl": logstore.ttl_days,
            "shardCount": logstore.shards,
            **_OPTIONS,
            **logstore.options,
            "createTime": logstore.created_s,
            "lastModifyTime": logstore.modified_s,
        }
    )


async def update_logstore(call: Call) -> Answer:
    sent = _read(call)
    if sent.name != call.logstore:
        raise SlsError(
            "LogStoreInfoInvalid", f"logstoreName is {sent.name[:64]}: expected that of the path, {call.logstore}"
        )
    former = await call.store.logstore(call.project, call.logstore)
    if sent.shards not in (None, former.shards):
        raise SlsError("ParameterInvalid", "invalid shard count,you can only modify shardCount by split& merge shard.")
    changed = msgspec.structs.replace(former, ttl_days=sent.ttl, options={**former.options, **sent.options()})
    await call.store.update_logstore(changed)
    return EMPTY


async def delete_logstore(call: Call) -> Answer:
    await call.store.delete_logstore(call.project, call.logstore)
    return EMPTY


async def list_logstores(call: Call) -> Answer:
    part, telemetry, mode = call.text("logstoreName"), call.text("telemetryType"), call.text("mode")
    found = [
        each.name
        for each in await call.store.logstores(call.project)
        if part in each.name
        and (not telemetry or each.options.get("telemetryType", "None") == telemetry)
        and (not mode or each.options.get("mode", "standard") == mode)
    ]
    page = call.page(found)
    return json_answer({"count": len(page), "total": len(found), "logstores": page})


def _read(call: Call) -> _Sent:
    sent = call.json(_Sent, "LogStoreInfoInvalid")
    if not 1 <= sent.ttl <= TTL_FOREVER_DAYS:
        raise SlsError(
            "LogStoreInfoInvalid", f"ttl is {sent.ttl}: expected 1 to {TTL_FOREVER_DAYS} days; the last means for ever"
        )
    if sent.encrypt_conf is not None:
        raise SlsError("LogStoreInfoInvalid", "encrypt_conf is not supported: logs are stored as they are")
    if sent.enable_modify:
        raise SlsError("LogStoreInfoInvalid", "enableModify is not supported: logs that were written stay as they are")
    if sent.telemetry_type not in (None, "", "None", "Event"):
        raise SlsError("LogStoreInfoInvalid", f"telemetryType {sent.telemetry_type} is not supported: expected None")
    if sent.mode not in (None, "standard", "query", "lite"):
        raise SlsError("LogStoreInfoInvalid", f"mode {sent.mode} is invalid: expected standard, query or lite")
    return sent
