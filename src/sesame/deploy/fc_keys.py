"""The keys of Serverless Devs' component `fc` (reference/conventions.md §4.5) and the API fields they become.

Used by `deploy.fc_component`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import api_values, events, trigger_keys, yaml_source
from sesame.deploy.project import Note
from sesame.deploy.yaml_source import Key, Node
from sesame.model.domain import CertConfig, RewriteConfig, TlsConfig
from sesame.model.trigger_configs import LogJob, LogSource

# A mapping whose keys only the server knows.
_ANY = api_values.of(dict[str, Any])
NOT_IN_THE_CLOUD = "is a setting of the tool and not of a function"


class At(msgspec.Struct, frozen=True):
    """The template's folder, and the account and region of the server it is deployed to."""

    folder: Path
    account_id: str
    region: str


def _inside(node: Node, table: Mapping[str, Key], notes: list[Note], what: str) -> dict[str, Any]:
    return yaml_source.fields(node, table, notes, what, ignores=True)


def _log(node: Node, notes: list[Note]) -> dict[str, Any]:
    if isinstance(node.value, str) and node.value.lower() == "auto":
        return {}
    table = {
        "project": Key("project", Node.text),
        "logstore": Key("logstore", Node.text),
        "enableRequestMetrics": Key("enableRequestMetrics", Node.boolean),
        "enableInstanceMetrics": Key("enableInstanceMetrics", Node.boolean),
        "logBeginRule": Key("logBeginRule", Node.text),
    }
    return _inside(node, table, notes, "logConfig")


def _vpc(node: Node, notes: list[Note]) -> dict[str, Any]:
    if isinstance(node.value, str):
        return {}
    table = {
        "vpcId": Key("vpcId", Node.text),
        "securityGroupId": Key("securityGroupId", Node.text),
        "vswitchIds": Key("vSwitchIds", events.texts),
        "vSwitchIds": Key("vSwitchIds", events.texts),
    }
    return _inside(node, table, notes, "vpcConfig")


def _nas(node: Node, notes: list[Note]) -> dict[str, Any]:
    if isinstance(node.value, str):
        return {}
    point = {
        "serverAddr": Key("serverAddr", Node.text), "nasDir": Key("nasDir", Node.text),
        "fcDir": Key("mountDir", Node.text), "mountDir": Key("mountDir", Node.text), "enableTLS": Key(),
    }  # fmt: skip

    def points(each: Node) -> list[dict[str, Any]]:
        found = [_inside(one, point, notes, "a mount point") for one in each.items()]
        for one in found:
            if directory := one.pop("nasDir", ""):
                one["serverAddr"] = f"{one.get('serverAddr', '')}:{directory}"
        return found

    table = {
        "userId": Key("userId", Node.integer), "groupId": Key("groupId", Node.integer),
        "mountPoints": Key("mountPoints", points),
    }  # fmt: skip
    return _inside(node, table, notes, "nasConfig")


def _buckets(node: Node, notes: list[Note]) -> dict[str, Any]:
    if isinstance(node.value, str):
        return {}
    point = {
        "bucketName": Key("bucketName", Node.text), "bucketPath": Key("bucketPath", Node.text),
        "endpoint": Key("endpoint", Node.text), "mountDir": Key("mountDir", Node.text),
        "readOnly": Key("readOnly", Node.boolean),
    }  # fmt: skip

    def points(each: Node) -> list[dict[str, Any]]:
        return [_inside(one, point, notes, "a mount point") for one in each.items()]

    return _inside(node, {"mountPoints": Key("mountPoints", points)}, notes, "ossMountConfig")


def _destinations(node: Node, notes: list[Note]) -> dict[str, Any]:
    table = {"onSuccess": Key("onSuccess", events.destination), "onFailure": Key("onFailure", events.destination)}
    return _inside(node, table, notes, "destination")


def _routes(node: Node, notes: list[Note]) -> dict[str, Any]:
    table = {
        "path": Key("path", Node.text),
        "serviceName": Key("serviceName", Node.text),
        "functionName": Key("functionName", Node.text),
        "qualifier": Key("qualifier", Node.text),
        "methods": Key("methods", events.methods),
        "rewriteConfig": Key("rewriteConfig", api_values.of(RewriteConfig)),
    }
    return {"routes": [_inside(each, table, notes, "a route") for each in node.items("routes")]}


def _lifecycle(node: Node, notes: list[Note]) -> dict[str, Any]:
    table = {"preFreeze": Key("preFreeze", events.hook), "preStop": Key("preStop", events.hook)}
    return _inside(node, table, notes, "instanceLifecycleConfig")


