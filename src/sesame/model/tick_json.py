"""The event of a timer's tick as a function gets it (reference/runtime.md §15).

Called by `triggers.timers`, and for samples by `model.sample_events`.
"""

from datetime import UTC, datetime

import msgspec

from sesame.model.schedules import UTC_FORMAT


def tick_json(trigger_name: str, payload: str, at: float) -> bytes:
    """`at` (Unix seconds) is the time that the schedule names."""
    time = datetime.fromtimestamp(at, UTC).strftime(UTC_FORMAT)
    return msgspec.json.encode({"triggerTime": time, "triggerName": trigger_name, "payload": payload})
