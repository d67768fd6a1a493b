"""The event that a log trigger passes to its function (reference/runtime.md §15).

Created by `triggers.log_arrivals`, and for samples by `model.sample_events`.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec


class LogArrival(msgspec.Struct, frozen=True, kw_only=True):
    """Logs between two cursors of a shard, encoded as the Log Service encodes cursors.

    `cursor_time` is in Unix seconds.
    """

    endpoint: str
    project: str
    logstore: str
    shard: int
    begin: str
    end: str
    cursor_time: int


def log_arrival_json(arrival: LogArrival, job: str, parameter: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "parameter": parameter,
            "source": {
                "endpoint": arrival.endpoint,
                "projectName": arrival.project,
                "logstoreName": arrival.logstore,
                "shardId": arrival.shard,
                "beginCursor": arrival.begin,
                "endCursor": arrival.end,
            },
            "jobName": job,
            "taskId": str(uuid.uuid4()),
            "cursorTime": arrival.cursor_time,
        }
    )
