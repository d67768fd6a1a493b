"""Triggers in templates: their keys in the API's spelling, and the sources that these keys name.

Used by `deploy.funcraft_keys`, which accepts the keys in either case and adds some, and by `deploy.fc_keys`.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

from sesame.deploy import api_values, events, roles
from sesame.deploy.yaml_source import Key, Node
from sesame.model.trigger_configs import EventSourceConfig

_ROLE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

# The keys of a trigger type, and how to build its `sourceArn` from them.
Table = dict[str, Key]
SourceArn = Callable[[dict[str, Any], "Owner"], str]
Reader = tuple[Table, SourceArn | None]


class Owner(Protocol):
    """The account and region of the server that a template is deployed to."""

    @property
    def account_id(self) -> str: ...
    @property
    def region(self) -> str: ...


TIMER: Table = {
    "cronExpression": Key("cronExpression", Node.text),
    "enable": Key("enable", Node.boolean),
    "payload": Key("payload", Node.text),
}
HTTP: Table = {
    "authType": Key("authType", events.auth_type),
    "authConfig": Key("authConfig", api_values.of(str | dict[str, Any])),
    "methods": Key("methods", events.methods),
}
OSS: Table = {
    "bucketName": Key("bucketName", Node.text),
    "events": Key("events", events.texts),
    "filter": Key("filter", events.oss_filter),
}
MNS_TOPIC: Table = {
    "topicName": Key("topicName", Node.text),
    "region": Key("region", Node.text),
    "notifyContentFormat": Key("notifyContentFormat", Node.text),
    "notifyStrategy": Key("notifyStrategy", Node.text),
    "filterTag": Key("filterTag", Node.text),
}
EVENTBRIDGE: Table = {
    "triggerEnable": Key("triggerEnable", Node.boolean),
    "asyncInvocationType": Key("asyncInvocationType", Node.boolean),
    "eventRuleFilterPattern": Key("eventRuleFilterPattern", Node.text),
    "eventSourceConfig": Key("eventSourceConfig", api_values.of(EventSourceConfig)),
    "eventSinkConfig": Key("eventSinkConfig", api_values.of(dict[str, Any])),
    "runOptions": Key("runOptions", api_values.of(dict[str, Any])),
}
TABLESTORE: Table = {"instanceName": Key("instanceName", Node.text), "tableName": Key("tableName", Node.text)}


def cdn_events(read_filter: Callable[[Node], Any]) -> Table:
    return {
        "eventName": Key("eventName", Node.text),
        "eventVersion": Key("eventVersion", Node.text),
        "notes": Key("notes", Node.text),
        "filter": Key("filter", read_filter),
    }


def api_fields(kind: str, config: dict[str, Any], source: SourceArn | None, owner: Owner) -> dict[str, Any]:
    """The fields of CreateTrigger except its name; moves keys of `config` that name the source into `sourceArn`."""
    api_type = events.TRIGGER_TYPES[kind.lower()]
    fields: dict[str, Any] = {"triggerType": api_type, "triggerConfig": config}
    if source is not None:
        fields["sourceArn"] = source(config, owner)
    if api_type == "http" and "authConfig" in config:
        config["authConfig"] = events.auth_config(config["authConfig"])
    if api_type == "timer":
        config.setdefault("enable", True)
    elif api_type != "http":
        fields["invocationRole"] = f"acs:ram::{owner.account_id}:role/{roles.OF_TRIGGERS[api_type]}"
    return fields


def role_arn(role: str, owner: Owner) -> str:
    """Completes a role's name to the ARN that the API requires."""
    return f"acs:ram::{owner.account_id}:role/{role}" if _ROLE_NAME.match(role) else role


def bucket_arn(config: dict[str, Any], owner: Owner) -> str:
    return f"acs:oss:{owner.region}:{owner.account_id}:{config.pop('bucketName', '')}"


def project_arn(config: dict[str, Any], owner: Owner) -> str:
    return f"acs:log:{owner.region}:{owner.account_id}:project/{config.get('logConfig', {}).get('project', '')}"


def topic_arn(config: dict[str, Any], owner: Owner) -> str:
    return (
        f"acs:mns:{config.pop('region', '') or owner.region}:{owner.account_id}:/topics/{config.pop('topicName', '')}"
    )


def table_arn(config: dict[str, Any], owner: Owner) -> str:
    place = f"{config.pop('instanceName', '')}/table/{config.pop('tableName', '')}"
    return f"acs:ots:{owner.region}:{owner.account_id}:instance/{place}"


def rds_arn(config: dict[str, Any], owner: Owner) -> str:
    return f"acs:rds:{owner.region}:{owner.account_id}:dbinstance/{config.pop('instanceId', '')}"


def cdn_arn(_config: dict[str, Any], owner: Owner) -> str:
    return f"acs:cdn:*:{owner.account_id}"
