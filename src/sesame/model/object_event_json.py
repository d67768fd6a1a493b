"""The object event that a function receives (reference/runtime.md §15).

Called by `triggers.object_events`, and for samples by `model.sample_events`.
"""

import hashlib
from datetime import UTC, datetime
from typing import Any

import msgspec

from sesame.model.object_event import ObjectEvent


def event_json(event: ObjectEvent, region: str) -> bytes:
    """The event that the function receives (reference/runtime.md §15). The key is not URL-encoded."""
    cause = event.cause
    at = datetime.fromtimestamp(int(cause.at), UTC)
    bucket = {
        "arn": f"acs:oss:{region}:{cause.account_id}:{event.bucket}",
        "name": event.bucket,
        "ownerIdentity": cause.account_id,
        "virtualBucket": "",
    }
    stored = {
        "deltaSize": event.delta_size,
        "eTag": event.etag,
        "key": event.key,
        "objectMeta": {"mimeType": event.mime_type, "userMeta": event.user_meta},
        "size": event.size,
    }
    document: dict[str, Any] = {
        "eventName": cause.event,
        "eventSource": "acs:oss",
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "eventVersion": "1.0",
        "oss": {"bucket": bucket, "object": stored, "ossSchemaVersion": "1.0", "ruleId": _rule_id(event)},
        "region": region,
        "requestParameters": {"sourceIPAddress": cause.source_ip},
        "responseElements": {"requestId": cause.request_id},
        "userIdentity": {"principalId": cause.principal_id},
    }
    return msgspec.json.encode({"events": [document]})


def _rule_id(event: ObjectEvent) -> str:
    """As long as the cloud's rule ids, and the same for every event of a trigger."""
    return hashlib.sha1(event.trigger_id.encode(), usedforsecurity=False).hexdigest()
