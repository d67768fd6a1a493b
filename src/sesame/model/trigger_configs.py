"""The settings of each trigger type, as structs that `Trigger.trigger_config` is parsed into.

Used by `control.trigger_checks` when a trigger is stored, and by the parts that fire triggers.
Field names follow reference/api.md §3.5.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sesame.model.cors_rules import NONE, CorsRules


class OssKeyFilter(msgspec.Struct, frozen=True, rename="camel"):
    prefix: str = ""
    suffix: str = ""


class OssFilter(msgspec.Struct, frozen=True, rename="camel"):
    key: OssKeyFilter = OssKeyFilter()


class OssConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`enable` is an extension: the cloud's OSS triggers cannot be disabled."""

    events: tuple[str, ...] = ()
    filter: OssFilter = OssFilter()
    enable: bool = True


class LogSource(msgspec.Struct, frozen=True, rename="camel"):
    logstore: str = ""
    start_time: int | None = None


class LogJob(msgspec.Struct, frozen=True, rename="camel"):
    """`trigger_interval` is in seconds."""

    max_retry_time: int = 3
    trigger_interval: int = 60


class LogTarget(msgspec.Struct, frozen=True, rename="camel"):
    project: str = ""
    logstore: str = ""


class LogTriggerConfig(msgspec.Struct, frozen=True, rename="camel"):
    source_config: LogSource = LogSource()
    job_config: LogJob = LogJob()
    function_parameter: dict[str, Any] = {}
    log_config: LogTarget = LogTarget()
    enable: bool = True


class TimerConfig(msgspec.Struct, frozen=True, rename="camel"):
    """`cron_expression` is `@every 5m` or six fields, seconds first."""

    cron_expression: str = ""
    payload: str = ""
    enable: bool = True


class HttpConfig(msgspec.Struct, frozen=True, rename="camel"):
    auth_type: str = ""
    methods: tuple[str, ...] = ()
    auth_config: str | dict[str, Any] = ""
    disable_url_internet: bool = msgspec.field(default=False, name="disableURLInternet")
    cors_config: CorsRules = NONE


class CdnEventsConfig(msgspec.Struct, frozen=True, rename="camel"):
    event_name: str = ""
    event_version: str = ""
    notes: str = ""
    filter: dict[str, tuple[str, ...]] = {}


class MnsTopicConfig(msgspec.Struct, frozen=True, rename="camel"):
    filter_tag: str = ""
    notify_content_format: str = ""
    notify_strategy: str = ""


class TablestoreConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Has no settings."""


class RdsConfig(msgspec.Struct, frozen=True, rename="camel"):
    subscription_objects: tuple[str, ...] = ()
    retry: int = 0
    concurrency: int = 1
    event_format: str = ""


class EventSourceConfig(msgspec.Struct, frozen=True, rename="camel"):
    event_source_type: str = ""
    event_source_parameters: dict[str, Any] = {}


class EventBridgeConfig(msgspec.Struct, frozen=True, rename="camel"):
    trigger_enable: bool = False
    async_invocation_type: bool = False
    event_rule_filter_pattern: str = ""
    event_source_config: EventSourceConfig = EventSourceConfig()
    event_sink_config: dict[str, Any] = {}
    run_options: dict[str, Any] = {}


OSS, LOG, TIMER, HTTP, CDN_EVENTS = "oss", "log", "timer", "http", "cdn_events"
MNS_TOPIC, TABLESTORE, RDS, EVENTBRIDGE = "mns_topic", "tablestore", "rds", "eventbridge"

CONFIGS: Mapping[str, type[msgspec.Struct]] = {
    OSS: OssConfig,
    LOG: LogTriggerConfig,
    TIMER: TimerConfig,
    HTTP: HttpConfig,
    CDN_EVENTS: CdnEventsConfig,
    MNS_TOPIC: MnsTopicConfig,
    TABLESTORE: TablestoreConfig,
    RDS: RdsConfig,
    EVENTBRIDGE: EventBridgeConfig,
}


def readable(trigger_type: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those of another type than today's, which an earlier version stored unchecked."""
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(CONFIGS[trigger_type])}
    return {key: value for key, value in config.items() if key not in kinds or _is(value, kinds[key])}


def read_timer(config: Mapping[str, Any]) -> TimerConfig:
    return msgspec.convert(readable(TIMER, config), TimerConfig)


def read_oss(config: Mapping[str, Any]) -> OssConfig:
    return msgspec.convert(readable(OSS, config), OssConfig)


def read_log(config: Mapping[str, Any]) -> LogTriggerConfig:
    return msgspec.convert(readable(LOG, config), LogTriggerConfig)


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
