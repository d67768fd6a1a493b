"""Whether Sesame raises the events of a trigger, and if not, why.

Used by `triggers.silent` for the server's log, and by `sesame triggers list`. docs/compatibility.md lists the types.
"""

from collections.abc import Mapping
from typing import Any

from sesame.model import limits, object_event, schedules
from sesame.model import trigger_configs as configs

# By type: why Sesame raises no such events.
NOT_RAISED: Mapping[str, str] = {
    configs.MNS_TOPIC: "Sesame has no Message Service, so no message is published",
    configs.TABLESTORE: "Sesame has no Tablestore, so no row changes",
    configs.CDN_EVENTS: "Sesame has no CDN",
    configs.RDS: "Sesame has no RDS, so no row changes",
    configs.EVENTBRIDGE: "Sesame has no EventBridge",
}
DISABLED = "it is disabled"


def why_silent(trigger_type: str, trigger_config: Mapping[str, Any]) -> str:
    """Why a trigger does not fire in its current state; "" if it does."""
    if trigger_type in NOT_RAISED:
        return NOT_RAISED[trigger_type]
    if trigger_type == configs.TIMER:
        return _why_no_tick(configs.read_timer(trigger_config))
    if trigger_type == configs.LOG:
        return "" if configs.read_log(trigger_config).enable else DISABLED
    if trigger_type == configs.OSS:
        return _why_no_object_event(configs.read_oss(trigger_config))
    return ""


def _why_no_tick(config: configs.TimerConfig) -> str:
    if not config.enable:
        return DISABLED
    try:
        schedules.timer(config.cron_expression)
    except schedules.NotASchedule as error:
        return f"its schedule cannot be read: expected {error}"
    return ""


def _why_no_object_event(config: configs.OssConfig) -> str:
    if not config.enable:
        return DISABLED
    named = object_event.named_by_any(config.events)
    if named.isdisjoint(object_event.RAISED):
        return f"Sesame's object storage raises none of the events {', '.join(config.events)}"
    return _why_no_key(config.filter.key)


def _why_no_key(key: configs.OssKeyFilter) -> str:
    if key.prefix.startswith(limits.NOT_FIRST_IN_KEY):
        return f"no object's key begins with '{key.prefix[0]}', as its prefix does: leave it away"
    for name, text in (("prefix", key.prefix), ("suffix", key.suffix)):
        if len(text.encode()) > limits.OBJECT_KEY_BYTES:
            return f"its {name} is longer than any object's key, which has at most {limits.OBJECT_KEY_BYTES} bytes"
    return ""
