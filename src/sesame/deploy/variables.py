"""Resolves `${…}` in `s.yaml` (reference/conventions.md §4.4): vars, services, this, and calls such as env and json.

Used by `deploy.serverless_devs`. Limits the depth, so that variables that refer to each other are an error.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import yaml_source
from sesame.deploy.project import Note, TemplateError
from sesame.deploy.yaml_source import Node, check_text
from sesame.model.natural import natural

DEPTH_MAX = 16
FILE_BYTES_MAX = 1024 * 1024
# Limits the values and characters that replace variables, each of which may contain others several times.
REPLACED_MAX = 2_000_000
_WHOLE = re.compile(r"\s*\$\{([^{}]*)\}\s*\Z")
_PART = re.compile(r"\$\{([^{}]*)\}")
_FUNCTIONS = ("env", "env.init", "config", "path", "file", "json", "yaml", "str")
_HEADS = ("vars", "env", "config", "this", "resources", "services")
_HEAD = re.compile(r"([^.\[]*)\.?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+(?:\.init)?)\((.*)\)\Z", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,15})?")
# `customDomains[0].domainName` equals `customDomains.0.domainName`; keys with dots need brackets and quotes.
_STEP = re.compile(r"""\[\s*(?:'([^']*)'|"([^"]*)"|([^\]'"]*?))\s*\]|([^.\[]+)""")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Sources of variables. `services` are the file's units by name."""

    vars: Node
    services: Mapping[str, Node]
    folder: Path
    config: Mapping[str, str]
    environ: Mapping[str, str] = os.environ


class Unresolved(msgspec.Struct, frozen=True):
    """A variable whose value exists only after something else is deployed, or only in the cloud."""

    name: str


class Bound:
    """Counts everything that a template's variables are replaced by, up to REPLACED_MAX."""

    def __init__(self) -> None:
        self._left = REPLACED_MAX

    def take(self, node: Node, count: int = 1) -> None:
        """Raises `TemplateError` beyond the limit."""
        self._left -= count
        if self._left < 0:
            raise TemplateError(node.place, f"variables stand for more than {REPLACED_MAX} values and characters")


