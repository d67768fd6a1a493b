"""Builders for the events that functions receive from each source, as bytes.

For tests: `from sesame.testing import events`. The forms are those of `sesame events` (reference/runtime.md §15).
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from sesame.model import sample_events
from sesame.model.sample_events import Origin
from sesame.model.tick_json import tick_json

REGION, ACCOUNT_ID = "cn-hangzhou", "1234567890123456"
PUT_OBJECT = "ObjectCreated:PutObject"


def oss(
    bucket: str = "bucket",
    key: str = "sample",
    *,
    event_name: str = PUT_OBJECT,
    size: int | None = None,
    at: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """One event of an object trigger. `at` is in Unix seconds, by default now; `changes` are merged into the event."""
    event = json.loads(sample_events.oss(_origin(at), bucket, key, event_name))
    first = event["events"][0]
    if size is not None:
        first["oss"]["object"]["size"] = size
        first["oss"]["object"]["deltaSize"] = -size if event_name.startswith("ObjectRemoved:") else size
    return _encoded(event, "events", changes)


def timer(
    payload: str = "", *, name: str = "timer", at: float | None = None, changes: Mapping[str, Any] | None = None
) -> bytes:
    """A tick of a timer trigger."""
    return _encoded(json.loads(tick_json(name, payload, _origin(at).at)), "", changes)


def http(
    method: str = "GET",
    path: str = "/",
    *,
    body: str = "",
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """A request from API Gateway. Functions with an HTTP trigger receive no event: call their `url` instead."""
    event = json.loads(sample_events.api_gateway(method, path, body))
    event["headers"].update(headers or {})
    event["queryParameters"].update(query or {})
    return _encoded(event, "", changes)


def cdn(
    domain: str = "www.example.com",
    *,
    event_name: str = "LogFileCreated",
    event_version: str = "1.0.0",
    at: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """One event of a CDN trigger."""
    event = json.loads(sample_events.cdn(_origin(at), domain, event_name, event_version))
    return _encoded(event, "events", changes)


def log(
    project: str = "project",
    logstore: str = "logstore",
    *,
    job: str = "job",
    parameter: Mapping[str, Any] | None = None,
    at: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """The event of a Log Service trigger, which has cursors instead of lines."""
    event = json.loads(sample_events.log(_origin(at), project, logstore, job, parameter or {}))
    return _encoded(event, "", changes)


def mns(
    message: str = "Hello, Sesame",
    *,
    topic: str = "topic",
    subscription: str = "subscription",
    at: float | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """A message of an MNS topic in the JSON form; in the STREAM form the event is the message alone."""
    event = json.loads(sample_events.mns_topic(_origin(at), topic, message, subscription))
    return _encoded(event, "", changes)


def tablestore(*, at: float | None = None) -> bytes:
    """One row that was put, as CBOR."""
    return sample_events.tablestore(_origin(at))


def event_bridge(
    source: str = "MNS", data: Any = None, *, at: float | None = None, changes: Mapping[str, Any] | None = None
) -> bytes:
    """A CloudEvent; a list of one if functions receive lists from this source."""
    event = json.loads(sample_events.event_bridge(_origin(at), source, {} if data is None else data))
    return _encoded(event, "", changes)


def _origin(at: float | None) -> Origin:
    return Origin(region=REGION, account_id=ACCOUNT_ID, at=time.time() if at is None else at)


def _encoded(event: Any, wrapped_in: str, changes: Mapping[str, Any] | None) -> bytes:
    """Merges `changes` into the first item of the list `wrapped_in` or of an event list, else into the event."""
    inner = event[wrapped_in] if wrapped_in else event
    _merge(inner[0] if isinstance(inner, list) else inner, changes or {})
    return json.dumps(event).encode()


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value
