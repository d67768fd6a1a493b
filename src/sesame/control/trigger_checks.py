"""Reads a trigger's configuration by its type: normalizes known keys, and refuses values that could never fire.

Called by `control.triggers`; pure functions. Adds no keys: the stored configuration is what was sent (api.md §3.5).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from sesame.control import checks, cors_checks, jwt_auth, rules
from sesame.control.rules import Rule
from sesame.model import limits, object_event, schedules
from sesame.model import trigger_configs as configs
from sesame.model.conversion import converted
from sesame.model.errors import Invalid, Missing
from sesame.model.log_arrival_json import LogArrival, log_arrival_json
from sesame.model.tick_json import tick_json
from sesame.model.trigger import Trigger

HTTP_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
AUTH_TYPES = ("anonymous", "function", jwt_auth.JWT)
LOG_RETRIES_MAX = 100
LOG_INTERVAL_S_MIN, LOG_INTERVAL_S_MAX = 3, 600
NOTIFY_FORMATS = ("STREAM", "JSON", "")
NOTIFY_STRATEGIES = ("BACKOFF_RETRY", "EXPONENTIAL_DECAY_RETRY", "")
# As long as what Sesame itself puts into an event of a log trigger.
_LONG_ARRIVAL = LogArrival(
    endpoint="e" * 256,
    project="p" * 128,
    logstore="",
    shard=10**9,
    begin="b" * 64,
    end="e" * 64,
    cursor_time=10**11,
)
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


def check_config(trigger: Trigger, former: Trigger | None = None) -> None:
    """Raises `Rejected` for the first setting that is missing or invalid, for a changed trigger only of those that
    differ from `former`.
    """
    before = {} if former is None else former.trigger_config
    config = trigger.trigger_config
    changed = {key: value for key, value in config.items() if key not in before or value != before[key]}
    kept = configs.readable(trigger.trigger_type, {key: config[key] for key in config.keys() - changed.keys()})
    shape = configs.CONFIGS[trigger.trigger_type]
    read = converted({**kept, **changed}, shape, "trigger_config")
    present = None
    if former is not None:
        present = msgspec.convert(configs.readable(trigger.trigger_type, before), shape)
    rules.apply(_rules(trigger), read, present)


async def check_tokens(trigger: Trigger, former: Trigger | None = None) -> None:
    """Raises `Rejected` if an HTTP trigger's configuration for verifying tokens is invalid, and not the former one."""
    if former is not None and _tokens(trigger) == _tokens(former):
        return
    if trigger.trigger_type == configs.HTTP and trigger.trigger_config.get("authType") == jwt_auth.JWT:
        await jwt_auth.read_in_thread(trigger.trigger_config.get("authConfig"), "trigger_config.auth_config")


def _tokens(trigger: Trigger) -> tuple[Any, Any]:
    return trigger.trigger_config.get("authType"), trigger.trigger_config.get("authConfig")


def _check_events(events: tuple[str, ...]) -> None:
    if not events:
        raise Missing("trigger_config.events")
    for event in events:
        if not object_event.named_by(event):
            names = ", ".join(f"oss:{name}" for name in (*object_event.RAISED, *object_event.NOT_RAISED))
            raise Invalid("trigger_config.events", f"{names}, or `*` for a part of them", checks.shown(event))


def _check_cron(expression: str) -> None:
    _require("cron_expression", expression)
    try:
        schedules.timer(expression)
    except schedules.NotASchedule as error:
        raise Invalid("trigger_config.cron_expression", str(error), checks.shown(expression)) from error


def _check_payload(name: str, payload: str) -> None:
    # All events have the same size, because their times have the same length.
    size = len(tick_json(name, payload, 0.0))
    if size > limits.ASYNC_PAYLOAD_BYTES:
        allowed = f"a payload that makes events of at most {limits.ASYNC_PAYLOAD_BYTES} bytes"
        raise Invalid("trigger_config.payload", allowed, f"events of {size} bytes")


def _check_parameter(name: str, parameter: Mapping[str, Any], logstore: str) -> None:
    arrival = msgspec.structs.replace(_LONG_ARRIVAL, logstore=logstore)
    size = len(log_arrival_json(arrival, name, parameter))
    if size > limits.ASYNC_PAYLOAD_BYTES:
        allowed = f"parameters that make events of at most {limits.ASYNC_PAYLOAD_BYTES} bytes"
        raise Invalid("trigger_config.function_parameter", allowed, f"events of up to {size} bytes")


def _check_auth_type(auth_type: str) -> None:
    _require("auth_type", auth_type)
    checks.one_of("trigger_config.auth_type", auth_type, AUTH_TYPES)


def _check_methods(methods: tuple[str, ...]) -> None:
    if not methods:
        raise Missing("trigger_config.methods")
    for method in methods:
        checks.one_of("trigger_config.methods", method, HTTP_METHODS)


def _check_source_type(source_type: str) -> None:
    """It becomes a part of the name of the source's bus, and so of an ARN."""
    checks.name("trigger_config.event_source_config.event_source_type", source_type, limits.TRIGGER_NAME, 128)


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


def _required(field: str) -> Rule:
    return Rule((field,), partial(_require, field))


def _between(field: str, low: int, high: int) -> Rule:
    return Rule((field,), lambda value: checks.between(f"trigger_config.{field}", value, low, high))


def _one_of(field: str, allowed: tuple[str, ...]) -> Rule:
    return Rule((field,), lambda value: checks.one_of(f"trigger_config.{field}", value, allowed))


def _rules(trigger: Trigger) -> tuple[Rule, ...]:
    if trigger.trigger_type == configs.TIMER:
        return (*_RULES[configs.TIMER], Rule(("payload",), partial(_check_payload, trigger.trigger_name)))
    if trigger.trigger_type == configs.LOG:
        fields = ("function_parameter", "source_config.logstore")
        return (*_RULES[configs.LOG], Rule(fields, partial(_check_parameter, trigger.trigger_name)))
    return _RULES.get(trigger.trigger_type, ())


_RULES: Mapping[str, tuple[Rule, ...]] = {
    configs.OSS: (Rule(("events",), _check_events),),
    configs.LOG: (
        _required("source_config.logstore"),
        _between("job_config.max_retry_time", 0, LOG_RETRIES_MAX),
        _between("job_config.trigger_interval", LOG_INTERVAL_S_MIN, LOG_INTERVAL_S_MAX),
    ),
    configs.TIMER: (Rule(("cron_expression",), _check_cron),),
    configs.HTTP: (
        Rule(("auth_type",), _check_auth_type),
        Rule(("methods",), _check_methods),
        Rule(("cors_config",), partial(cors_checks.check, "trigger_config.cors_config")),
    ),
    configs.CDN_EVENTS: (_required("event_name"), _required("event_version")),
    configs.MNS_TOPIC: (
        _one_of("notify_content_format", NOTIFY_FORMATS),
        _one_of("notify_strategy", NOTIFY_STRATEGIES),
    ),
    configs.EVENTBRIDGE: (Rule(("event_source_config.event_source_type",), _check_source_type),),
}
