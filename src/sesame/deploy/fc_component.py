"""Reads the props of Serverless Devs' component `fc` (reference/conventions.md §4.5).

Called by `deploy.serverless_devs`; adds to the parts of a project.
"""

from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import auto_nas, fc_keys, roles, trigger_keys, yaml_source
from sesame.deploy.fc_keys import At
from sesame.deploy.project import (
    AsyncConfig,
    Code,
    Domain,
    Function,
    Note,
    Project,
    Role,
    Service,
    Setting,
    TemplateError,
    Trigger,
    left_out,
)  # fmt: skip
from sesame.deploy.yaml_source import Node

NAMES = ("fc", "fc-api", "fc-deploy", "fc-build", "fc-base", "fc-default", "fc-local-invoke", "fc-remote-invoke")

# The component's defaults.
DEFAULT_HANDLER = "index.handler"
DEFAULT_ROLE = "aliyunfcdefaultrole"
_REACHING = ("logConfig", "vpcConfig", "nasConfig", "ossMountConfig", "vpcBinding")
_REACHING_OF_FUNCTION = ("asyncConfiguration", "customContainerConfig")


class Parts:
    """The parts of a project read so far."""

    def __init__(self, notes: list[Note]) -> None:
        self.notes = notes
        self.roles: list[Role] = []
        self.services: dict[str, Service] = {}
        self.functions: list[Function] = []
        self.triggers: list[Trigger] = []
        self.async_configs: list[AsyncConfig] = []
        self.settings: list[Setting] = []
        self.domains: list[Domain] = []

    def role(self, wanted: Role) -> None:
        """Adds a role with its policies; units that define a role of the same name add theirs to it."""
        for index, known in enumerate(self.roles):
            if known.name.lower() == wanted.name.lower():
                self.roles[index] = msgspec.structs.replace(
                    known,
                    system_policies=tuple(dict.fromkeys(known.system_policies + wanted.system_policies)),
                    documents=known.documents + tuple(each for each in wanted.documents if each not in known.documents),
                )
                return
        self.roles.append(wanted)

    def trigger(self, service: str, function: str, name: str) -> Trigger | None:
        for each in self.triggers:
            if (each.service, each.function, each.name) == (service, function, name):
                return each
        return None

    def project(self, source: Path) -> Project:
        return Project(
            source=source,
            roles=tuple(self.roles),
            services=tuple(self.services.values()),
            functions=tuple(self.functions),
            triggers=tuple(self.triggers),
            async_configs=tuple(self.async_configs),
            settings=tuple(self.settings),
            domains=tuple(self.domains),
            notes=tuple(self.notes),
        )


def read(props: Node, made: Parts, at: At) -> None:
    """Raises `TemplateError`."""
    given = props.mapping("the props of fc")
    yaml_source.only(props, fc_keys.PROPS, made.notes, "fc", ignores=True)
    region = given.get("region")
    if region is not None and region.value is not None and region.text() != at.region:
        text = f"region: {region.text()} is not this server's region {at.region}, to which it is deployed"
        made.notes.append(Note(region.place, text))
    service = ""
    if given.get("service") is not None and given["service"].value is not None:
        service = _service(given["service"], given, made, at)
    function = ""
    if given.get("function") is not None and given["function"].value is not None:
        function = _function(service, given["function"], made, at)
    for trigger in given["triggers"].items("triggers") if "triggers" in given else []:
        _trigger(service, function, trigger, made, at)
    for domain in given["customDomains"].items("custom domains") if "customDomains" in given else []:
        _domain(service, function, domain, made, at)


def _service(node: Node, props: dict[str, Node], made: Parts, at: At) -> str:
    if isinstance(node.value, str):
        # A name without fields refers to the service of another unit or on the server.
        return node.text()
    name = _name(node, "the service")
    fields = yaml_source.fields(node, fc_keys.SERVICE_KEYS, made.notes, "the service", ignores=True)
    auto_nas.settle(fields, node.mapping().get("nasConfig"), name, at.region)
    role = node.mapping().get("role")
    if role is not None and isinstance(role.value, dict):
        wanted = _role(role)
        made.role(wanted)
        fields["role"] = f"acs:ram::{at.account_id}:role/{wanted.name.lower()}"
    elif role is not None and role.value and role.text().lower() != "auto":
        text = role.text()
        fields["role"] = text if text.startswith("acs:") else f"acs:ram::{at.account_id}:role/{text.lower()}"
    elif (role is not None and role.value) or _needs_role(node, props.get("function")):
        fields["role"] = trigger_keys.role_arn(DEFAULT_ROLE, at)
    elif role is not None and role.value is not None:
        fields["role"] = ""
    if "vpcBinding" in node.mapping():
        made.notes.append(Note(node.keys["vpcBinding"], "vpcBinding: there is no VPC here"))
    known = made.services.get(name)
    if known is None or len(fields) >= len(known.fields):
        made.services[name] = Service(name=name, fields=fields, place=node.place)
    return name


def _needs_role(service: Node, function: Node | None) -> bool:
    """Whether the component gives the cloud's default role to a service without a role, because of what it accesses."""
    given = service.mapping()
    of_function = function.mapping() if function is not None and isinstance(function.value, dict) else {}
    present = [given.get(key) for key in _REACHING] + [of_function.get(key) for key in _REACHING_OF_FUNCTION]
    return any(node is not None and node.value for node in present)


def _name(node: Node, what: str) -> str:
    """The name. Raises `TemplateError` for a variable in it, since the server could not be searched for it."""
    name = yaml_source.require(node, "name", what)
    if "${" in name.text():
        text = f"the name of {what} is {name.text()}, with a variable that only `s` resolves: write the name out"
        raise TemplateError(name.place, text)
    return name.text()


