"""The keys of Funcraft's template (reference/conventions.md §4.1) and the API fields they become.

Used by `deploy.funcraft`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sesame.deploy import api_values, events, trigger_keys, yaml_source
from sesame.deploy.yaml_source import Key, Node
from sesame.model.domain import CertConfig
from sesame.model.service import NasConfig, VpcConfig


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters from the server and the command line. `parameters` take precedence over the template's defaults."""

    account_id: str
    region: str
    parameters: Mapping[str, str] = {}


def _routes(node: Node) -> dict[str, Any]:
    routes: list[dict[str, Any]] = []
    for name, value in node.mapping().items():
        if name.lower() != "routes":
            raise value.refuse("Routes")
        if isinstance(value.value, list):
            routes += [
                {"path": yaml_source.require(each, "Path", "a route").text(), **_route(each)} for each in value.items()
            ]
            continue
        for path, target in value.mapping("paths with ServiceName and FunctionName").items():
            routes.append({"path": path, **_route(target)})
    return {"routes": routes}


def _route(node: Node) -> dict[str, Any]:
    return yaml_source.fields(node, events.any_case(_ROUTE_KEYS), None, "a route")


def _log(node: Node) -> dict[str, Any] | None:
    """Empty for `Auto`, for which the cloud creates a log project; Sesame's built-in store keeps the lines."""
    if isinstance(node.value, str) and node.value.lower() == "auto":
        return {}
    return yaml_source.fields(node, _LOG_KEYS, None, "LogConfig")


def _auto_or(read: Callable[[Node], Any]) -> Callable[[Node], Any]:
    def one(node: Node) -> Any:
        return {} if isinstance(node.value, str) and node.value.lower() == "auto" else read(node)

    return one


def _lifecycle(node: Node) -> dict[str, Any]:
    return yaml_source.fields(
        node, {"PreFreeze": Key("preFreeze", events.hook), "PreStop": Key("preStop", events.hook)}, None,
        "InstanceLifecycleConfig",
    )  # fmt: skip


def _destinations(node: Node) -> dict[str, Any]:
    table = {"OnSuccess": Key("onSuccess", events.destination), "OnFailure": Key("onFailure", events.destination)}
    return yaml_source.fields(node, table, None, "Destination")


def _source(node: Node) -> dict[str, Any]:
    return yaml_source.fields(node, events.any_case({"Logstore": Key("logstore", Node.text)}), None, "SourceConfig")


def _job(node: Node) -> dict[str, Any]:
    table = {"MaxRetryTime": Key("maxRetryTime", Node.integer), "TriggerInterval": Key("triggerInterval", Node.integer)}
    return yaml_source.fields(node, events.any_case(table), None, "JobConfig")


def _cdn_filter(node: Node) -> dict[str, Any]:
    return {name[:1].lower() + name[1:]: events.texts(value) for name, value in node.mapping().items()}


# Keys of ROS that order the creation of resources, or document them.
ROS = ("DependsOn", "Metadata", "Condition", "DeletionPolicy")