class Variables:
    def __init__(self, known: Known) -> None:
        self._known = known
        # Variables that stay because their values are unknown.
        self.unresolved: list[tuple[str, Node]] = []
        self.errors: list[Note] = []
        self._bound = Bound()

    def resolve(self, node: Node, this: Node | None = None, depth: int = 0) -> Node:
        """Returns the tree with every variable replaced. Raises `TemplateError` with the place."""
        if depth > DEPTH_MAX:
            raise TemplateError(node.place, f"variables lead from one to the next more than {DEPTH_MAX} times")
        self._bound.take(node)
        if isinstance(node.value, dict):
            return Node(
                {key: self.resolve(value, this, depth) for key, value in node.value.items()}, node.place, node.keys
            )
        if isinstance(node.value, list):
            return Node([self.resolve(each, this, depth) for each in node.value], node.place)
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        whole = _WHOLE.match(node.value)
        if whole:
            found = self._value(whole[1], node, this, depth)
            if isinstance(found, Unresolved):
                self.unresolved.append((found.name, node))
                return node
            return found if isinstance(found, Node) else Node(found, node.place)

        def part(match: re.Match[str]) -> str:
            found = self._value(match[1], node, this, depth)
            if isinstance(found, Unresolved):
                self.unresolved.append((found.name, node))
                return match[0]
            text = (found if isinstance(found, Node) else Node(found, node.place)).text("text within text")
            self._bound.take(node, len(text))
            return text

        return Node(_PART.sub(part, node.value), node.place)

    def _value(self, expression: str, at: Node, this: Node | None, depth: int) -> Any:
        text = expression.strip()
        call = _CALL.match(text)
        if call:
            return self._call(call[1], call[2].strip(), at, this, depth)
        # `vars['a.b']` is `vars.a.b` with a dot in a name.
        parts = _HEAD.match(text)
        assert parts is not None
        head, rest = parts[1], parts[2]
        match head:
            case "vars":
                return self._walk(self._known.vars, rest, text, at, this, depth)
            case "env":
                return self._environment(rest, None, at)
            case "config":
                return self._config(rest, at)
            case "this":
                return Unresolved(text) if this is None else self._walk(this, rest, text, at, this, depth)
            case "resources" | "services":
                name, inside = _first_step(rest)
                return self._of_service(name, inside, text, at, depth)
            case _ if head in self._known.services:
                return self._of_service(head, rest, text, at, depth)
            case _:
                # `${environment.…}` of a project in the cloud, output of other tools, or shell text, which stay as they
                # are.
                return Unresolved(text)

    def _of_service(self, name: str, inside: str, text: str, at: Node, depth: int) -> Any:
        unit = self._known.services.get(name)
        if unit is None:
            raise TemplateError(at.place, f"${{{text}}}: there is no service '{name[:80]}' in this file")
        if _first_step(inside)[0] in ("output", "outputs", "info"):
            return Unresolved(text)
        return self._walk(unit, inside, text, at, unit, depth)

    def _walk(self, start: Node, path: str, text: str, at: Node, this: Node | None, depth: int) -> Any:
        found = start
        for match in _STEP.finditer(path):
            step = _name_in(match)
            if isinstance(found.value, list) and (index := natural(step, len(found.value) - 1)) is not None:
                found = found.value[index]
            elif isinstance(found.value, dict) and step in found.value:
                found = found.value[step]
            else:
                have = ", ".join(found.value) or "none" if isinstance(found.value, dict) else found.kind()
                raise TemplateError(at.place, f"${{{text}}}: there is no '{step[:80]}'; there are: {have}")
        return self.resolve(found, this, depth + 1)

    def _call(self, function: str, argument: str, at: Node, this: Node | None, depth: int) -> Any:
        if function not in _FUNCTIONS:
            return Unresolved(f"{function}({argument})")
        values: list[str] = []
        default: Any = None
        for each in _arguments(argument):
            if function == "env" and values:
                if values[0] in self._known.environ:
                    break  # A default is resolved only if it is needed.
                default = _literal(each)
            found = self._argument(each, at, this, depth)
            if isinstance(found, Unresolved):
                return found
            values.append(found)
        match function:
            case "env":
                default = values[1] if default is None and len(values) > 1 else default
                return self._environment(values[0] if values else "", default, at)
            case "env.init":
                return Node(self._environment(values[0] if values else "", None, at), at.place).integer()
            case "str":
                return values[0] if values else ""
            case "config":
                return self._config(values[0] if values else "", at)
            case "path":
                return str((self._known.folder / (values[0] if values else ".")).resolve())
            case "file":
                return self._file(values[0] if values else "", at)
            case "yaml":
                try:
                    return _node_of(yaml_source.parse(values[0] if values else "", at.place.file).plain(), at)
                except TemplateError as error:
                    raise TemplateError(at.place, f"${{yaml(…)}}: {error.text}") from error
            case _:
                try:
                    # Unquoted text may contain commas, as JSON does.
                    whole = values[0] if len(values) == 1 else argument
                    return _node_of(json.loads(whole), at)
                except (ValueError, RecursionError) as error:
                    raise TemplateError(at.place, f"${{json(…)}}: {error}") from error

    def _argument(self, text: str, at: Node, this: Node | None, depth: int) -> "str | Unresolved":
        """Resolves quoted text, a call, or a variable's value; any other text is taken literally."""
        parts = _HEAD.match(text)
        assert parts is not None
        if not (_CALL.match(text) or (parts[1] in _HEADS and parts[1] != text)):
            return _unquoted(text)
        if depth > DEPTH_MAX:
            raise TemplateError(at.place, f"calls stand within each other more than {DEPTH_MAX} times")
        found = self._value(text, at, this, depth + 1)
        if isinstance(found, Unresolved):
            return found
        return (found if isinstance(found, Node) else Node(found, at.place)).text("an argument")

    def _environment(self, name: str, default: Any, at: Node) -> Any:
        found = self._known.environ.get(name, default)
        if found is None:
            text = f"the environment variable {name[:80]} is not set: set it, or give a default"
            self.errors.append(Note(at.place, text, error=True))
            return ""
        if isinstance(found, str):
            check_text(found, at.place)
        return found

    def _config(self, name: str, at: Node) -> str:
        found = self._known.config.get(name)
        if found is None:
            raise TemplateError(at.place, f"${{config({name[:80]})}}: there are {', '.join(self._known.config)}")
        return found

    def _file(self, name: str, at: Node) -> str:
        path = self._known.folder / name
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
            if len(data) > FILE_BYTES_MAX:
                raise TemplateError(at.place, f"${{file({name[:80]})}}: more than {FILE_BYTES_MAX} bytes")
            return data.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise TemplateError(at.place, f"${{file({name[:80]})}} cannot be read: {error}") from error


def _name_in(step: re.Match[str]) -> str:
    return next(filter(None, step.groups()), "")


def _first_step(path: str) -> tuple[str, str]:
    """The first name of a path, and the path after it: `['a.b'].props` is `a.b` and `props`."""
    step = _STEP.match(path)
    return ("", path) if step is None else (_name_in(step), path[step.end() :].removeprefix("."))


def _arguments(text: str) -> list[str]:
    """Splits at commas outside of quotes and parentheses."""
    found, depth, quote = [""], 0, ""
    for each in text:
        if quote:
            quote = "" if each == quote else quote
        elif each in "'\"":
            quote = each
        elif each in "()":
            depth += 1 if each == "(" else -1
        elif each == "," and not depth:
            found.append("")
            continue
        found[-1] += each
    return [each.strip() for each in found] if text else []


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _literal(text: str) -> bool | int | float | None:
    """The number, or true or false, that an argument without quotes is; None for any other."""
    if text in ("true", "false"):
        return text == "true"
    return None if _NUMBER.fullmatch(text) is None else json.loads(text)


def _node_of(value: Any, at: Node) -> Node:
    if isinstance(value, dict):
        return Node({key: _node_of(each, at) for key, each in value.items()}, at.place, dict.fromkeys(value, at.place))
    if isinstance(value, list):
        return Node([_node_of(each, at) for each in value], at.place)
    return Node(value, at.place)
