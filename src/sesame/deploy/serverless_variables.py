"""Resolves `${source:address, fallback}` in the Serverless Framework's `serverless.yml`: env, self, opt, file, sls.

Used by `deploy.serverless_framework`. Limits the depth, so that variables that refer to each other are an error.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sesame.deploy import yaml_source
from sesame.deploy.project import Note, TemplateError
from sesame.deploy.variables import DEPTH_MAX, Bound
from sesame.deploy.yaml_source import Node
from sesame.model.natural import natural, whole

_SOURCE = re.compile(r"(env|self|opt|sls|param|file\(([^)]*)\)):?(.*)\Z", re.DOTALL)
_TO_BOOL = re.compile(r"strToBool\((.*)\)\Z", re.DOTALL)
_BOOLS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}
_NUMBER = re.compile(r"-?\d+(\.\d+)?\Z")
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Sources of variables: the file itself, the command line's options, other files and the environment."""

    root: Node
    folder: Path
    options: Mapping[str, str]
    stage: str
    environ: Mapping[str, str] = os.environ


class Variables:
    def __init__(self, known: Known) -> None:
        self._known = known
        # On unknown values, and on sources in the cloud, whose variables stay unresolved.
        self.notes: list[Note] = []
        self._bound = Bound()

    def resolve(self, node: Node, depth: int = 0) -> Node:
        """Returns the tree with every variable replaced. Raises `TemplateError` with the place."""
        if depth > DEPTH_MAX:
            raise TemplateError(node.place, f"variables lead from one to the next more than {DEPTH_MAX} times")
        self._bound.take(node)
        if isinstance(node.value, dict):
            resolved = {key: self.resolve(value, depth) for key, value in node.value.items()}
            return Node(resolved, node.place, node.keys)
        if isinstance(node.value, list):
            return Node([self.resolve(each, depth) for each in node.value], node.place)
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        return self._filled(node.value, node, depth)

    def _filled(self, text: str, at: Node, depth: int) -> Node:
        pieces = list(_pieces(text))
        if len(pieces) == 1 and pieces[0][0]:
            found = self._value(pieces[0][1], at, depth)
            return at if found is None else found
        parts: list[str] = []
        for is_variable, piece in pieces:
            found = self._value(piece, at, depth) if is_variable else None
            whole = f"${{{piece}}}" if is_variable else piece
            parts.append(whole if found is None else found.text("text within text"))
            self._bound.take(at, len(parts[-1]))
        return Node("".join(parts), at.place)

    def _value(self, expression: str, at: Node, depth: int) -> Node | None:
        """The value of the first alternative that has one; None, with a note, if none has."""
        if depth > DEPTH_MAX:
            raise TemplateError(at.place, f"variables lead from one to the next more than {DEPTH_MAX} times")
        alternatives = _alternatives(expression)
        for each in alternatives:
            found = self._alternative(each, at, depth + 1)
            if found is not None:
                return found
        first = _SOURCE.match(alternatives[0])
        if alternatives[0] == "opt:stage":
            return Node(self._known.stage, at.place)
        if first is None:
            text = f"${{{expression[:80]}}} has its value only in the cloud, and stays unresolved"
            self.notes.append(Note(at.place, text))
        else:
            text = f"${{{expression[:80]}}} has no value: {_next_step(first[1], first[3])}"
            self.notes.append(Note(at.place, text, error=True))
        return None

    def _alternative(self, text: str, at: Node, depth: int) -> Node | None:
        if "${" in text:
            filled = self._filled(text, at, depth)
            if next(_pieces(text)) == (True, text[2:-1]) or not isinstance(filled.value, str):
                return filled
            text = filled.value
        if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
            return Node(text[1:-1], at.place)
        if text in _WORDS:
            return Node(_WORDS[text], at.place)
        if _NUMBER.match(text):
            number = float(text) if "." in text else whole(text)
            return Node(text if number is None or math.isinf(number) else number, at.place)
        if to_bool := _TO_BOOL.match(text):
            return self._bool(to_bool[1], at, depth)
        match = _SOURCE.match(text)
        if match is None:
            return None
        source, file, address = match[1], match[2], match[3].strip()
        if file is not None:
            return self._file(_unquoted(file), address, at, depth)
        match source:
            case "env":
                found = self._known.environ.get(address)
                yaml_source.check_text(found or "", at.place)
            case "opt":
                found = self._known.options.get(address)
            case "sls":
                found = self._known.stage if address == "stage" else None
            case "param":
                return self._param(address, at, depth)
            case _:
                return self._walk(self._known.root, address, at, depth)
        return None if found is None else Node(found, at.place)

    def _param(self, name: str, at: Node, depth: int) -> Node | None:
        """A parameter of the command line, of the stage, or of every stage."""
        if name in self._known.options:
            return Node(self._known.options[name], at.place)
        root = self._known.root.mapping()
        for stage in (self._known.stage, "default"):
            for path in (("stages", stage, "params"), ("params", stage)):
                found = root.get(path[0])
                for step in path[1:]:
                    found = found.value.get(step) if found is not None and isinstance(found.value, dict) else None
                if found is not None and isinstance(found.value, dict) and name in found.value:
                    return self.resolve(found.value[name], depth)
        return None

    def _bool(self, argument: str, at: Node, depth: int) -> Node | None:
        found = self._alternative(argument.strip(), at, depth) or Node(argument.strip(), at.place)
        value = _BOOLS.get(found.text().lower())
        if value is None:
            raise TemplateError(at.place, f"strToBool found '{found.text()[:80]}', expected true, false, 1 or 0")
        return Node(value, at.place)

    def _walk(self, start: Node, address: str, at: Node, depth: int) -> Node | None:
        found = start
        for step in address.split(".") if address else []:
            if isinstance(found.value, str) and "${" in found.value:
                found = self.resolve(found, depth)
            if isinstance(found.value, list) and (index := natural(step, len(found.value) - 1)) is not None:
                found = found.value[index]
            elif isinstance(found.value, dict) and step in found.value:
                found = found.value[step]
            else:
                # The framework's own default for a provider without a stage.
                return Node(self._known.stage, at.place) if address == "provider.stage" else None
        return self.resolve(found, depth)

    def _file(self, name: str, address: str, at: Node, depth: int) -> Node | None:
        path = self._known.folder / name
        try:
            if not path.is_file():
                return None
        except OSError as error:
            raise TemplateError(at.place, f"file({name[:80]}) cannot be read: {error.strerror}") from error
        if path.suffix in (".yml", ".yaml", ".json"):
            return self._walk(yaml_source.read(path), address, at, depth)
        return None if address else Node(yaml_source.text_of(path), at.place)