def _role(node: Node) -> Role:
    name = yaml_source.require(node, "name", "the role").text()
    system: list[str] = []
    documents: list[dict[str, Any]] = []
    policies = node.mapping().get("policies")
    for policy in policies.items() if policies is not None and isinstance(policies.value, list) else [policies]:
        if policy is None or policy.value is None:
            continue
        if isinstance(policy.value, dict):
            statement = policy.mapping().get("statement") or policy.mapping().get("Statement")
            if statement is None:
                raise policy.refuse("a policy with a statement")
            documents.append({"Version": "1", "Statement": [_statement(each) for each in statement.items()]})
        else:
            system.append(roles.policy_name(policy))
    return Role(name=name, system_policies=tuple(system), documents=tuple(documents), shared=True)


def _statement(node: Node) -> dict[str, Any]:
    return {
        name[:1].upper() + name[1:]: value.plain() for name, value in node.mapping("Effect, Action, Resource").items()
    }


def _function(service: str, node: Node, made: Parts, at: At) -> str:
    if isinstance(node.value, str):
        return node.text()
    name = _name(node, "the function")
    what = f"the function '{name}'"
    if not service:
        raise TemplateError(node.place, f"{what} needs a service beside it")
    fields = yaml_source.fields(node, fc_keys.FUNCTION_KEYS, made.notes, what, ignores=True)
    lacking = yaml_source.missing(node, ["runtime"], what)
    made.notes += lacking
    if lacking:
        return name
    fields.setdefault("handler", DEFAULT_HANDLER)
    made.functions.append(
        Function(service=service, name=name, fields=fields, code=_code(node, what, at), place=node.place)
    )
    settings = node.mapping().get("asyncConfiguration")
    if settings is not None and settings.value is not None:
        wanted = yaml_source.fields(settings, fc_keys.ASYNC_KEYS, made.notes, "asyncConfiguration", ignores=True)
        wanted.pop("qualifier", None)
        qualifier = settings.mapping().get("qualifier")
        made.async_configs.append(
            AsyncConfig(
                service=service,
                function=name,
                qualifier="LATEST" if qualifier is None else qualifier.text(),
                fields=wanted,
                place=settings.place,
            )
        )
    return name


def _code(node: Node, what: str, at: At) -> Code:
    given = node.mapping()
    bucket, key, uri = given.get("ossBucket"), given.get("ossKey"), given.get("codeUri")
    if bucket is not None and bucket.value and key is not None and key.value:
        return Code(bucket=bucket.text(), object=key.text())
    if uri is None or uri.value is None:
        if str(given.get("runtime", Node("", node.place)).value).startswith("custom-container"):
            return Code()
        raise TemplateError(node.place, f"{what} lacks the key 'codeUri'")
    if isinstance(uri.value, dict):
        # The form of old versions of the component.
        source = uri.mapping().get("src")
        if source is None:
            raise uri.refuse("a path")
        uri = source
    path = (at.folder / uri.text("a path")).resolve()
    runtime = given["runtime"].text() if "runtime" in given else ""
    return Code(path=path, ignore_file=path / ".fcignore", left_out=left_out(runtime))


def _trigger(service: str, function: str, node: Node, made: Parts, at: At) -> None:
    name = yaml_source.require(node, "name", "a trigger").text()
    what = f"the trigger '{name}'"
    yaml_source.only(node, fc_keys.TRIGGER_KEYS, made.notes, what, ignores=True)
    if not (service and function):
        raise TemplateError(node.place, f"{what} needs a service and a function beside it")
    if (twin := made.trigger(service, function, name)) is not None:
        first = f"the first is in line {twin.place.line}"
        made.notes.append(Note(node.place, f"{what} of '{service}/{function}' stands here twice; {first}", error=True))
        return
    kind = yaml_source.require(node, "type", what)
    reader = fc_keys.TRIGGERS.get(kind.text().lower())
    if reader is None:
        raise TemplateError(
            kind.place,
            f"there is no type '{kind.text()[:80]}' of trigger{yaml_source.meant(kind.text(), fc_keys.TRIGGERS)}",
        )
    table, source = reader
    given = node.mapping().get("config", Node({}, node.place))
    config = yaml_source.fields(given, table, made.notes, what, ignores=True)
    fields = trigger_keys.api_fields(kind.text(), config, source, at)
    for key, field in (("qualifier", "qualifier"), ("sourceArn", "sourceArn"), ("description", "description")):
        value = node.mapping().get(key)
        if value is not None and value.value is not None:
            fields[field] = value.text()
    role = node.mapping().get("role")
    if role is not None and role.value:
        if fields["triggerType"] == "http":
            text = f"{what}: its role is not used, because callers of an HTTP trigger have rights of their own"
            made.notes.append(Note(role.place, text))
        else:
            fields["invocationRole"] = trigger_keys.role_arn(role.text(), at)
    made.triggers.append(Trigger(service=service, function=function, name=name, fields=fields, place=node.place))


def _domain(service: str, function: str, node: Node, made: Parts, at: At) -> None:
    name = yaml_source.require(node, "domainName", "a custom domain").text()
    fields = yaml_source.fields(node, fc_keys.DOMAIN_KEYS, made.notes, f"the domain '{name}'", ignores=True)
    for route in fields.get("routeConfig", {}).get("routes", []):
        route.setdefault("serviceName", service)
        route.setdefault("functionName", function)
    if name.lower() == "auto":
        domain = f"{function}.{service}.sesame.test".replace("_", "-").lower()
        made.notes.append(Note(node.place, f"domainName auto is given by the cloud: here it is {domain}"))
        name = domain
    made.domains.append(Domain(name=name, fields=fields, place=node.place))
