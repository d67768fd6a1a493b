"""Resolves ROS functions, long and short: `Ref`, `Fn::Sub`, `Fn::Join`, `Fn::FindInMap`, `Fn::GetAtt`.

Used by `deploy.funcraft`. Parameters come from the command line, otherwise from their defaults; pseudo parameters
(`ALIYUN::Region`) come from the server.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from sesame.deploy.project import TemplateError
from sesame.deploy.yaml_source import Node, meant

_VARIABLE = re.compile(r"\$\{(!?)([^${}]+)\}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONG = ("Ref", "Fn::Sub", "Fn::Join", "Fn::FindInMap", "Fn::GetAtt", "Fn::Select")
# Keys with this value are left out.
_NO_VALUE = object()


class Server(msgspec.Struct, frozen=True):
    """The values of pseudo parameters. `stack` is the stack's name if given: Sesame has no stacks."""

    account_id: str
    region: str
    stack: str


def stack_of(folder: str) -> str:
    """Derives the name of a stack from the template's folder, in the form ROS accepts."""
    return ("stack-" + _NOT_IN_NAMES.sub("-", folder).strip("-"))[:255].rstrip("-")


class Intrinsics:
    def __init__(self, template: Node, server: Server, given: Mapping[str, str]) -> None:
        top = template.mapping()
        self._mappings = top.get("Mappings", Node({}, template.place))
        self._resources = top.get("Resources", Node({}, template.place)).mapping()
        stack = given.get("ALIYUN::StackName", server.stack)
        pseudo = {
            "ALIYUN::AccountId": server.account_id,
            "ALIYUN::TenantId": server.account_id,
            "ALIYUN::Region": server.region,
            "ALIYUN::StackName": stack,
            "ALIYUN::StackId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{server.account_id}/{server.region}/{stack}")),
            "ALIYUN::NoValue": _NO_VALUE,
        }
        self._values: dict[str, Any] = dict(pseudo)
        parameters = top.get("Parameters", Node({}, template.place)).mapping("parameters by name")
        self._values |= {name: value for name, value in given.items() if name in pseudo}
        for name, node in parameters.items():
            default = node.mapping("Type and Default").get("Default")
            if name in given:
                self._values[name] = given[name]
            elif default is not None:
                self._values[name] = default.plain()
        unknown = [name for name in given if name not in parameters and name not in pseudo]
        if unknown:
            raise TemplateError(
                template.place, f"there is no parameter '{unknown[0][:80]}'{meant(unknown[0], parameters)}"
            )

    def resolve(self, node: Node) -> Node:
        """Returns the tree with every function replaced by its value. Raises `TemplateError` with the place."""
        if isinstance(node.value, dict):
            name = next(iter(node.value)) if len(node.value) == 1 else ""
            if name in _LONG:
                return Node(self._call(name.removeprefix("Fn::"), self.resolve(node.value[name])), node.place)
            values = {key: self.resolve(value) for key, value in node.value.items()}
            kept = {key: value for key, value in values.items() if value.value is not _NO_VALUE}
            found = Node(kept, node.place, node.keys)
        elif isinstance(node.value, list):
            items = [self.resolve(each) for each in node.value]
            found = Node([each for each in items if each.value is not _NO_VALUE], node.place)
        else:
            found = Node(node.value, node.place)
        return Node(self._call(node.tag[1:], found), node.place) if node.tag else found

    def _call(self, function: str, argument: Node) -> Any:
        match function:
            case "Ref":
                return self._ref(argument.text("the name of a parameter"), argument)
            case "Sub":
                return self._sub(argument)
            case "Join":
                separator, parts = self._two(argument, "a separator and a list")
                return separator.text().join(part.text() for part in parts.items())
            case "Select":
                which, parts = self._two(argument, "a number and a list")
                found = parts.items()
                if not 0 <= which.integer() < len(found):
                    raise which.refuse(f"a number below {len(found)}")
                return found[which.integer()].plain()
            case "FindInMap":
                steps = argument.items("the map and two keys")
                found_in = self._mappings
                for step in steps:
                    inner = found_in.mapping().get(step.text())
                    if inner is None:
                        raise step.refuse(f"a key of the map: {', '.join(found_in.mapping())}")
                    found_in = inner
                return found_in.plain()
            case "GetAtt":
                if isinstance(argument.value, list):
                    path = [each.text() for each in argument.value]
                else:
                    path = argument.text("RESOURCE.ATTRIBUTE").split(".")
                return self._ref(path[0] if path else "", argument)
            case _:
                raise TemplateError(argument.place, f"'!{function[:40]}' is not a known function: {', '.join(_LONG)}")

    def _ref(self, name: str, at: Node) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._resources:
            return name
        raise TemplateError(
            at.place,
            f"there is no parameter '{name[:80]}' with a value: give it a Default, or pass -p {name[:80]}=VALUE",
        )

    def _sub(self, argument: Node) -> str:
        own: dict[str, Any] = {}
        text = argument
        if isinstance(argument.value, list):
            text, table = self._two(argument, "a text and a mapping")
            own = {key: value.plain() for key, value in table.mapping().items()}

        def one(match: re.Match[str]) -> str:
            if match[1]:
                return "${" + match[2] + "}"
            name = match[2].strip()
            return str(own[name] if name in own else self._ref(name.partition(".")[0], text))

        return _VARIABLE.sub(one, text.text())

    @staticmethod
    def _two(argument: Node, expected: str) -> tuple[Node, Node]:
        found = argument.items(expected)
        if len(found) != 2:
            raise argument.refuse(expected)
        return found[0], found[1]
