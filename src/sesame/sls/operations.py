"""The table of operations by method, path and kind, with the rights they require and the query parameters they accept.

Read by `sls.routes`. A parameter that an operation does not list is refused, never ignored.
"""

from collections.abc import Awaitable, Callable

import msgspec

from sesame.sls import consumer_groups, indexes, logstores, projects, queries, shards, writing
from sesame.sls.answers import Answer
from sesame.sls.bodies import JSON_BYTES_MAX, LOGS_BYTES_MAX, TRACKED_BYTES_MAX
from sesame.sls.calls import Call

PROJECT = "project/{project}"
LOGSTORE = PROJECT + "/logstore/{logstore}"
LOGSTORES = PROJECT + "/logstore/*"
GROUP = LOGSTORE + "/consumergroup/{group}"
GROUPS = LOGSTORE + "/consumergroup/*"


class Operation(msgspec.Struct, frozen=True):
    """`actions` are its names in RAM policies, for `resource`; without any, the operation itself checks the caller's
    rights, after reading the body. `unsigned` operations need no signature: `admit` decides by the head of the request.

    A `question` changes nothing, so it is cancelled when its client disconnects.

    `query`: the parameters accepted besides the one that names its kind; None accepts any.
    """

    run: Callable[[Call], Awaitable[Answer]]
    actions: tuple[str, ...] = ()
    resource: str = LOGSTORE
    query: frozenset[str] | None = frozenset()
    body_bytes_max: int = JSON_BYTES_MAX
    unsigned: bool = False
    admit: Callable[[Call], Awaitable[None]] | None = None
    question: bool = False


_PAGE = frozenset({"offset", "size"})
_ASKED = frozenset({"from", "to", "query", "topic", "fromNs", "toNs", "accurate"})
_LINES = frozenset({"line", "offset", "reverse", "powerSql", "session", "forward"})
_WRITE = ("log:PostLogStoreLogs",)
_READ = ("log:GetCursorOrData",)


def _tracking(run: Callable[[Call], Awaitable[Answer]], body_bytes_max: int = 0) -> Operation:
    """Web tracking: accepts any query, unsigned, if the logstore allows it."""
    return Operation(run, query=None, body_bytes_max=body_bytes_max, unsigned=True, admit=writing.require_tracking)


