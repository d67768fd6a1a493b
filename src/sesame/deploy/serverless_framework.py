"""Reads a `serverless.yml` for the Serverless Framework's plugin `serverless-aliyun-function-compute` into a project.

Called by `deploy.sources`. Names are those chosen by the framework and the plugin; what the plugin creates at API
Gateway is noted.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import dotenv, events, roles, trigger_keys, yaml_source
from sesame.deploy.fc_keys import At
from sesame.deploy.project import Code, Function, Note, Place, Project, Role, Service, TemplateError, Trigger, left_out
from sesame.deploy.serverless_variables import Known, Variables
from sesame.deploy.yaml_source import Key, Node

NAMES = ("serverless.yml", "serverless.yaml")
PROVIDER, PLUGIN = "aliyun", "serverless-aliyun-function-compute"
DEFAULT_STAGE = "dev"
# The plugin's defaults.
DEFAULT_MEMORY_MB, DEFAULT_TIMEOUT_S = 128, 30
# What the braces of one pattern may stand for, in characters.
EXPANDED_MAX = 100_000
# Files that the framework itself leaves out.
EXCLUDED = (
    "/.git/**", "/.gitignore", "/.DS_Store", "/npm-debug.log", "/serverless.*", "/.serverless/**",
    "/.serverless_plugins/**",
)  # fmt: skip
# Plugins whose work `sesame deploy` does.
_DONE_HERE = (PLUGIN, "serverless-python-requirements")
_OURS = re.compile(
    rb"^provider:[ \t]*(?:\{[^\n]*\bname:[ \t]*)?['\"]?aliyun\b|^[ \t]+(?:\{[ \t]*)?name:[ \t]*['\"]?aliyun\b",
    re.MULTILINE,
)
_BUCKET_ARN = re.compile(r"acs:oss:[^:]*:[^:]*:([^:/*]+)\Z")
_BRACES = re.compile(r"\{([^{},]*(?:,[^{},]*)+)\}")
_TOP = {
    "service", "provider", "functions", "package", "plugins", "custom", "frameworkVersion", "resources", "useDotenv",
    "app", "org", "tenant", "layers", "configValidationMode", "variablesResolutionMode", "disabledDeprecations",
    "deprecationNotificationMode", "outputs", "params", "stages", "build", "console",
}  # fmt: skip
_PROVIDER: Mapping[str, Key] = {
    "name": Key(),
    "credentials": Key(),
    "region": Key(),
    "stage": Key(),
    "ramRoleStatements": Key(),
    "runtime": Key("runtime", Node.text),
    "memorySize": Key("memorySize", Node.integer),
    "timeout": Key("timeout", Node.integer),
    "environment": Key("environmentVariables", events.environment),
}
_FUNCTION: Mapping[str, Key] = {
    "name": Key(),
    "events": Key(),
    "package": Key(),
    "handler": Key("handler", Node.text),
    "description": Key("description", Node.text),
} | {name: key for name, key in _PROVIDER.items() if key.name}
_PACKAGE = {"exclude", "include", "patterns", "individually", "artifact", "excludeDevDependencies", "path"}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters from the server and the command line; `parameters` are the framework's options."""

    account_id: str
    region: str
    parameters: Mapping[str, str] = {}


def recognized(path: Path) -> bool:
    """Whether the file is for this provider, one of several that the framework supports."""
    return path.is_file() and _OURS.search(path.read_bytes()[:65536]) is not None


def named(path: Path) -> bool:
    """Whether a template is a serverless.yml: by its file name, otherwise by the plugin in it."""
    return path.name in NAMES or PLUGIN.encode() in path.read_bytes()[:65536]