def _cdn_filter(node: Node) -> dict[str, Any]:
    return {name: events.texts(value) for name, value in node.mapping().items()}


PROPS = {"region": None, "service": None, "function": None, "triggers": None, "customDomains": None}
SERVICE_KEYS = {
    "name": Key(),
    "role": Key(),
    "vpcBinding": Key(),
    "description": Key("description", Node.text),
    "internetAccess": Key("internetAccess", Node.boolean),
    "logConfig": Key("logConfig", within=_log),
    "vpcConfig": Key("vpcConfig", within=_vpc),
    "nasConfig": Key("nasConfig", within=_nas),
    "ossMountConfig": Key("ossMountConfig", within=_buckets),
    "tracingConfig": Key(why=events.NO_TRACING),
}
FUNCTION_KEYS = {
    "name": Key(),
    "codeUri": Key(),
    "ossBucket": Key(),
    "ossKey": Key(),
    "asyncConfiguration": Key(),
    "description": Key("description", Node.text),
    "handler": Key("handler", Node.text),
    "memorySize": Key("memorySize", Node.integer),
    "runtime": Key("runtime", Node.text),
    "timeout": Key("timeout", Node.integer),
    "caPort": Key("caPort", Node.integer),
    "cAPort": Key("caPort", Node.integer),
    "cpu": Key("cpu", Node.number),
    "diskSize": Key("diskSize", Node.integer),
    "initializer": Key("initializer", Node.text),
    "initializationTimeout": Key("initializationTimeout", Node.integer),
    "instanceConcurrency": Key("instanceConcurrency", Node.integer),
    "instanceSoftConcurrency": Key("instanceSoftConcurrency", Node.integer),
    "instanceType": Key("instanceType", Node.text),
    "gpuMemorySize": Key("gpuMemorySize", Node.integer),
    "layers": Key("layers", events.texts),
    "environmentVariables": Key("environmentVariables", events.environment),
    "instanceLifecycleConfig": Key("instanceLifecycleConfig", within=_lifecycle),
    "customDNS": Key("customDNS", _ANY),
    "customRuntimeConfig": Key("customRuntimeConfig", _ANY),
    "customContainerConfig": Key("customContainerConfig", _ANY),
    "customHealthCheckConfig": Key("customHealthCheckConfig", _ANY),
    "import": Key(why=NOT_IN_THE_CLOUD),
    "protect": Key(why=NOT_IN_THE_CLOUD),
}
ASYNC_KEYS = {
    "destination": Key("destinationConfig", within=_destinations),
    "maxAsyncEventAgeInSeconds": Key("maxAsyncEventAgeInSeconds", Node.integer),
    "maxAsyncRetryAttempts": Key("maxAsyncRetryAttempts", Node.integer),
    "statefulInvocation": Key("statefulInvocation", Node.boolean),
    "qualifier": Key(),
}
TRIGGER_KEYS = dict.fromkeys(
    ("name", "type", "role", "sourceArn", "qualifier", "config", "description", "import", "protect")
)
DOMAIN_KEYS = {
    "domainName": Key(),
    "protocol": Key("protocol", Node.text),
    "routeConfigs": Key("routeConfig", within=_routes),
    "certConfig": Key("certConfig", api_values.of(CertConfig)),
    "certId": Key(why="certificates of the cloud's store are not here: give certConfig"),
    "tlsConfig": Key("tlsConfig", api_values.of(TlsConfig)),
    "wafConfig": Key("wafConfig", _ANY),
    "authConfig": Key("authConfig", _ANY),
}
_HTTP = trigger_keys.HTTP | {"disableURLInternet": Key("disableURLInternet", Node.boolean)}
_LOG = {
    "logConfig": Key("logConfig", within=_log), "jobConfig": Key("jobConfig", api_values.of(LogJob)),
    "sourceConfig": Key("sourceConfig", api_values.of(LogSource)), "functionParameter": Key("functionParameter", _ANY),
    "enable": Key("enable", Node.boolean),
}  # fmt: skip
TRIGGERS: dict[str, trigger_keys.Reader] = {
    "timer": (trigger_keys.TIMER, None),
    "http": (_HTTP, None),
    "oss": (trigger_keys.OSS, trigger_keys.bucket_arn),
    "log": (_LOG, trigger_keys.project_arn),
    "mns_topic": (trigger_keys.MNS_TOPIC, trigger_keys.topic_arn),
    "tablestore": (trigger_keys.TABLESTORE, trigger_keys.table_arn),
    "cdn_events": (trigger_keys.cdn_events(_cdn_filter), trigger_keys.cdn_arn),
    "eventbridge": (trigger_keys.EVENTBRIDGE, None),
}