# By path, then by method and kind: the value of the query parameter `type` or `action`, "" without one.
TABLE: dict[str, dict[tuple[str, str], Operation]] = {
    "/": {
        ("POST", ""): Operation(projects.create_project),
        ("GET", ""): Operation(projects.get_project, ("log:GetProject",), PROJECT),
        ("PUT", ""): Operation(projects.update_project, ("log:UpdateProject",), PROJECT),
        ("DELETE", ""): Operation(projects.delete_project, ("log:DeleteProject",), PROJECT),
    },
    "/logs": {
        ("GET", ""): Operation(queries.get_project_logs, query=frozenset({"query", "powerSql"}), question=True),
    },
    "/logstores": {
        ("POST", ""): Operation(logstores.create_logstore),
        ("GET", ""): Operation(
            logstores.list_logstores,
            ("log:ListLogStores",),
            LOGSTORES,
            _PAGE | {"logstoreName", "telemetryType", "mode"},
        ),
    },
    "/logstores/{logstore}": {
        ("GET", ""): Operation(logstores.get_logstore, ("log:GetLogStore",)),
        ("PUT", ""): Operation(logstores.update_logstore, ("log:UpdateLogStore",)),
        ("DELETE", ""): Operation(logstores.delete_logstore, ("log:DeleteLogStore",)),
        ("POST", ""): Operation(writing.put_logs, _WRITE, body_bytes_max=LOGS_BYTES_MAX),
        ("GET", "log"): Operation(queries.get_logs_v1, ("log:GetLogStoreLogs",), query=_ASKED | _LINES, question=True),
        ("GET", "histogram"): Operation(
            queries.get_histograms, ("log:GetLogStoreHistogram",), query=_ASKED, question=True
        ),
        ("GET", "context_log"): Operation(
            queries.get_context,
            ("log:GetLogStoreContextLogs", "log:GetLogStoreLogs"),
            query=frozenset({"pack_id", "pack_meta", "back_lines", "forward_lines"}),
            question=True,
        ),
        ("GET", "topic"): Operation(
            queries.list_topics, ("log:ListLogStoreTopics", "log:GetLogStoreLogs"), query=frozenset({"token", "line"})
        ),
    },
    "/logstores/{logstore}/logs": {
        ("POST", ""): Operation(queries.get_logs, ("log:GetLogStoreLogs",), question=True),
    },
    "/logstores/{logstore}/index": {
        ("POST", ""): Operation(indexes.create_index, ("log:CreateIndex",)),
        ("PUT", ""): Operation(indexes.update_index, ("log:UpdateIndex",)),
        ("GET", ""): Operation(indexes.get_index, ("log:GetIndex",)),
        ("DELETE", ""): Operation(indexes.delete_index, ("log:DeleteIndex",)),
    },
    "/logstores/{logstore}/shards": {
        ("GET", ""): Operation(shards.list_shards, ("log:ListShards",)),
    },
    "/logstores/{logstore}/shards/lb": {
        ("POST", ""): Operation(writing.put_logs, _WRITE, body_bytes_max=LOGS_BYTES_MAX),
    },
    "/logstores/{logstore}/shards/route": {
        ("POST", ""): Operation(
            writing.put_logs_by_key, _WRITE, query=frozenset({"key"}), body_bytes_max=LOGS_BYTES_MAX
        ),
    },
    "/logstores/{logstore}/shards/{shard}": {
        ("POST", "split"): Operation(shards.split_shard, ("log:SplitShard",), query=frozenset({"key", "shardCount"})),
        ("POST", "merge"): Operation(shards.merge_shards, ("log:MergeShards",)),
        ("GET", "cursor"): Operation(shards.get_cursor, _READ, query=frozenset({"from"})),
        ("GET", "cursor_time"): Operation(shards.get_cursor_time, _READ, query=frozenset({"cursor"})),
        ("GET", "log"): Operation(shards.pull_logs, _READ, query=frozenset({"cursor", "count", "end_cursor"})),
    },
    "/logstores/{logstore}/consumergroups": {
        ("POST", ""): Operation(consumer_groups.create_group, ("log:CreateConsumerGroup",), GROUPS),
        ("GET", ""): Operation(consumer_groups.list_groups, ("log:ListConsumerGroup",), GROUPS),
    },
    "/logstores/{logstore}/consumergroups/{group}": {
        ("PUT", ""): Operation(consumer_groups.update_group, ("log:UpdateConsumerGroup",), GROUP),
        ("DELETE", ""): Operation(consumer_groups.delete_group, ("log:DeleteConsumerGroup",), GROUP),
        ("GET", ""): Operation(
            consumer_groups.get_checkpoints,
            ("log:ConsumerGroupGetCheckPoint", "log:GetCheckPoint"),
            GROUP,
            frozenset({"shard"}),
        ),
        ("POST", "heartbeat"): Operation(
            consumer_groups.heart_beat,
            ("log:ConsumerGroupHeartBeat", "log:HeartBeat"),
            GROUP,
            frozenset({"consumer"}),
        ),
        ("POST", "checkpoint"): Operation(
            consumer_groups.update_checkpoint,
            ("log:ConsumerGroupUpdateCheckPoint", "log:UpdateCheckPoint"),
            GROUP,
            frozenset({"consumer", "forceSuccess"}),
        ),
    },
    "/logstores/{logstore}/track": {
        ("POST", ""): _tracking(writing.track, TRACKED_BYTES_MAX),
        ("GET", ""): _tracking(writing.track_one),
        ("OPTIONS", ""): Operation(writing.preflight, query=None, body_bytes_max=0, unsigned=True),
    },
    "/logstores/{logstore}/track.gif": {("GET", ""): _tracking(writing.track_gif)},
    "/logstores/{logstore}/track_ua.gif": {("GET", ""): _tracking(writing.track_gif_with_agent)},
}
# Operations on the service: the Host header names no project.
SERVICE: dict[tuple[str, str], Operation] = {
    ("POST", ""): Operation(projects.create_project),
    ("GET", ""): Operation(
        projects.list_projects,
        ("log:ListProject",),
        "project/*",
        _PAGE | {"projectName", "resourceGroupId", "description"},
    ),
}
