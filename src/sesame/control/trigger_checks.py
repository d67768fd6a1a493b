"""Reads a trigger's configuration by its type: normalizes known keys, and refuses values that could never fire.

Called by `control.triggers`; pure functions. Adds no keys: the stored configuration is what was sent (api.md §3.5).
"""

from typing import Any

import msgspec

from sesame.control import checks, cors_checks, jwt_auth
from sesame.model import limits, object_event, schedules
from sesame.model import trigger_configs as configs
from sesame.model.errors import Invalid, Missing, Unusable
from sesame.model.tick_json import tick_json

HTTP_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
AUTH_TYPES = ("anonymous", "function", jwt_auth.JWT)
LOG_RETRIES_MAX = 100
LOG_INTERVAL_S_MIN, LOG_INTERVAL_S_MAX = 3, 600
NOTIFY_FORMATS = ("STREAM", "JSON", "")
NOTIFY_STRATEGIES = ("BACKOFF_RETRY", "EXPONENTIAL_DECAY_RETRY", "")
# Types that need the ARN of their event source.
WITH_SOURCE = frozenset(
    {configs.OSS, configs.LOG, configs.CDN_EVENTS, configs.MNS_TOPIC, configs.TABLESTORE, configs.RDS}
)


def canonical(trigger_type: str, config: dict[str, Any]) -> dict[str, Any]:
    """The same configuration with known keys spelled as in the API, and without nulls."""
    checks.one_of("trigger_type", trigger_type, tuple(configs.CONFIGS))
    spelled = _spelled(configs.CONFIGS[trigger_type], config)
    assert isinstance(spelled, dict)
    return spelled


def check_config(trigger_type: str, trigger_name: str, config: dict[str, Any]) -> None:
    """Raises `Rejected` for the first setting that is missing or invalid."""
    try:
        read = msgspec.convert(config, configs.CONFIGS[trigger_type])
    except msgspec.ValidationError as error:
        raise Unusable(f"is set to an invalid value: {error}", field="trigger_config") from error
    match read:
        case configs.OssConfig():
            _check_oss(read)
        case configs.LogTriggerConfig():
            _check_log(read)
        case configs.TimerConfig():
            _check_timer(trigger_name, read)
        case configs.HttpConfig():
            _check_http(read)
        case configs.CdnEventsConfig():
            _require("event_name", read.event_name)
            _require("event_version", read.event_version)
        case configs.MnsTopicConfig():
            checks.one_of("trigger_config.notify_content_format", read.notify_content_format, NOTIFY_FORMATS)
            checks.one_of("trigger_config.notify_strategy", read.notify_strategy, NOTIFY_STRATEGIES)
        case configs.EventBridgeConfig():
            _require("event_source_config.event_source_type", read.event_source_config.event_source_type)


async def check_tokens(trigger_type: str, config: dict[str, Any]) -> None:
    """Raises `Rejected` if an HTTP trigger's configuration for verifying tokens is invalid."""
    if trigger_type == configs.HTTP and config.get("authType") == jwt_auth.JWT:
        await jwt_auth.read_in_thread(config.get("authConfig"), "trigger_config.auth_config")


def _check_oss(config: configs.OssConfig) -> None:
    if not config.events:
        raise Missing("trigger_config.events")
    for event in config.events:
        if not object_event.named_by(event):
            names = ", ".join(f"oss:{name}" for name in (*object_event.RAISED, *object_event.NOT_RAISED))
            raise Invalid("trigger_config.events", f"{names}, or `*` for a part of them", checks.shown(event))


def _check_log(config: configs.LogTriggerConfig) -> None:
    _require("source_config.logstore", config.source_config.logstore)
    job = config.job_config
    checks.between("trigger_config.job_config.max_retry_time", job.max_retry_time, 0, LOG_RETRIES_MAX)
    checks.between(
        "trigger_config.job_config.trigger_interval", job.trigger_interval, LOG_INTERVAL_S_MIN, LOG_INTERVAL_S_MAX
    )


def _check_timer(name: str, config: configs.TimerConfig) -> None:
    _require("cron_expression", config.cron_expression)
    try:
        schedules.timer(config.cron_expression)
    except schedules.NotASchedule as error:
        shown = checks.shown(config.cron_expression)
        raise Invalid("trigger_config.cron_expression", str(error), shown) from error
    # All events have the same size, because their times have the same length.
    size = len(tick_json(name, config.payload, 0.0))
    if size > limits.ASYNC_PAYLOAD_BYTES:
        allowed = f"a payload that makes events of at most {limits.ASYNC_PAYLOAD_BYTES} bytes"
        raise Invalid("trigger_config.payload", allowed, f"events of {size} bytes")


def _check_http(config: configs.HttpConfig) -> None:
    _require("auth_type", config.auth_type)
    checks.one_of("trigger_config.auth_type", config.auth_type, AUTH_TYPES)
    if not config.methods:
        raise Missing("trigger_config.methods")
    for method in config.methods:
        checks.one_of("trigger_config.methods", method, HTTP_METHODS)
    cors_checks.check("trigger_config.cors_config", config.cors_config)


def _require(label: str, value: str) -> None:
    if not value:
        raise Missing(f"trigger_config.{label}")


def _spelled(shape: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fields: dict[str, msgspec.structs.FieldInfo] = {}
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        fields = {field.encode_name.lower(): field for field in msgspec.structs.fields(shape)}
    spelled = {}
    for key, inner in value.items():
        if inner is None:
            continue
        field = fields.get(key.lower())
        spelled[key if field is None else field.encode_name] = _spelled(None if field is None else field.type, inner)
    return spelled
