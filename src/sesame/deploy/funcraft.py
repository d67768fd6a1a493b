"""Reads Funcraft's `template.yml` (reference/conventions.md §4.1) into a project.

Called by `deploy.sources`. Keys that Funcraft accepts are deployed or noted; any other key is an error with its place.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sesame.deploy import auto_nas, fun_install, funcraft_keys, roles, trigger_keys, yaml_source
from sesame.deploy.intrinsics import Intrinsics, Server, stack_of
from sesame.deploy.project import (
    AsyncConfig,
    Code,
    Domain,
    Function,
    Note,
    Place,
    Project,
    Role,
    Service,
    TemplateError,
    Trigger,
    left_out,
)  # fmt: skip
from sesame.deploy.yaml_source import Node, meant
from sesame.model.limits import IMAGE_RUNTIME
from sesame.model.web_server import is_custom

PREFIX = "Aliyun::Serverless::"
SERVICE, FUNCTION, DOMAIN = f"{PREFIX}Service", f"{PREFIX}Function", f"{PREFIX}CustomDomain"
# The API requires a handler for every function.
UNUSED_HANDLER = "index.handler"
ELSEWHERE = "is made by another service of the cloud, which Sesame does not run"
NOT_MADE = "is not made by deploying: make it at the Log Service's endpoint (`sesame env`: SLS_ENDPOINT)"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z.0-9_-]{0,127}\Z")
_NO_MEANING: Mapping[str, str] = {
    f"{PREFIX}Api": "an API of API Gateway, which Sesame does not run",
    f"{PREFIX}TableStore": f"a Tablestore instance {ELSEWHERE}",
    f"{PREFIX}TableStore::Table": f"a table {ELSEWHERE}",
    f"{PREFIX}Log": f"a log project {NOT_MADE}",
    f"{PREFIX}Log::Logstore": f"a logstore {NOT_MADE}",
    f"{PREFIX}MNSTopic": f"a topic {ELSEWHERE}",
    f"{PREFIX}Flow": f"a flow {ELSEWHERE}",
}
_TOP = {
    "ROSTemplateFormatVersion", "Transform", "Resources", "Parameters", "Mappings", "Outputs", "Conditions",
    "Description", "Metadata", "Globals", "Rules",
}  # fmt: skip


def read(path: Path, options: funcraft_keys.Options) -> Project:
    """Raises `TemplateError`."""
    root = yaml_source.read(path)
    notes: list[Note] = []
    if root.value is None:
        return Project(source=path, notes=(Note(root.place, "the template is empty: there is nothing to deploy"),))
    yaml_source.only(root, dict.fromkeys(_TOP), notes, "a template")
    yaml_source.require(root, "ROSTemplateFormatVersion", "a template")
    server = Server(options.account_id, options.region, stack_of(path.absolute().parent.name))
    resolved = Intrinsics(root, server, options.parameters).resolve(
        yaml_source.require(root, "Resources", "a template")
    )
    made = _Template(path, options, notes)
    for name, resource in resolved.mapping("resources by name").items():
        made.resource(name, resource, resolved.keys.get(name, resource.place))
    return made.project()


class _Template:
    def __init__(self, path: Path, options: funcraft_keys.Options, notes: list[Note]) -> None:
        self._path, self._folder, self._options, self._notes = path, path.parent, options, notes
        self._roles: list[Role] = []
        self._services: list[Service] = []
        self._functions: list[Function] = []
        self._triggers: list[Trigger] = []
        self._async: list[AsyncConfig] = []
        self._domains: list[Domain] = []

    def project(self) -> Project:
        return Project(
            source=self._path,
            roles=tuple(self._roles),
            services=tuple(self._services),
            functions=tuple(self._functions),
            triggers=tuple(self._triggers),
            async_configs=tuple(self._async),
            domains=tuple(self._domains),
            notes=tuple(self._notes),
        )

    def resource(self, name: str, node: Node, place: Place) -> None:
        if not _NAME.match(name):
            raise TemplateError(
                place, f"'{name[:80]}' is not a valid name of a resource: expected letters, digits, '.', '_', '-'"
            )
        kind = yaml_source.require(node, "Type", f"the resource '{name}'")
        match kind.text():
            case t if t == SERVICE:
                self._service(name, node)
            case t if t == DOMAIN:
                self._domain(name, node)
            case t if t in _NO_MEANING:
                self._notes.append(Note(place, f"{name}: {_NO_MEANING[t]}"))
            case t if t.startswith("ALIYUN::"):
                self._notes.append(Note(place, f"{name}: {t} {ELSEWHERE}"))
            case t:
                known = dict.fromkeys([SERVICE, DOMAIN, *_NO_MEANING])
                raise TemplateError(kind.place, f"there is no type '{t[:80]}' of resource{yaml_source.meant(t, known)}")

    def _service(self, name: str, node: Node) -> None:
        given = node.mapping().get("Properties")
        properties = given if given is not None and given.value is not None else Node({}, node.place)
        fields = yaml_source.fields(properties, funcraft_keys.SERVICE_KEYS, self._notes, "a service")
        auto_nas.settle(fields, properties.mapping().get("NasConfig"), name, self._options.region)
        functions = {
            key: value for key, value in node.mapping().items() if key not in ("Type", "Properties", *funcraft_keys.ROS)
        }
        wants_role = roles.Wanted.of(properties, functions.values())
        if "role" not in fields and wants_role:
            role = roles.generated(name, self._options.region, wants_role)
            self._roles.append(role)
            fields["role"] = f"acs:ram::{self._options.account_id}:role/{role.name}"
        self._services.append(Service(name=name, fields=fields, place=node.place))
        for key, value in functions.items():
            self._function(name, key, value)

    def _function(self, service: str, name: str, node: Node) -> None:
        what = f"the function '{name}'"
        kind = yaml_source.require(node, "Type", what)
        if kind.text() != FUNCTION:
            raise kind.refuse(FUNCTION)
        yaml_source.only(
            node, dict.fromkeys(("Type", "Properties", "Events", *funcraft_keys.ROS)), self._notes, "a function"
        )
        properties = yaml_source.require(node, "Properties", what)
        runtime = _runtime(properties)
        lacking = yaml_source.missing(properties, _needed(runtime), what)
        self._notes += lacking
        fields = yaml_source.fields(properties, funcraft_keys.FUNCTION_KEYS, self._notes, what)
        if lacking:
            return
        if is_custom(runtime):
            fields.setdefault("handler", UNUSED_HANDLER)
        uri = properties.mapping().get("CodeUri")
        code = Code() if uri is None else self._code(uri, runtime)
        if code.path is not None and code.path.is_dir() and fun_install.asked(code.path):
            fields["environmentVariables"] = fun_install.variables(fields.get("environmentVariables", {}))
        self._functions.append(Function(service=service, name=name, fields=fields, code=code, place=node.place))
        settings = properties.mapping().get("AsyncConfiguration")
        if settings is not None:
            wanted = yaml_source.fields(settings, funcraft_keys.ASYNC_KEYS, self._notes, "AsyncConfiguration")
            self._async.append(
                AsyncConfig(service=service, function=name, qualifier="LATEST", fields=wanted, place=settings.place)
            )
        triggers = node.mapping().get("Events")
        for key, value in (triggers.mapping("triggers by name") if triggers is not None else {}).items():
            self._trigger(service, name, key, value)

    def _code(self, uri: Node, runtime: str) -> Code:
        text = uri.text("a file, a folder or oss://bucket/object")
        if text.startswith("oss://"):
            bucket, _, key = text.removeprefix("oss://").partition("/")
            if not bucket or not key:
                raise uri.refuse("oss://bucket/object")
            return Code(bucket=bucket, object=key)
        path = (self._folder / text).resolve()
        return Code(path=path, ignore_file=self._folder / ".funignore", left_out=left_out(runtime))

    def _trigger(self, service: str, function: str, name: str, node: Node) -> None:
        what = f"the trigger '{name}'"
        kind = yaml_source.require(node, "Type", what)
        given = node.mapping().get("Properties")
        properties = given if given is not None and given.value is not None else Node({}, node.place)
        if kind.text() in ("API", "Datahub"):
            self._notes.append(
                Note(node.place, f"{name}: {kind.text()} triggers need a service that Sesame does not run")
            )
            return
        reader = funcraft_keys.TRIGGERS.get(kind.text())
        if reader is None:
            raise TemplateError(
                kind.place,
                f"there is no type '{kind.text()[:80]}' of trigger{meant(kind.text(), funcraft_keys.TRIGGERS)}",
            )
        table, source = reader
        config = yaml_source.fields(properties, table | funcraft_keys.OF_EVERY_TRIGGER, self._notes, what)
        common = {key: config.pop(key) for key in ("qualifier", "invocationRole") if key in config}
        if common.get("invocationRole"):
            common["invocationRole"] = trigger_keys.role_arn(common["invocationRole"], self._options)
        fields = trigger_keys.api_fields(kind.text(), config, source, self._options) | common
        self._triggers.append(Trigger(service=service, function=function, name=name, fields=fields, place=node.place))

    def _domain(self, name: str, node: Node) -> None:
        properties = yaml_source.require(node, "Properties", f"the domain '{name}'")
        found = yaml_source.fields(properties, funcraft_keys.DOMAIN_KEYS, self._notes, f"the domain '{name}'")
        domain = str(found.pop("domainName", name))
        if domain.lower() == "auto":
            domain = _domain_of(name, found)
            self._notes.append(Note(node.place, f"{name}: DomainName Auto is given by the cloud: here it is {domain}"))
        if "certConfig" in found:
            found["certConfig"] = {key: self._pem(key, value) for key, value in found["certConfig"].items()}
        self._domains.append(Domain(name=domain, fields=found, place=node.place))

    def _pem(self, key: str, value: Any) -> Any:
        """A certificate or key: the text itself, or the contents of the file it names."""
        if key == "certName" or not isinstance(value, str) or "-----BEGIN" in value:
            return value
        path = self._folder / value
        try:
            return path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(Place(str(self._path)), f"{key}: {path} cannot be read: {error}") from error


def _domain_of(name: str, fields: dict[str, Any]) -> str:
    """A domain named after the function in its first route, since templates use equal names; otherwise after `name`."""
    routes: list[dict[str, Any]] = fields.get("routeConfig", {}).get("routes", [])
    first = routes[0] if routes else {}
    led_to = [str(first[key]) for key in ("functionName", "serviceName") if first.get(key)]
    return f"{'.'.join(led_to) or name}.sesame.test".replace("_", "-").lower()


def _needed(runtime: str) -> list[str]:
    """The keys that Funcraft requires, except the handler of a custom runtime, which has none."""
    if runtime == IMAGE_RUNTIME:
        return ["Runtime", "CustomContainerConfig"]
    return ["Runtime", "CodeUri"] if is_custom(runtime) else ["Handler", "Runtime", "CodeUri"]


def _runtime(properties: Node) -> str:
    found = properties.mapping().get("Runtime")
    return "" if found is None or found.value is None else found.text()
