"""The Log Service's data: projects, logstores, indexes and logs (issue 14).

Stored by `store.logs.logstores`; created by the endpoint `sls` and by the writers of function logs.
"""

from typing import Any, Literal

import msgspec

# Kinds of resources, for `model.errors`.
LOG_PROJECT = "log_project"
LOGSTORE = "logstore"
LOG_INDEX = "log_index"
LOG_SHARD = "log_shard"
CONSUMER_GROUP = "consumer_group"
CONSUMER = "consumer"

# The word delimiters that the console and funcraft use. A hyphen is none, so that a request id stays one word.
DEFAULT_DELIMITERS = tuple(", '\";=()[]{}?@&<>/:\n\t\r")
# This ttl means that logs are kept for ever.
TTL_FOREVER_DAYS = 3650

KeyType = Literal["text", "long", "double", "json"]


class LogProject(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    created_s: int = 0
    modified_s: int = 0


class ShardRange(msgspec.Struct, frozen=True):
    """A shard: the hash keys from `begin` (inclusive) to `end` (exclusive), each 32 hex digits.

    A shard that was split or merged is closed since `closed_s`, which is 0 for open shards; `parents` are its origins.
    """

    id: int
    begin: str
    end: str
    created_s: int
    closed_s: int = 0
    parents: tuple[int, ...] = ()


class Logstore(msgspec.Struct, frozen=True):
    """`shards` counts the shards open for writing: equal ranges of hash keys, or `layout` once some were split or
    merged.

    `options` holds fields that the API only stores and returns: autoSplit, maxSplitShard, appendMeta, mode and others.
    """

    project: str
    name: str
    ttl_days: int
    shards: int = 2
    created_s: int = 0
    modified_s: int = 0
    options: dict[str, Any] = {}
    layout: tuple[ShardRange, ...] = ()
    # Shard numbers are never reused.
    next_shard: int = 0


class KeyIndex(msgspec.Struct, frozen=True):
    """How one field is indexed; `doc_value` allows its use in SQL. None means that the owner did not set it: false."""

    type: KeyType = "text"
    token: tuple[str, ...] = ()
    case_sensitive: bool = False
    chn: bool | None = None
    doc_value: bool | None = None
    alias: str | None = None
    json_keys: dict[str, "KeyIndex"] = {}
    index_all: bool = False
    max_depth: int = -1


class LineIndex(msgspec.Struct, frozen=True):
    """Full-text search over all fields, only `include_keys`, or all but `exclude_keys`."""

    token: tuple[str, ...] = ()
    case_sensitive: bool = False
    chn: bool = False
    include_keys: tuple[str, ...] = ()
    exclude_keys: tuple[str, ...] = ()


class LogIndex(msgspec.Struct, frozen=True):
    """A logstore's index; at least one of `line` and `keys` is set. `options` is returned as stored."""

    line: LineIndex | None = None
    keys: dict[str, KeyIndex] = {}
    ttl_days: int = 0
    modified_s: int = 0
    options: dict[str, Any] = {}


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One log: a time (Unix seconds and nanoseconds within the second) and its fields in order."""

    time_s: int
    time_ns: int
    contents: tuple[tuple[str, str], ...]


class LogGroup(msgspec.Struct, frozen=True):
    """The logs of one PutLogs. Tags are shown as fields `__tag__:{name}`."""

    records: tuple[LogRecord, ...]
    topic: str = ""
    source: str = ""
    tags: tuple[tuple[str, str], ...] = ()
