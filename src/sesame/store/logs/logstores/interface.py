"""The interface of the Log Service's store, for the endpoint `sls`, function logs and log triggers.

All methods raise kinds of `model.errors`: `NotFound`, `AlreadyExists`, `Invalid`, with the kinds of `model.logstore`;
`query`, `histogram` and `context` also raise `QueryRefused` of `store.logs.query`.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from sesame.model.errors import PlatformError
from sesame.model.logstore import LogGroup, LogIndex, LogProject, Logstore

QUERY_DEADLINE_S = 55.0
QUERY_LINES_MAX = 100
PULL_BYTES_MAX = 10 * 1024 * 1024


class StorageFull(PlatformError):
    """The disk has no room, and nothing of the request was written."""


# Called on the event loop with the project and the logstore that got new groups.
Listener = Callable[[str, str], None]


class Shard(msgspec.Struct, frozen=True):
    """A range of 128-bit hash keys, as 32 hex digits; `end` is exclusive. A readonly shard can be read to its end."""

    id: int
    status: Literal["readwrite", "readonly"]
    begin: str
    end: str
    created_s: int


class Pulled(msgspec.Struct, frozen=True):
    """Groups in the order in which they were written. The next pull continues at `next_cursor`."""

    groups: tuple[LogGroup, ...]
    next_cursor: int


class Query(msgspec.Struct, frozen=True):
    """`text` is a search, optionally followed by `| SELECT …`. `from_s` is inclusive, `to_s` exclusive."""

    text: str
    from_s: int
    to_s: int
    topic: str = ""
    line: int = QUERY_LINES_MAX
    offset: int = 0
    reverse: bool = False
    deadline_s: float = QUERY_DEADLINE_S


class Result(msgspec.Struct, frozen=True):
    """`rows` is a JSON array of objects with string values: it may be large, and the endpoint only forwards it.

    Rows of a search without SQL have `__time__`, `__source__` and `__topic__`. `complete` is False if the deadline
    came first: then `rows` are only some of the matches. `terms` are the search terms: field ("" for any), text.
    """

    rows: bytes
    count: int
    columns: tuple[str, ...]
    has_sql: bool
    complete: bool
    processed_rows: int
    where: str
    aggregate: str
    elapsed_ms: int
    terms: tuple[tuple[str, str], ...] = ()


class Bar(msgspec.Struct, frozen=True):
    """How many logs match in a part of the requested time; `to_s` is exclusive."""

    from_s: int
    to_s: int
    count: int


class Surroundings(msgspec.Struct, frozen=True):
    """The logs before and after a log, in the order in which they were written, including the log itself."""

    rows: tuple[dict[str, str], ...]
    back: int
    forward: int


class ConsumerGroup(msgspec.Struct, frozen=True):
    """Consumers that share the shards of a logstore; a consumer silent for `timeout_s` loses its shards."""

    name: str
    timeout_s: int
    in_order: bool = False


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a consumer group has read a shard. `cursor` is None before the first checkpoint."""

    shard: int
    cursor: int | None
    consumer: str
    updated_s: int


class Projects(Protocol):
    async def create_project(self, project: LogProject) -> None: ...
    async def project(self, name: str) -> LogProject: ...
    async def projects(self) -> Sequence[LogProject]:
        """All projects, by name."""

    async def update_project(self, name: str, description: str) -> None: ...
    async def delete_project(self, name: str) -> None:
        """Deletes it with its logstores and all their logs."""

    async def create_logstore(self, logstore: Logstore) -> None: ...
    async def logstore(self, project: str, name: str) -> Logstore: ...
    async def logstores(self, project: str) -> Sequence[Logstore]:
        """All logstores of a project, by name."""

    async def update_logstore(self, logstore: Logstore) -> None:
        """Changes `ttl_days` and `options`; the number of shards stays the same."""

    async def delete_logstore(self, project: str, name: str) -> None: ...

    async def create_index(self, project: str, logstore: str, index: LogIndex) -> None: ...
    async def index(self, project: str, logstore: str) -> LogIndex: ...
    async def update_index(self, project: str, logstore: str, index: LogIndex) -> None: ...
    async def delete_index(self, project: str, logstore: str) -> None: ...


