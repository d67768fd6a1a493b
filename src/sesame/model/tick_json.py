"""The event that a timer trigger passes to its function (reference/runtime.md §15).

Called by `triggers.timers`, and for samples by `model.sample_events`.
"""

import msgspec

from sesame.model import utc


def tick_json(trigger_name: str, payload: str, at: float) -> bytes:
    """`at` (Unix seconds) is the scheduled time."""
    return msgspec.json.encode({"triggerTime": utc.text_of(at), "triggerName": trigger_name, "payload": payload})
