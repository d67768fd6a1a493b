"""Converts Serverless Devs templates older than edition 1.0.0 (`NAME: {Component: fc, Properties: …}`) to that edition.

Called by `deploy.serverless_devs`, which reads the result as an s.yaml. Nodes keep their places in the file.
"""

import re
from collections.abc import Mapping

from sesame.deploy.project import Place, TemplateError
from sesame.deploy.variables import DEPTH_MAX, Bound
from sesame.deploy.yaml_source import Node

GLOBAL = "Global"
# Refers to a global value or a property of another unit.
_VALUE = r"\$\{\s*([\w-]+(?:\.[\w-]+)+)\s*\}"
_WHOLE, _PART = re.compile(rf"\s*{_VALUE}\s*\Z"), re.compile(_VALUE)
_FUNCTION = re.compile(r"\$\{\s*(Env|Config)\(([^(){}]*)\)\s*\}")
_OUTPUT = re.compile(r"(\$\{\s*[\w-]+\.)Output\b")
# Keys whose names in edition 1.0.0 differ in more than the case of the first letter.
_NAMES = {
    "Log": "logConfig", "Vpc": "vpcConfig", "Nas": "nasConfig", "Tracing": "tracingConfig", "LogStore": "logstore",
    "NasAddr": "serverAddr", "Environment": "environmentVariables", "CustomContainer": "customContainerConfig",
    "CAPort": "caPort", "Domain": "domainName", "Routes": "routeConfigs", "Bucket": "bucketName", "Src": "src",
}  # fmt: skip
# Keys that only the tool uses, which are left out.
_OF_TOOL = ("Excludes", "Includes", "LocalDir", "Alias", "Dockerfile", "CrAccount", "Tags")


def recognized(root: Node) -> bool:
    """Whether each unit of the file except the global values names a component in that edition's form."""
    if not isinstance(root.value, dict):
        return False
    units = [unit for name, unit in root.value.items() if name != GLOBAL]
    return bool(units) and all(isinstance(unit.value, dict) and "Component" in unit.value for unit in units)


def rewritten(root: Node) -> Node:
    """The tree of an s.yaml of edition 1.0.0. Raises `TemplateError` for values of unexpected types."""
    bound = Bound()
    units = {name: _unit(_resolved(unit, root, bound)) for name, unit in root.mapping().items() if name != GLOBAL}
    return _mapping({"services": _mapping(units, root.place, root.keys)}, root.place)


def _resolved(node: Node, known: Node, bound: Bound, depth: int = 0) -> Node:
    """Replaces variables by their values, and functions of variables by their current names."""
    bound.take(node)
    if isinstance(node.value, dict):
        return Node(
            {key: _resolved(each, known, bound, depth) for key, each in node.value.items()}, node.place, node.keys
        )
    if isinstance(node.value, list):
        return Node([_resolved(each, known, bound, depth) for each in node.value], node.place)
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    if depth > DEPTH_MAX:
        raise TemplateError(node.place, f"variables lead from one to the next more than {DEPTH_MAX} times")
    whole = _WHOLE.match(node.value)
    if whole and (found := _at(known, whole[1])) is not None:
        return _resolved(found, known, bound, depth + 1)

    def part(match: re.Match[str]) -> str:
        found = _at(known, match[1])
        if found is None:
            return match[0]
        text = _resolved(found, known, bound, depth + 1).text()
        bound.take(node, len(text))
        return text

    text = _OUTPUT.sub(r"\1output", _PART.sub(part, node.value))
    return Node(_FUNCTION.sub(_spelled, text), node.place)


def _at(root: Node, path: str) -> Node | None:
    """Resolves a path; the output of a unit has the names of its properties, such as the name of a bucket."""
    found: Node | None = root
    for step in path.split("."):
        name = "Properties" if step == "Output" else step
        found = found.value.get(name) if found is not None and isinstance(found.value, dict) else None
    return found


def _spelled(function: re.Match[str]) -> str:
    name = function[2].strip()
    if function[1] == "Config":
        name = {"AccountId": "AccountID", "AccessKeyId": "AccessKeyID"}.get(name, name)
    return f"${{{function[1].lower()}({name})}}"


def _unit(unit: Node) -> Node:
    given = unit.mapping()
    made = {"component": given["Component"]}
    if given["Component"].value == "fc" and "Properties" in given:
        made["props"] = _props(given["Properties"])
    if "Extends" in given:
        made["actions"] = _actions(given["Extends"])
    return _mapping(made, unit.place, {"actions": unit.keys.get("Extends", unit.place)})


