"""Reads the props of Serverless Devs' component `fc3` (reference/conventions.md §4.6).

Called by `deploy.serverless_devs`; adds to the parts of a project. Its functions have no service, and their fields are
those of the API 2023-03-30.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from sesame.deploy import api_values, auto_nas, events, fc_keys, trigger_keys, yaml_source
from sesame.deploy.fc_component import DEFAULT_ROLE, Parts
from sesame.deploy.fc_keys import At
from sesame.deploy.project import Code, Domain, Function, Note, Setting, TemplateError, Trigger, left_out
from sesame.deploy.yaml_source import Key, Node
from sesame.fc.v2023.inputs import FunctionInput
from sesame.fc.v2023.inputs_settings import (
    AsyncConfigInput,
    ConcurrencyInput,
    CustomDomainInput,
    ProvisionInput,
    RouteInput,
    ScalingInput,
)
from sesame.model import limits, trigger_configs
from sesame.model.owner import owner_of

DEFAULT_HANDLER = "index.handler"
_IMAGE = "custom-container"
_NOT_HERE = "is a setting of the tool or of the cloud's console"
# Keys that functions below read.
_READ = (
    "region", "functionName", "code", "role", "tags", "provisionConfig", "scalingConfig", "concurrencyConfig",
    "asyncInvokeConfig", "triggers", "customDomain", "vpcBinding",
)  # fmt: skip
_DOMAIN = (
    "region", "domainName", "protocol", "route", "routeConfig", "certConfig", "tlsConfig", "authConfig", "wafConfig",
    "corsConfig", "endpoint",
)  # fmt: skip


def _unless_auto(kind: inspect.Type) -> Callable[[Node], Any]:
    """Ignores `auto`, for which the tool would create a resource in the cloud."""
    return lambda node: {} if isinstance(node.value, str) else api_values.value(node, kind)


def _affinity(node: Node) -> Any:
    """A mapping, or the JSON text that the API expects."""
    return node.plain() if isinstance(node.value, dict) else node.text("a mapping, or its JSON text")


_TYPES = api_values.types_of(FunctionInput)
_PLAIN = (
    "runtime", "handler", "description", "internetAccess", "customDNS", "gpuConfig", "instanceLifecycleConfig",
    "customRuntimeConfig", "customContainerConfig", "sessionAffinity", "instanceIsolationMode", "enableLongLiving",
    "disableOndemand", "polarFsConfig", "resourceGroupId", "tracingConfig", "memorySize", "cpu", "diskSize", "timeout",
    "instanceConcurrency", "idleTimeout",
)  # fmt: skip
_KEYS: dict[str, Key] = {
    **{name: Key() for name in _READ},
    **{name: Key(name, api_values.reader(_TYPES[name])) for name in _PLAIN},
    **{
        name: Key(name, _unless_auto(_TYPES[name]))
        for name in ("logConfig", "vpcConfig", "nasConfig", "ossMountConfig")
    },
    "sessionAffinityConfig": Key("sessionAffinityConfig", _affinity),
    "layers": Key("layers", events.texts),
    "environmentVariables": Key("environmentVariables", events.environment),
    **{
        name: Key(why=_NOT_HERE)
        for name in ("annotations", "endpoint", "aliases", "invocationRestriction", "modelConfig", "agenticConfig")
    },
}
_TRIGGER = dict.fromkeys(
    ("triggerName", "triggerType", "triggerConfig", "invocationRole", "qualifier", "sourceArn", "description")
)
# By the template's key: the setting's path below the function's path, and the API's input.
_SETTINGS: dict[str, tuple[str, type]] = {
    "asyncInvokeConfig": ("async-invoke-config", AsyncConfigInput),
    "concurrencyConfig": ("concurrency", ConcurrencyInput),
    "provisionConfig": ("provision-config", ProvisionInput),
    "scalingConfig": ("scaling-config", ScalingInput),
}


def read(name: str, props: Node, made: Parts, at: At) -> None:
    """Raises `TemplateError`; unknown keys become notes that are errors."""
    given = props.mapping("the props of fc3")
    region = given.get("region")
    if region is not None and region.value is not None and region.text() != at.region:
        text = f"region: {region.text()} is not this server's region {at.region}, to which it is deployed"
        made.notes.append(Note(region.place, text))
    if "functionName" not in given and "domainName" in given:
        yaml_source.only(props, dict.fromkeys(_DOMAIN), made.notes, "fc3-domain", ignores=True)
        _add_domain(_domain(props, "", made, named_by=name), made)
        return
    function = yaml_source.require(props, "functionName", f"the service '{name}'").text()
    if "${" in function:
        text = f"the name of the function is {function}, with a variable that only `s` resolves: write the name out"
        raise TemplateError(props.place, text)
    what = f"the function '{function}'"
    fields = yaml_source.fields(props, _KEYS, made.notes, what, ignores=True)
    lacking = yaml_source.missing(props, ["runtime"], what)
    made.notes += lacking
    if lacking:
        return
    fields.setdefault("handler", DEFAULT_HANDLER)
    role = given.get("role")
    mounts = isinstance(fields.get("ossMountConfig"), dict) and fields["ossMountConfig"].get("mountPoints")
    if role is not None and role.value and role.text().lower() != "auto":
        fields["role"] = trigger_keys.role_arn(role.text(), at)
    elif (role is not None and role.value) or ((role is None or role.value is None) and mounts):
        # The component's default for a function with mounted buckets.
        fields["role"] = trigger_keys.role_arn(DEFAULT_ROLE, at)
    if (tags := given.get("tags")) is not None and tags.value:
        fields["tags"] = [_tag(each) for each in tags.items("tags")]
    if isinstance(config := fields.get("sessionAffinityConfig"), dict):
        # The API expects JSON text.
        fields["sessionAffinityConfig"] = msgspec.json.encode(config).decode()
    auto_nas.settle(fields, given.get("nasConfig"), function, at.region)
    owner = owner_of(function)
    made.functions.append(
        Function(service=owner, name=function, fields=fields, code=_code(props, fields, what, at), place=props.place)
    )
    for key, (path, kind) in _SETTINGS.items():
        if (node := given.get(key)) is not None and node.value:
            made.settings.append(_setting(function, path, node, kind))
    for trigger in given["triggers"].items("triggers") if "triggers" in given else []:
        made.triggers.append(_trigger(function, trigger, made, at))
    if (domain := given.get("customDomain")) is not None and domain.value:
        _add_domain(_domain(domain, function, made), made)
    if "vpcBinding" in given:
        made.notes.append(Note(props.keys["vpcBinding"], "vpcBinding: there is no VPC here"))


def _add_domain(domain: Domain, made: Parts) -> None:
    """Merges what several functions define for one domain: each adds its routes, as with the template's own tool.

    Raises `TemplateError` if a path leads to two functions.
    """
    former = next((each for each in made.domains if each.standing_alone and each.name == domain.name), None)
    if former is None:
        made.domains.append(domain)
        return
    routes = {route.get("path"): route for route in former.fields["routeConfig"]["routes"]}
    for route in domain.fields["routeConfig"]["routes"]:
        present = routes.get(route.get("path"))
        if present is not None and present["functionName"] != route["functionName"]:
            text = (
                f"the path {route.get('path')} of the domain {domain.name} leads to {present['functionName']} already, "
                f"and here to {route['functionName']}: give each a path of its own"
            )
            raise TemplateError(domain.place, text)
        routes[route.get("path")] = route
    fields = {**former.fields, **domain.fields, "routeConfig": {"routes": list(routes.values())}}
    made.domains[made.domains.index(former)] = msgspec.structs.replace(former, fields=fields)


def _tag(node: Node) -> dict[str, str]:
    found = {name.lower(): value.text() for name, value in node.mapping("a tag").items()}
    return {"Key": found.get("key", ""), "Value": found.get("value", "")}


def _code(props: Node, fields: dict[str, Any], what: str, at: At) -> Code:
    code = props.mapping().get("code")
    if code is None or code.value is None:
        if fields.get("runtime") == _IMAGE:
            return Code()
        of_fc = "; codeUri is a key of the component fc" if "codeUri" in props.mapping() else ""
        raise TemplateError(props.place, f"{what} lacks the key 'code'{of_fc}")
    if isinstance(code.value, dict):
        given = code.mapping()
        if "ossBucketName" in given and "ossObjectName" in given:
            return Code(bucket=given["ossBucketName"].text(), object=given["ossObjectName"].text())
        code = yaml_source.require(code, "src", "code")
    path = (at.folder / code.text("a path")).resolve()
    return Code(path=path, ignore_file=path / ".fcignore", left_out=left_out(str(fields.get("runtime", ""))))


def _setting(function: str, path: str, node: Node, kind: type) -> Setting:
    fields = api_values.struct(node, kind)
    fields.pop("qualifier", None)
    named = node.mapping().get("qualifier")
    qualifier = named.text() if named is not None and named.value else limits.LATEST
    return Setting(function=function, path=path, qualifier=qualifier, fields=fields, place=node.place)


def _trigger(function: str, node: Node, made: Parts, at: At) -> Trigger:
    name = yaml_source.require(node, "triggerName", "a trigger").text()
    what = f"the trigger '{name}'"
    yaml_source.only(node, _TRIGGER, made.notes, what, ignores=True)
    kind = yaml_source.require(node, "triggerType", what).one_of(*fc_keys.TRIGGERS, "eventbridge")
    given = node.mapping()
    config: dict[str, Any] = {}
    if "triggerConfig" in given:
        config = api_values.struct(given["triggerConfig"], trigger_configs.CONFIGS[kind]) or {}
        if "bucketName" in config:
            config["bucketName"] = given["triggerConfig"].mapping()["bucketName"].text()
    fields = trigger_keys.api_fields(kind, config, None, at)
    for key in ("qualifier", "sourceArn", "description"):
        if key in given and given[key].value is not None:
            fields[key] = given[key].text()
    if kind == "oss" and "sourceArn" not in fields:
        fields["sourceArn"] = trigger_keys.bucket_arn(config, at)
    if "invocationRole" in given and given["invocationRole"].value and kind != "http":
        fields["invocationRole"] = trigger_keys.role_arn(given["invocationRole"].text(), at)
    return Trigger(service=owner_of(function), function=function, name=name, fields=fields, place=node.place)


def _domain(node: Node, function: str, made: Parts, named_by: str = "") -> Domain:
    """A `function`'s domain, or an independent one: then `auto` derives the name from the first function in its routes.

    Without such a function, the name is derived from `named_by`.
    """
    node.mapping("a custom domain")
    given = api_values.struct(node, CustomDomainInput)
    name = given.pop("domainName", "auto") or "auto"
    for tool in ("region", "endpoint"):
        given.pop(tool, None)
    given.pop("route", None)
    route = node.mapping().get("route")
    config = given.setdefault("routeConfig", {})
    routes = config.setdefault("routes", [])
    if route is not None and route.value is not None:
        routes.append({"path": "/*", **api_values.struct(route, RouteInput)})
    for each in routes:
        each.setdefault("functionName", function)
        each.setdefault("qualifier", limits.LATEST)
    if name.lower() == "auto":
        led_to = (str(each["functionName"]) for each in routes if each["functionName"])
        name = f"{next(led_to, named_by)}.sesame.test".replace("_", "-").lower()
        made.notes.append(Note(node.place, f"domainName auto is given by the cloud: here it is {name}"))
    return Domain(name=name, fields=given, place=node.place, standing_alone=True)