def read(path: Path, options: Options) -> Project:
    """Raises `TemplateError`."""
    root = yaml_source.read(path)
    notes: list[Note] = []
    yaml_source.only(root, dict.fromkeys(_TOP), notes, "a serverless.yml", ignores=True)
    provider = _provider(root)
    stage = options.parameters.get("stage")
    given_stage = provider.mapping().get("stage", Node(None, root.place))
    known = Known(
        root=root,
        folder=path.parent,
        options=options.parameters,
        stage=stage or DEFAULT_STAGE,
        environ=_environment(root, path.parent, stage or DEFAULT_STAGE),
    )
    variables = Variables(known)
    if stage is None and given_stage.value is not None:
        in_file = variables.resolve(given_stage).text()
        environ = _environment(root, path.parent, in_file)
        variables = Variables(msgspec.structs.replace(known, stage=in_file, environ=environ))
    made = _Reader(path, options, variables, notes, stage or DEFAULT_STAGE)
    found = made.project(root, provider)
    return msgspec.structs.replace(found, notes=(*notes, *variables.notes))


def _environment(root: Node, folder: Path, stage: str) -> Mapping[str, str]:
    """The shell's variables and, with `useDotenv`, those of `.env.STAGE`, or else of `.env`."""
    if not _flag(root, "useDotenv"):
        return os.environ
    of_stage = folder / f".env.{stage}"
    return dotenv.environment(of_stage if of_stage.is_file() else folder / ".env")


def _provider(root: Node) -> Node:
    """The provider as a mapping; the file may have only its name. Raises `TemplateError` for another provider."""
    node = yaml_source.require(root, "provider", "a serverless.yml")
    if isinstance(node.value, str):
        node = Node({"name": node}, node.place, {"name": node.place})
    name = yaml_source.require(node, "name", "the provider")
    if name.text() != PROVIDER:
        raise name.refuse(f"the provider {PROVIDER}, which is Function Compute: other clouds' functions are not read")
    return node