def _actions(extends: Node) -> Node:
    """The commands to run before and after a command of the tool: `{Hook, Path, Pre}`."""
    made: dict[str, Node] = {}
    for command, steps in extends.mapping("commands").items():
        runs = []
        for step in steps.items("hooks"):
            given = step.mapping("a hook")
            if "Hook" in given and (path := given.get("Path") or given.get("Src")) is not None:
                runs.append(_mapping({"run": given["Hook"], "path": path}, step.place))
        made[f"pre-{command}"] = Node(runs, steps.place)
    return _mapping(made, extends.place)


def _props(props: Node) -> Node:
    given = props.mapping("the properties of fc")
    made = {"region": given["Region"]} if "Region" in given else {}
    if (service := given.get("Service")) is not None:
        made["service"] = _lowered(service)
    function = given.get("Function")
    if function is not None and isinstance(function.value, dict):
        made["function"] = _function(function)
        triggers = function.value.get("Triggers", Node([], function.place)).items("triggers")
        made["triggers"] = Node([_trigger(each) for each in triggers], function.place)
        domains = [each for trigger in triggers for each in _domains(trigger)]
        made["customDomains"] = Node(domains, function.place)
    elif function is not None:
        made["function"] = function
    return _mapping(made, props.place, props.keys)


def _function(node: Node) -> Node:
    own = {key: each for key, each in node.mapping().items() if key != "Triggers"}
    made = _lowered(Node(own, node.place, node.keys)).mapping()
    initializer = made.get("initializer")
    if initializer is not None and isinstance(initializer.value, dict):
        made["initializer"] = initializer.value.get("handler", Node("", node.place))
        if "timeout" in initializer.value:
            made["initializationTimeout"] = initializer.value["timeout"]
    code = made.get("codeUri")
    if code is not None and isinstance(code.value, dict) and "object" in code.value and "bucketName" in code.value:
        made["ossBucket"], made["ossKey"] = code.value["bucketName"], code.value["object"]
        del made["codeUri"]
    return _mapping(made, node.place, node.keys)


def _trigger(node: Node) -> Node:
    given = node.mapping("a trigger")
    made = {name.lower(): given[name] for name in ("Name", "Type") if name in given}
    parameters = given.get("Parameters", Node({}, node.place)).mapping()
    config = _lowered(Node({key: each for key, each in parameters.items() if key != "Domains"}, node.place)).mapping()
    if isinstance((filtered := config.get("filter", Node(None, node.place))).value, dict):
        # Edition 1.0.0 has prefix and suffix below `Key`.
        inner = {key.capitalize(): each for key, each in filtered.value.items()}
        config["filter"] = _mapping({"Key": _mapping(inner, filtered.place)}, filtered.place)
    for name, as_ in (("invocationRole", "role"), ("qualifier", "qualifier")):
        if (value := config.pop(name, None)) is not None and not (as_ == "role" and _kind(made) == "http"):
            made[as_] = value
    made["config"] = _mapping(config, node.place)
    return _mapping(made, node.place, node.keys)


def _kind(trigger: Mapping[str, Node]) -> str:
    return str(trigger["type"].value).lower() if "type" in trigger else ""


def _domains(trigger: Node) -> list[Node]:
    parameters = trigger.mapping().get("Parameters", Node({}, trigger.place)).mapping()
    made = []
    for domain in parameters.get("Domains", Node([], trigger.place)).items("domains"):
        given = _lowered(domain).mapping("a domain")
        protocol = given.get("protocol", Node("HTTP", domain.place))
        if isinstance(protocol.value, list):
            given["protocol"] = Node(",".join(sorted(each.text() for each in protocol.value)), protocol.place)
        else:
            given["protocol"] = protocol
        given.setdefault(
            "routeConfigs", Node([_mapping({"path": Node("/*", domain.place)}, domain.place)], domain.place)
        )
        made.append(_mapping(given, domain.place))
    return made


def _lowered(node: Node) -> Node:
    """Converts keys to those of edition 1.0.0, and a list of `{Key, Value}` to a mapping."""
    if isinstance(node.value, list):
        pairs = [
            each.value for each in node.value if isinstance(each.value, dict) and set(each.value) == {"Key", "Value"}
        ]
        if pairs and len(pairs) == len(node.value):
            return _mapping({pair["Key"].text(): pair["Value"] for pair in pairs}, node.place)
        return Node([_lowered(each) for each in node.value], node.place)
    if not isinstance(node.value, dict):
        return node
    made = {_name(key): _lowered(each) for key, each in node.value.items() if key not in _OF_TOOL}
    return _mapping(made, node.place, {_name(key): place for key, place in node.keys.items()})


def _name(key: str) -> str:
    return _NAMES.get(key, key[:1].lower() + key[1:])


def _mapping(values: Mapping[str, Node], place: Place, keys: Mapping[str, Place] | None = None) -> Node:
    return Node(dict(values), place, {key: (keys or {}).get(key, each.place) for key, each in values.items()})
