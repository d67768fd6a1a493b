"""Sample events have the fields of reference/runtime.md §15, and fit the trigger that they are made for.

Run by pytest.
"""

import json
from typing import Any

import cbor2
import pytest
from tests.control.test_triggers import ALL, MNS, OSS

from sesame.model import sample_events
from sesame.model.sample_events import Origin
from sesame.model.trigger import Trigger

# 2027-01-15T10:00:00Z
ORIGIN = Origin(region="cn-hangzhou", account_id="42", at=1_800_007_200.0)
FIELDS: dict[str, Any] = {
    "timer": {"triggerTime": str, "triggerName": str, "payload": str},
    "oss": {
        "events": [
            {
                "eventName": str, "eventSource": str, "eventTime": str, "eventVersion": str,
                "oss": {
                    "bucket": {"arn": str, "name": str, "ownerIdentity": str, "virtualBucket": str},
                    "object": {"deltaSize": int, "eTag": str, "key": str, "size": int,
                               "objectMeta": {"mimeType": str, "userMeta": dict}},
                    "ossSchemaVersion": str, "ruleId": str,
                },
                "region": str, "requestParameters": {"sourceIPAddress": str}, "responseElements": {"requestId": str},
                "userIdentity": {"principalId": str},
            }
        ]
    },
    "log": {
        "parameter": dict,
        "source": {"endpoint": str, "projectName": str, "logstoreName": str, "shardId": int, "beginCursor": str,
                   "endCursor": str},
        "jobName": str, "taskId": str, "cursorTime": int,
    },
    "cdn_events": {
        "events": [
            {"eventName": str, "eventVersion": str, "eventSource": str, "region": str, "eventTime": str, "traceId": str,
             "resource": {"domain": str}, "eventParameter": dict, "userIdentity": {"aliUid": str}}
        ]
    },
    "mns_topic": {
        "TopicOwner": str, "Message": str, "Subscriber": str, "PublishTime": int, "SubscriptionName": str,
        "MessageMD5": str, "TopicName": str, "MessageId": str,
    },
    "tablestore": {
        "Version": str,
        "Records": [
            {"Type": str, "Info": {"Timestamp": int},
             "PrimaryKey": [{"ColumnName": str, "Value": int}, {"ColumnName": str, "Value": str}],
             "Columns": [{"Type": str, "ColumnName": str, "Value": str, "Timestamp": int}]}
        ],
    },
    "apigateway": {
        "path": str, "httpMethod": str, "headers": dict, "queryParameters": dict, "pathParameters": dict, "body": str,
        "isBase64Encoded": bool,
    },
}  # fmt: skip


def assert_has(found: Any, fields: Any, where: str = "event") -> None:
    """Exactly these fields, of these types."""
    if isinstance(fields, dict):
        assert found.keys() == fields.keys(), where
        for name, inner in fields.items():
            assert_has(found[name], inner, f"{where}.{name}")
    elif isinstance(fields, list):
        assert len(found) == len(fields), where
        for one, inner in zip(found, fields, strict=True):
            assert_has(one, inner, f"{where}[]")
    else:
        assert type(found) is fields, where


def made_for(kind: str, config: Any, source: str | None = None) -> bytes:
    event = sample_events.of_trigger(Trigger("t", "id", kind, config, source), ORIGIN)
    assert event is not None
    return event


@pytest.mark.parametrize("kind", ["timer", "oss", "log", "cdn_events"])
def test_the_fields_are_those_of_the_cloud(kind: str) -> None:
    assert_has(json.loads(made_for(kind, ALL[kind])), FIELDS[kind])


def test_the_fields_of_what_no_trigger_or_no_json_is() -> None:
    assert_has(json.loads(sample_events.api_gateway("GET", "/", "")), FIELDS["apigateway"])
    assert_has(cbor2.loads(made_for("tablestore", {})), FIELDS["tablestore"])
    assert_has(json.loads(made_for("mns_topic", {**MNS, "notifyContentFormat": "JSON"})), FIELDS["mns_topic"])
    assert made_for("mns_topic", MNS) == b"Hello, Sesame"


def test_a_sample_is_one_that_its_trigger_could_get() -> None:
    timer = json.loads(made_for("timer", ALL["timer"]))
    assert timer == {"triggerTime": "2027-01-15T10:00:00Z", "triggerName": "t", "payload": "awesome-fc"}
    (event,) = json.loads(made_for("oss", OSS, "acs:oss:cn-hangzhou:42:photos"))["events"]
    assert event["oss"]["bucket"]["name"] == "photos"
    assert event["oss"]["object"]["key"] == "presamplesuf"
    assert event["eventName"] == "ObjectCreated:PutObject"
    removed = {"events": ["oss:ObjectRemoved:*"]}
    (event,) = json.loads(made_for("oss", removed, "acs:oss:cn-hangzhou:42:photos"))["events"]
    assert (event["eventName"], event["oss"]["object"]["deltaSize"]) == ("ObjectRemoved:DeleteObject", -13)
    log = json.loads(
        made_for("log", ALL["log"] | {"functionParameter": {"a": "b"}}, "acs:log:cn-hangzhou:42:project/p")
    )
    assert (log["source"]["projectName"], log["source"]["logstoreName"]) == ("p", "store_source")
    assert log["parameter"] == {"a": "b"}
    cdn = json.loads(made_for("cdn_events", ALL["cdn_events"]))["events"][0]
    assert (cdn["resource"]["domain"], cdn["eventTime"]) == ("d", "2027-01-15T18:00:00+08:00")


@pytest.mark.parametrize(("source", "listed"), [("MNS", True), ("RocketMQ", True), ("Kafka", True), ("Default", False)])
def test_event_bridge_sends_lists_from_queues(source: str, listed: bool) -> None:
    config = {**ALL["eventbridge"], "eventSourceConfig": {"eventSourceType": source}}
    found = json.loads(made_for("eventbridge", config))
    assert isinstance(found, list) == listed
    event = found[0] if listed else found
    assert event.keys() >= {"id", "source", "specversion", "type", "time", "data"}


def test_there_is_no_sample_of_what_is_not_known() -> None:
    for kind in ("rds", "http"):
        assert sample_events.of_trigger(Trigger("t", "id", kind, ALL[kind]), ORIGIN) is None
