"""Sample events of every trigger source, in the form that functions receive (reference/runtime.md §15).

Used by `sesame events`, and by `control.trigger_firing` for a trigger that is fired without an event.
"""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import cbor2
import msgspec

from sesame.model import object_event, utc
from sesame.model import trigger_configs as configs
from sesame.model.log_arrival_json import LogArrival, log_arrival_json
from sesame.model.object_event import Cause, ObjectEvent
from sesame.model.object_event_json import event_json
from sesame.model.tick_json import tick_json
from sesame.model.trigger import Trigger

# EventBridge sources whose functions receive a list of events; all others receive one event.
LISTED_SOURCES = ("MNS", "RocketMQ", "Kafka")
SAMPLE_KEY = "sample"
SAMPLE_BODY = b"Hello, Sesame"
_CLOUD_EVENT_TYPES = {
    "MNS": "mns:Queue:SendMessage",
    "RocketMQ": "mq:Topic:SendMessage",
    "Kafka": "alikafka:Topic:Message",
}
_CHINA = timezone(timedelta(hours=8))


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a sample event happens; `at` is in Unix seconds."""

    region: str
    account_id: str
    at: float

    @property
    def utc(self) -> datetime:
        return datetime.fromtimestamp(int(self.at), UTC)


def oss(
    origin: Origin, bucket: str, key: str, event_name: str = object_event.PUT_OBJECT, trigger_id: str = ""
) -> bytes:
    removed = event_name.startswith("ObjectRemoved:")
    size = len(SAMPLE_BODY)
    cause = Cause(
        event=event_name,
        account_id=origin.account_id,
        principal_id=origin.account_id,
        at=origin.at,
        source_ip="127.0.0.1",
        request_id=uuid.uuid4().hex[:24].upper(),
    )
    event = ObjectEvent(
        trigger_id=trigger_id,
        cause=cause,
        bucket=bucket,
        key=key,
        size=size,
        delta_size=-size if removed else size,
        etag=_md5(SAMPLE_BODY),
        mime_type="text/plain",
        user_meta={},
    )
    return event_json(event, origin.region)


def log(origin: Origin, project: str, logstore: str, job: str, parameter: Mapping[str, Any]) -> bytes:
    """Two cursors around one line that arrived a minute ago."""
    second = int(origin.at) - 60
    arrival = LogArrival(
        endpoint=f"http://{origin.region}-intranet.log.aliyuncs.com",
        project=project,
        logstore=logstore,
        shard=0,
        begin=_cursor(second),
        end=_cursor(second + 1),
        cursor_time=second,
    )
    return log_arrival_json(arrival, job, parameter)


def mns_topic(origin: Origin, topic: str, message: str, subscription: str) -> bytes:
    """In the JSON form. In the STREAM form the event is the message alone."""
    return msgspec.json.encode(
        {
            "TopicOwner": origin.account_id,
            "Message": message,
            "Subscriber": origin.account_id,
            "PublishTime": int(origin.at * 1000),
            "SubscriptionName": subscription,
            "MessageMD5": _md5(message.encode()),
            "TopicName": topic,
            "MessageId": uuid.uuid4().hex.upper(),
        }
    )


def cdn(origin: Origin, domain: str, event_name: str, event_version: str) -> bytes:
    end = int(origin.at) // 3600 * 3600
    parameter = {
        "domain": domain,
        "startTime": end - 3600,
        "endTime": end,
        "fileSize": len(SAMPLE_BODY),
        "filePath": f"http://cdnlog.example.com/{domain}/{end}.gz",
    }
    event = {
        "eventName": event_name,
        "eventVersion": event_version,
        "eventSource": "cdn",
        "region": origin.region,
        "eventTime": origin.utc.astimezone(_CHINA).isoformat(),
        "traceId": str(uuid.uuid4()),
        "resource": {"domain": domain},
        "eventParameter": parameter,
        "userIdentity": {"aliUid": origin.account_id},
    }
    return msgspec.json.encode({"events": [event]})


def tablestore(origin: Origin) -> bytes:
    """CBOR, as the cloud sends it: one row that was put.

    The record's time is in microseconds, the column's in milliseconds.
    """
    record = {
        "Type": "PutRow",
        "Info": {"Timestamp": int(origin.at * 1_000_000)},
        "PrimaryKey": [{"ColumnName": "pk_0", "Value": 1}, {"ColumnName": "pk_1", "Value": SAMPLE_KEY}],
        "Columns": [
            {
                "Type": "Put",
                "ColumnName": "attr_0",
                "Value": SAMPLE_BODY.decode(),
                "Timestamp": int(origin.at * 1000),
            }
        ],
    }
    return cbor2.dumps({"Version": "Sync-v1", "Records": [record]})


def api_gateway(method: str, path: str, body: str) -> bytes:
    return msgspec.json.encode(
        {
            "path": path,
            "httpMethod": method,
            "headers": {"Accept": "*/*", "Content-Type": "application/json; charset=utf-8"},
            "queryParameters": {},
            "pathParameters": {},
            "body": body,
            "isBase64Encoded": False,
        }
    )


def event_bridge(origin: Origin, source: str, data: Any) -> bytes:
    """A CloudEvents 1.0 event, or a list of one if functions receive lists from this source."""
    event = {
        "id": str(uuid.uuid4()),
        "source": f"acs:{source.lower()}",
        "specversion": "1.0",
        "type": _CLOUD_EVENT_TYPES.get(source, "sesame:Sample:Event"),
        "datacontenttype": "application/json; charset=utf-8",
        "subject": f"acs:{source.lower()}:{origin.region}:{origin.account_id}:{SAMPLE_KEY}",
        "time": utc.text_of(origin.at),
        "aliyunaccountid": origin.account_id,
        "aliyunregionid": origin.region,
        "data": data,
    }
    return msgspec.json.encode([event] if source in LISTED_SOURCES else event)


def of_trigger(trigger: Trigger, origin: Origin) -> bytes | None:
    """An event that this trigger could receive; None if the form of its events is unknown."""
    name, config = trigger.trigger_name, trigger.trigger_config
    match trigger.trigger_type:
        case configs.TIMER:
            return tick_json(name, configs.read_timer(config).payload, origin.at)
        case configs.OSS:
            return _of_bucket(trigger, configs.read_oss(config), origin)
        case configs.LOG:
            log_config = configs.read_log(config)
            project = _last(trigger.source_arn) or "project"
            return log(origin, project, log_config.source_config.logstore, name, log_config.function_parameter)
        case configs.MNS_TOPIC:
            message = SAMPLE_BODY.decode()
            if msgspec.convert(config, configs.MnsTopicConfig).notify_content_format != "JSON":
                return message.encode()
            return mns_topic(origin, _last(trigger.source_arn) or "topic", message, name)
        case configs.CDN_EVENTS:
            wanted = msgspec.convert(config, configs.CdnEventsConfig)
            domain = next(iter(wanted.filter.get("domain", ())), "www.example.com")
            return cdn(origin, domain, wanted.event_name, wanted.event_version)
        case configs.TABLESTORE:
            return tablestore(origin)
        case configs.EVENTBRIDGE:
            source = msgspec.convert(config, configs.EventBridgeConfig).event_source_config.event_source_type
            return event_bridge(origin, source, {"message": SAMPLE_BODY.decode()})
    return None


def _of_bucket(trigger: Trigger, config: configs.OssConfig, origin: Origin) -> bytes:
    named = sorted(object_event.named_by_any(config.events))
    preferred = [name for name in object_event.RAISED if name in named] + named
    key = f"{config.filter.key.prefix}{SAMPLE_KEY}{config.filter.key.suffix}"
    bucket = _last(trigger.source_arn) or "bucket"
    return oss(origin, bucket, key, preferred[0] if preferred else object_event.PUT_OBJECT, trigger.trigger_id)


def _last(arn: str | None) -> str:
    """The name at the end of an ARN: `acs:log:cn-hangzhou:42:project/NAME`, `acs:oss:cn-hangzhou:42:NAME`."""
    return (arn or "").rpartition(":")[2].rpartition("/")[2]


def _cursor(number: int) -> str:
    return (number * 1_000_000_000).to_bytes(8, "big").hex()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().upper()
