"""Checks the props of the component `fc3` of Serverless Devs (reference/conventions.md §4.6).

Called by `deploy.serverless_devs`. Its functions belong to the API 2023-03-30: they are checked and named in the plan,
and not deployed as long as Sesame does not serve that API.
"""

from sesame.deploy import yaml_source
from sesame.deploy.fc_component import Parts
from sesame.deploy.fc_keys import At
from sesame.deploy.project import Note, TemplateError
from sesame.deploy.yaml_source import Node

WHY = "belongs to the API 2023-03-30, which Sesame does not serve yet: it is checked and not deployed"
_FUNCTION = (
    "region", "functionName", "runtime", "code", "handler", "memorySize", "cpu", "diskSize", "timeout",
    "instanceConcurrency", "environmentVariables", "description", "role", "internetAccess", "layers", "tags",
    "resourceGroupId", "logConfig", "nasConfig", "ossMountConfig", "vpcConfig", "vpcBinding", "customDNS", "gpuConfig",
    "tracingConfig", "instanceLifecycleConfig", "customRuntimeConfig", "customContainerConfig", "sessionAffinity",
    "sessionAffinityConfig", "instanceIsolationMode", "enableLongLiving", "annotations", "provisionConfig",
    "scalingConfig", "concurrencyConfig", "asyncInvokeConfig", "triggers", "customDomain", "endpoint", "aliases",
    "disableOndemand", "idleTimeout", "invocationRestriction", "modelConfig", "polarFsConfig", "agenticConfig",
)  # fmt: skip
_TRIGGER = ("triggerName", "triggerType", "triggerConfig", "invocationRole", "qualifier", "sourceArn", "description")
_TRIGGER_TYPES = ("http", "timer", "oss", "log", "mns_topic", "cdn_events", "tablestore", "eventbridge")
_DOMAIN = (
    "region", "domainName", "protocol", "route", "routeConfig", "certConfig", "tlsConfig", "authConfig", "wafConfig",
    "corsConfig", "endpoint",
)  # fmt: skip


def read(name: str, props: Node, made: Parts, at: At) -> None:
    """Raises `TemplateError` for unknown keys and for what a function of fc3 lacks."""
    given = props.mapping("the props of fc3")
    if "functionName" not in given and "domainName" in given:
        yaml_source.only(props, dict.fromkeys(_DOMAIN), made.notes, "fc3-domain")
        made.notes.append(Note(props.place, f"{name}: the domain {given['domainName'].text()} {WHY}"))
        return
    yaml_source.only(props, dict.fromkeys(_FUNCTION), made.notes, "fc3")
    function = yaml_source.require(props, "functionName", f"the service '{name}'").text()
    if "runtime" not in given and "code" not in given:
        raise TemplateError(props.place, f"the function '{function}' lacks the key 'runtime'")
    for trigger in given["triggers"].items("triggers") if "triggers" in given else []:
        yaml_source.only(trigger, dict.fromkeys(_TRIGGER), made.notes, "a trigger")
        kind = yaml_source.require(trigger, "triggerType", "a trigger")
        kind.one_of(*_TRIGGER_TYPES)
    code = given.get("code")
    if code is not None and isinstance(code.value, str) and "${" not in code.value:
        path = at.folder / code.value
        if not path.exists():
            made.notes.append(Note(code.place, f"code: {code.value} does not exist yet"))
    made.notes.append(Note(props.place, f"{name}: the function {function} {WHY}"))