_LOG_KEYS = {
    "Project": Key("project", Node.text),
    "Logstore": Key("logstore", Node.text),
    "EnableRequestMetrics": Key("enableRequestMetrics", Node.boolean),
    "EnableInstanceMetrics": Key("enableInstanceMetrics", Node.boolean),
}
SERVICE_KEYS = {
    "Description": Key("description", Node.text),
    "Role": Key("role", Node.text),
    "Policies": Key(),
    "InternetAccess": Key("internetAccess", Node.boolean),
    "VpcConfig": Key("vpcConfig", _auto_or(events.lower_keys(VpcConfig))),
    "LogConfig": Key("logConfig", _log),
    "NasConfig": Key("nasConfig", _auto_or(events.lower_keys(NasConfig))),
    "TracingConfig": Key(why=events.NO_TRACING),
}
FUNCTION_KEYS = {
    "Handler": Key("handler", Node.text),
    "Runtime": Key("runtime", Node.text),
    "CodeUri": Key(),
    "Initializer": Key("initializer", Node.text),
    "InitializationTimeout": Key("initializationTimeout", Node.integer),
    "Timeout": Key("timeout", Node.integer),
    "MemorySize": Key("memorySize", Node.integer),
    "Description": Key("description", Node.text),
    "EnvironmentVariables": Key("environmentVariables", events.environment),
    "InstanceType": Key("instanceType", Node.text),
    "InstanceConcurrency": Key("instanceConcurrency", Node.integer),
    "CAPort": Key("caPort", Node.integer),
    "Layers": Key("layers", events.texts),
    "InstanceLifecycleConfig": Key("instanceLifecycleConfig", _lifecycle),
    "AsyncConfiguration": Key(),
    "CustomContainerConfig": Key("customContainerConfig", events.lower_keys(dict[str, Any])),
    "NasConfig": Key(why="NAS is set for the service, not for a function"),
    "VpcConfig": Key(why="a network is set for the service, not for a function"),
}
ASYNC_KEYS = {
    "Destination": Key("destinationConfig", _destinations),
    "MaxAsyncEventAgeInSeconds": Key("maxAsyncEventAgeInSeconds", Node.integer),
    "MaxAsyncRetryAttempts": Key("maxAsyncRetryAttempts", Node.integer),
    "StatefulInvocation": Key("statefulInvocation", Node.boolean),
}
_ROUTE_KEYS = {
    "Path": Key(),
    "ServiceName": Key("serviceName", Node.text),
    "FunctionName": Key("functionName", Node.text),
    "Qualifier": Key("qualifier", Node.text),
    "Methods": Key("methods", events.methods),
}
DOMAIN_KEYS = {
    "DomainName": Key("domainName", Node.text),
    "Protocol": Key("protocol", Node.text),
    "RouteConfig": Key("routeConfig", _routes),
    "CertConfig": Key("certConfig", events.lower_keys(CertConfig)),
}
OF_EVERY_TRIGGER = events.any_case(
    {"Qualifier": Key("qualifier", Node.text), "InvocationRole": Key("invocationRole", Node.text)}
)
_LOG_TRIGGER_KEYS = {
    "SourceConfig": Key("sourceConfig", _source),
    "JobConfig": Key("jobConfig", _job),
    "LogConfig": Key("logConfig", lambda node: yaml_source.fields(node, events.any_case(_LOG_KEYS), None, "LogConfig")),
    "FunctionParameter": Key("functionParameter", api_values.of(dict[str, Any])),
    "Enable": Key("enable", Node.boolean),
}
_RDS_KEYS = {
    "InstanceId": Key("instanceId", Node.text),
    "SubscriptionObjects": Key("subscriptionObjects", events.texts),
    "Retry": Key("retry", Node.integer),
    "Concurrency": Key("concurrency", Node.integer),
    "EventFormat": Key("eventFormat", Node.text),
}
TRIGGERS: dict[str, trigger_keys.Reader] = {
    "Timer": (events.any_case(trigger_keys.TIMER), None),
    "HTTP": (events.any_case(trigger_keys.HTTP), None),
    "OSS": (events.any_case(trigger_keys.OSS), trigger_keys.bucket_arn),
    "Log": (events.any_case(_LOG_TRIGGER_KEYS), trigger_keys.project_arn),
    "MNSTopic": (events.any_case(trigger_keys.MNS_TOPIC), trigger_keys.topic_arn),
    "TableStore": (events.any_case(trigger_keys.TABLESTORE), trigger_keys.table_arn),
    "RDS": (events.any_case(_RDS_KEYS), trigger_keys.rds_arn),
    "CDN": (events.any_case(trigger_keys.cdn_events(_cdn_filter)), trigger_keys.cdn_arn),
}