class Consumers(Protocol):
    async def create_group(self, project: str, logstore: str, group: ConsumerGroup) -> None: ...
    async def update_group(self, project: str, logstore: str, group: ConsumerGroup) -> None: ...
    async def delete_group(self, project: str, logstore: str, name: str) -> None: ...
    async def groups(self, project: str, logstore: str) -> Sequence[ConsumerGroup]: ...
    async def heart_beat(
        self, project: str, logstore: str, group: str, consumer: str, held: Sequence[int]
    ) -> Sequence[int]:
        """The shards that the consumer has from now on."""

    async def checkpoints(self, project: str, logstore: str, group: str) -> Sequence[Checkpoint]: ...
    async def set_checkpoint(
        self,
        project: str,
        logstore: str,
        group: str,
        shard: int,
        cursor: int,
        *,
        consumer: str = "",
        force: bool = True,
    ) -> None:
        """Durable when it returns. Without `force`, only the consumer that has the shard may set it."""


class Logstores(Projects, Consumers, Protocol):
    """A cursor is the number of a group in its shard; numbers increase, and may have gaps."""

    async def append(self, project: str, logstore: str, group: LogGroup, *, hash_key: str | None = None) -> None:
        """On return the group is durable, and the next query finds it. Without `hash_key`, the shards take turns.

        Raises `StorageFull`.
        """

    async def shards(self, project: str, logstore: str) -> Sequence[Shard]: ...

    async def split_shard(
        self, project: str, logstore: str, shard: int, *, key: str | None = None, count: int = 2
    ) -> Sequence[Shard]:
        """Closes the shard, and opens new ones with its range: two split at `key`, or `count` equal ones.

        Returns it and them. Raises `Invalid` for a key outside of the shard, and for a readonly shard.
        """

    async def merge_shards(self, project: str, logstore: str, shard: int) -> Sequence[Shard]:
        """Replaces the shard and the next one by a new one. Returns it and the two.

        Raises `Invalid` for the last shard, and for a readonly one.
        """

    async def cursor(self, project: str, logstore: str, shard: int, at: Literal["begin", "end"] | int) -> int:
        """The cursor of the first group received at `at` (Unix seconds) or later; the end if there is none."""

    async def cursor_time(self, project: str, logstore: str, shard: int, cursor: int) -> int:
        """When the group at the cursor was received (Unix seconds); now, for the end."""

    async def pull(
        self, project: str, logstore: str, shard: int, cursor: int, count: int, end: int | None = None
    ) -> Pulled:
        """At most `count` groups from the cursor on and before `end`; none if the cursor is at the end.

        Also stops at PULL_BYTES_MAX of logs, after at least one group. Raises `Invalid` of the field `cursor` for
        a cursor after the end; one before the oldest log continues at the oldest.
        """

    async def query(self, project: str, logstore: str, query: Query) -> Result: ...
    async def histogram(self, project: str, logstore: str, query: Query) -> Sequence[Bar]: ...
    async def project_sql(self, sql: str) -> tuple[str, str]:
        """The logstore that the SQL names in FROM, and the query for it. Raises `QueryRefused`."""

    async def topics(self, project: str, logstore: str, *, after: str | None, most: int) -> Sequence[str]:
        """At most `most` topics, in order, from the first one after `after` on."""

    async def context(
        self, project: str, logstore: str, pack_id: str, pack_meta: str, back: int, forward: int
    ) -> Surroundings:
        """`pack_id` and `pack_meta` are fields of a row of `… | with_pack_meta`."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` after each append. Returns a function that ends the subscription."""