class _Reader:
    def __init__(self, path: Path, options: Options, variables: Variables, notes: list[Note], stage: str) -> None:
        self._path, self._options, self._variables, self._notes = path, options, variables, notes
        # The plugin uses only the option in the service's name, whatever the provider's stage is.
        self._stage = stage
        self._at = At(path.parent, options.account_id, options.region)

    def project(self, root: Node, provider: Node) -> Project:
        top = root.mapping()
        self._of_other_services(top)
        given = self._resolved(provider, _PROVIDER)
        self._region(given)
        defaults = yaml_source.fields(given, _PROVIDER, self._notes, "the provider", ignores=True)
        name = self._service_name(root)
        service = f"{name}-{self._stage}"
        role = self._role(service, given.mapping().get("ramRoleStatements"))
        fields = {"role": f"acs:ram::{self._options.account_id}:role/{role.name}"}
        stage = self._stage if "stage" in self._options.parameters else _text(given, "stage", DEFAULT_STAGE)
        package = self._variables.resolve(top.get("package", Node({}, root.place)))
        functions: list[Function] = []
        triggers: list[Trigger] = []
        for key, node in self._functions(top.get("functions", Node({}, root.place))):
            function = self._function(service, f"{name}-{stage}-{key}", key, node, defaults, package)
            if function is not None:
                functions.append(function)
                triggers += self._events(function, node)
        if not functions and not any(note.error for note in self._notes):
            self._notes.append(Note(root.place, "the file has no functions: there is nothing to deploy", error=True))
        return Project(
            source=self._path,
            roles=(role,),
            services=(Service(name=service, fields=fields, place=provider.place),),
            functions=tuple(functions),
            triggers=tuple(triggers),
        )

    def _resolved(self, node: Node, keys: Mapping[str, Key]) -> Node:
        """Resolves variables only in keys that are read: others may have variables that only the framework knows."""
        values = {
            name: self._variables.resolve(value) if name in keys and name != "credentials" else value
            for name, value in node.mapping().items()
        }
        return Node(values, node.place, node.keys)

    def _of_other_services(self, top: dict[str, Node]) -> None:
        if "resources" in top and top["resources"].value:
            text = "resources: are made by other services of the cloud, which Sesame does not run"
            self._notes.append(Note(top["resources"].place, text))
        plugins = top.get("plugins", Node(None, Place(str(self._path))))
        listed = plugins.value if isinstance(plugins.value, list) else []
        others = [each.text() for each in listed if isinstance(each.value, str) and each.value not in _DONE_HERE]
        if others:
            self._notes.append(Note(plugins.place, f"plugins are not run: {', '.join(others)[:200]}"))

    def _region(self, provider: Node) -> None:
        region = provider.mapping().get("region")
        if region is not None and region.value is not None and region.text() != self._options.region:
            here = self._options.region
            text = f"region: {region.text()} is not this server's region {here}, to which it is deployed"
            self._notes.append(Note(region.place, text))

    def _service_name(self, root: Node) -> str:
        node = yaml_source.require(root, "service", "a serverless.yml")
        if isinstance(node.value, dict):
            node = yaml_source.require(node, "name", "the service")
        return self._variables.resolve(node).text("the name of the service")

    def _role(self, service: str, statements: Node | None) -> Role:
        """The plugin's role for a service: it may write logs, and do what the statements allow."""
        region, account = self._options.region, self._options.account_id
        logstore = f"acs:log:*:{account}:project/sls-{account}-{region}-logs/logstore/{service}"
        said: list[dict[str, Any]] = [
            {"Effect": "Allow", "Action": ["log:PostLogStoreLogs"], "Resource": [logstore]},
        ]
        for each in statements.items("a list of statements") if statements is not None else []:
            each.mapping("a statement with Effect, Action and Resource")
            said.append(each.plain())
        # Of a longer name the end is kept, which identifies the role.
        name = f"sls-{service}-{region}-exec-role".replace("_", "-")[-roles.NAME_CHARS_MAX :].lstrip("-")
        return Role(name=name, documents=({"Version": "1", "Statement": said},))

    def _functions(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Yields functions by key, from a mapping or a list of mappings, each of which may be in a separate file."""
        node = self._whole(node)
        for part in node.value if isinstance(node.value, list) else [node]:
            for key, value in self._whole(part).mapping("functions by name").items():
                yield key, self._resolved(self._whole(value), _FUNCTION)

    def _whole(self, node: Node) -> Node:
        """Resolves a value that is a single variable; variables inside of other values stay."""
        return self._variables.resolve(node) if isinstance(node.value, str) else node

    def _function(
        self, service: str, name: str, key: str, node: Node, defaults: dict[str, Any], package: Node
    ) -> Function | None:
        what = f"the function '{key[:80]}'"
        lacking = yaml_source.missing(node, ["handler"], what)
        self._notes += lacking
        own = yaml_source.fields(node, _FUNCTION, self._notes, what, ignores=True)
        fields = {"memorySize": DEFAULT_MEMORY_MB, "timeout": DEFAULT_TIMEOUT_S, **defaults, **own}
        if "runtime" not in fields:
            self._notes.append(Note(node.place, f"{what} has no runtime, and the provider neither", error=True))
        if lacking or "handler" not in own or "runtime" not in fields:
            return None
        variables = defaults.get("environmentVariables", {}) | own.get("environmentVariables", {})
        if variables:
            fields["environmentVariables"] = variables
        code = self._code(package, node.mapping().get("package", Node({}, node.place)), str(fields["runtime"]))
        return Function(service=service, name=_text(node, "name", name), fields=fields, code=code, place=node.place)

    def _code(self, package: Node, own: Node, runtime: str) -> Code:
        for each in (package, own):
            yaml_source.only(each, dict.fromkeys(_PACKAGE), self._notes, "package", ignores=True)
        artifact = _text(own, "artifact", "") or _text(package, "artifact", "")
        if artifact:
            return Code(path=(self._path.parent / artifact).resolve())
        alone = any(_flag(each, "individually") for each in (package, own))
        patterns = [*EXCLUDED]
        for each in (package, own) if alone else (package,):
            patterns += _patterns(each)
        return Code(path=self._path.parent.resolve(), left_out=left_out(runtime), patterns=tuple(patterns))

    def _events(self, function: Function, node: Node) -> list[Trigger]:
        found: list[Trigger] = []
        gateway = False
        for each in node.mapping().get("events", Node(None, node.place)).items("a list of events"):
            given = each.value if isinstance(each.value, dict) else {each.text("an event"): Node(None, each.place)}
            kind = next(iter(given), "")
            if kind in ("http", "https"):
                if not gateway:
                    text = f"{kind}: an API of API Gateway, which Sesame does not run: send its event to the function"
                    self._notes.append(Note(each.place, f"{text}, `sesame invoke {function.label} -e …`"))
                gateway = True
            elif kind == "oss":
                trigger = self._of_objects(function, given["oss"])
                found += [trigger] if trigger is not None else []
            else:
                text = f"{kind[:80]}: the plugin makes no such trigger, only http, https and oss: it is left out"
                self._notes.append(Note(each.place, text))
        return found

    def _of_objects(self, function: Function, node: Node) -> Trigger | None:
        arn = yaml_source.require(node, "sourceArn", "the event oss")
        bucket = _BUCKET_ARN.match(arn.text())
        if bucket is None and "${" in arn.text():
            return None  # The variable without a value has its note.
        if bucket is None:
            raise arn.refuse("acs:oss:REGION:ACCOUNT:BUCKET")
        config_node = node.mapping().get("triggerConfig", Node({}, node.place))
        config = yaml_source.fields(config_node, events.any_case(trigger_keys.OSS), self._notes, "triggerConfig")
        fields = trigger_keys.api_fields("oss", config | {"bucketName": bucket[1]}, trigger_keys.bucket_arn, self._at)
        if fields["sourceArn"] != arn.text():
            text = f"sourceArn: the bucket {bucket[1]} of this server is meant, and not {arn.text()[:120]}"
            self._notes.append(Note(arn.place, text))
        role = node.mapping().get("invocationRole")
        if role is not None and role.value:
            fields["invocationRole"] = trigger_keys.role_arn(role.text(), self._at)
        name = f"sls-oss-{function.name}".replace("-", "_")
        return Trigger(service=function.service, function=function.name, name=name, fields=fields, place=node.place)


def _text(node: Node, key: str, default: str) -> str:
    found = node.mapping().get(key)
    return default if found is None or found.value is None else found.text()


def _flag(node: Node, key: str) -> bool:
    found = node.mapping().get(key)
    return found is not None and found.value is not None and found.boolean()


def _patterns(package: Node) -> Iterator[str]:
    """Patterns of `exclude`, `include` and `patterns` in the framework's order: the last match decides."""
    given = package.mapping()
    for key, brings_in in (("exclude", False), ("include", True), ("patterns", True)):
        for each in given[key].items("a list of patterns") if key in given else []:
            text = each.text("a pattern")
            negated = text.startswith("!")
            taken = brings_in is not negated
            for pattern in _expanded(text[1:] if negated else text, each):
                yield f"{'!' if taken else ''}/{pattern.removeprefix('./').lstrip('/')}"


def _expanded(pattern: str, at: Node) -> list[str]:
    """Expands `*.{py,txt}` to `*.py` and `*.txt`, since ignore files do not support braces.

    Raises `TemplateError` for a pattern that stands for too many.
    """
    done: list[str] = []
    left = [pattern]
    characters = 0
    while left:
        text = left.pop()
        found = _BRACES.search(text)
        if found is None:
            done.append(text)
            continue
        before, behind = text[: found.start()], text[found.end() :]
        wholes = [f"{before}{each}{behind}" for each in reversed(found[1].split(","))]
        characters += sum(map(len, wholes)) + len(wholes)
        if characters > EXPANDED_MAX:
            text = f"found '{pattern[:80]}', whose braces stand for more than {EXPANDED_MAX} characters of patterns"
            raise TemplateError(at.place, f"{text}: expected fewer alternatives, or a pattern with *")
        left += wholes
    return done