def _next_step(source: str, address: str) -> str:
    match source:
        case "env":
            return f"set the environment variable {address[:80]}, or write a fallback after a comma"
        case "opt":
            return f"pass -p {address[:80]}=VALUE, or write a fallback after a comma"
        case "self":
            return f"this file has no '{address[:80]}'"
        case "sls":
            return "of sls there is the stage alone"
        case "param":
            return f"pass -p {address[:80]}=VALUE, write it under params, or write a fallback after a comma"
        case _:
            return f"{source[:80]} does not exist, or has no '{address[:80]}'; only YAML, JSON and text are read"


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """Splits text into plain parts and the insides of variables; an unclosed variable is plain text."""
    start = 0
    while (begin := text.find("${", start)) >= 0 and (end := _end(text, begin)) >= 0:
        if begin > start:
            yield False, text[start:begin]
        yield True, text[begin + 2 : end]
        start = end + 1
    if start < len(text):
        yield False, text[start:]


def _end(text: str, begin: int) -> int:
    """The end of the variable that starts at `begin`; -1 if it is not closed."""
    depth = 0
    for index in range(begin, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if not depth:
                return index
    return -1


def _alternatives(expression: str) -> list[str]:
    """Splits at commas outside of quotes, parentheses and inner variables."""
    found, depth, quote = [""], 0, ""
    for each in expression:
        if quote:
            quote = "" if each == quote else quote
        elif each in "'\"":
            quote = each
        elif each in "({":
            depth += 1
        elif each in ")}":
            depth -= 1
        elif each == "," and not depth:
            found.append("")
            continue
        found[-1] += each
    return [each.strip() for each in found]


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
