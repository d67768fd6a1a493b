"""Parses YAML into nodes that record their place in the file, and checks them against tables of keys.

Used by the readers of templates. Limits the file's size, the depth, and what aliases repeat.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sesame.deploy import yaml_scalars, yaml_tabs
from sesame.deploy.project import Note, Place, TemplateError
from sesame.model.natural import whole

FILE_BYTES_MAX = 4 * 1024 * 1024
NODES_MAX = 200_000
DEPTH_MAX = 64


class Node(msgspec.Struct, frozen=True):
    """One value: `value` is a str, bool, int, float or None, a list of nodes, or a dict of keys to nodes.

    `keys` has the place of each of a mapping's keys.
    """

    value: Any
    place: Place
    keys: Mapping[str, Place] = {}
    tag: str = ""

    def kind(self) -> str:
        """The name of the value's type, for messages."""
        names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
        return names.get(type(self.value), "a number")

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def refuse(self, expected: str) -> TemplateError:
        found = repr(self.value) if isinstance(self.value, str | int | float | bool) else self.kind()
        if isinstance(self.value, dict) and [each.value for each in self.value.values()] == [None]:
            # `name: {TriggerName}`, as in the vendor's samples.
            found, expected = f"{{{next(iter(self.value))}}}", f"{expected} in place of what the braces stand for"
        return TemplateError(self.place, f"found {found[:120]}, expected {expected}")

    def mapping(self, expected: str = "a mapping") -> dict[str, "Node"]:
        """The value as a mapping. None counts as an empty mapping: YAML reads a key without a value as None."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.refuse(expected)
        return self.value

    def items(self, expected: str = "a list") -> list["Node"]:
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.refuse(expected)
        return self.value

    def text(self, expected: str = "text") -> str:
        """The value as text; numbers and booleans as written, since templates omit quotes."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, int | float):
            return str(self.value)
        if not isinstance(self.value, str):
            raise self.refuse(expected)
        return self.value

    def integer(self) -> int:
        if isinstance(self.value, bool):
            raise self.refuse("a whole number")
        if isinstance(self.value, int):
            return self.value
        number = whole(self.value.strip()) if isinstance(self.value, str) else None
        if number is None:
            raise self.refuse("a whole number")
        return number

    def number(self) -> float:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            raise self.refuse("a number")
        try:
            number = float(self.value)
        except ValueError as error:
            raise self.refuse("a number") from error
        if not math.isfinite(number):
            raise self.refuse("a number")
        return number

    def boolean(self) -> bool:
        if isinstance(self.value, str) and self.value.lower() in ("true", "false"):
            return self.value.lower() == "true"
        if not isinstance(self.value, bool):
            raise self.refuse("true or false")
        return self.value

    def one_of(self, *allowed: str) -> str:
        """The text in the spelling of `allowed`, ignoring case."""
        found = self.text()
        for each in allowed:
            if each.lower() == found.lower():
                return each
        raise self.refuse(" or ".join(allowed))


# Converts the value of a template's key for the API.
Read = Callable[[Node], Any]


class Key(msgspec.Struct, frozen=True):
    """`name` is the API's field; "" for a key that is read elsewhere or has no effect, as `why` then explains.

    `within` reads a value that has keys of its own, in place of `read`, and is given the notes.
    """

    name: str = ""
    read: Read = Node.plain
    why: str = ""
    within: Callable[[Node, list[Note]], Any] | None = None


def fields(
    node: Node, table: Mapping[str, Key], notes: list[Note] | None, what: str, *, ignores: bool = False
) -> dict[str, Any]:
    """The API's fields of a mapping.

    Unknown keys and invalid values become notes, so that all errors of a template are reported together. Without
    `notes`, they are raised as `TemplateError`, for the key that contains the mapping. `ignores` means that the
    template's own tool ignores unknown keys: their notes are not errors.
    """
    found: dict[str, Any] = {}
    for name, value in node.mapping(f"the keys of {what}").items():
        key = table.get(name)
        place = node.keys.get(name, value.place)
        try:
            if key is None and ignores and notes is not None:
                notes.append(ignored(place, what, name, table))
                continue
            if key is None:
                raise unknown(place, what, name, table)
            if key.why:
                if notes is not None:
                    notes.append(Note(place, f"{name}: {key.why}"))
            elif key.name and value.value is not None:
                if key.within is None:
                    found[key.name] = key.read(value)
                else:
                    assert notes is not None, "keys within keys need notes"
                    found[key.name] = key.within(value, notes)
        except TemplateError as error:
            if notes is None:
                raise
            notes.append(Note(error.place, error.text, error=True))
    return found


def unknown(place: Place, what: str, name: str, known: Mapping[str, Any]) -> TemplateError:
    return TemplateError(place, f"{what} has no key '{name[:80]}'{meant(name, known)}")


def ignored(place: Place, what: str, name: str, known: Mapping[str, Any]) -> Note:
    text = f"{what} has no key '{name[:80]}', which is left out as by the template's own tool"
    return Note(place, f"{text}{meant(name, known)}")


def only(node: Node, known: Mapping[str, Any], notes: list[Note], what: str, *, ignores: bool = False) -> None:
    """Notes each unknown key; as an error unless the template's own tool `ignores` it."""
    for name in node.mapping(f"the keys of {what}"):
        if name in known:
            continue
        place = node.keys.get(name, node.place)
        if ignores:
            notes.append(ignored(place, what, name, known))
        else:
            notes.append(Note(place, unknown(place, what, name, known).text, error=True))


def close(name: str, known: Iterable[str]) -> str:
    """The known name that may have been meant; empty if none is similar."""
    by_case = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_case, 1, 0.75)
    return by_case[found[0]] if found else ""


def meant(name: str, known: Mapping[str, Any]) -> str:
    """`; did you mean 'X'?`, or the list of known keys, for a message."""
    found = close(name, known)
    if found:
        return f"; did you mean '{found}'?"
    return f"; expected one of: {', '.join(sorted(known))}" if known else ""


def missing(node: Node, names: Iterable[str], what: str) -> list[Note]:
    """An error for each required key that is missing."""
    given = node.mapping()
    absent = [name for name in names if name not in given or given[name].value is None]
    return [Note(node.place, f"{what} lacks the key '{name}'", error=True) for name in absent]


def require(node: Node, name: str, what: str) -> Node:
    """The value of a required key."""
    found = node.mapping().get(name)
    if found is None or found.value is None:
        raise TemplateError(node.place, f"{what} lacks the key '{name}'")
    return found


def read(path: Path) -> Node:
    """Parses a file's only document. Raises `TemplateError`, also if the file is unreadable."""
    return parse(_bytes(path), str(path))


def text_of(path: Path) -> str:
    """The text of a file in UTF-8. Raises `TemplateError` like `read`."""
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateError(Place(str(path)), f"is no YAML: it is not in UTF-8 ({error})") from error


def _bytes(path: Path) -> bytes:
    here = Place(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TemplateError(here, f"cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise TemplateError(here, f"has {len(data)} bytes; at most {FILE_BYTES_MAX} are read")
    return data


def parse(data: bytes | str, file: str) -> Node:
    """Like `read`, for data in memory."""
    try:
        root = yaml.compose(data, Loader=yaml_tabs.Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise TemplateError(place, f"is no YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise TemplateError(Place(file), f"is no YAML: {error}") from error
    return Node(None, Place(file, 1, 1)) if root is None else _Reader(file).node(root, 0)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def node(self, found: yaml.Node, depth: int) -> Node:
        place = self._counted(found, depth)
        tag = found.tag if found.tag.startswith("!") else ""
        if isinstance(found, yaml.MappingNode):
            return self._mapping(found, place, depth, tag)
        if isinstance(found, yaml.SequenceNode):
            return Node([self.node(each, depth + 1) for each in found.value], place, tag=tag)
        assert isinstance(found, yaml.ScalarNode)
        return Node(self._scalar(found, place), place, tag=tag)

    def _counted(self, found: yaml.Node, depth: int) -> Place:
        """The place of a value. Raises `TemplateError` for one too many, or too deep: an alias may repeat another."""
        place = Place(self._file, found.start_mark.line + 1, found.start_mark.column + 1)
        self._count += 1
        if self._count > NODES_MAX or depth > DEPTH_MAX:
            raise TemplateError(place, f"more than {NODES_MAX} values, or nested deeper than {DEPTH_MAX}")
        return place

    def _mapping(self, found: yaml.MappingNode, place: Place, depth: int, tag: str) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        for key, value in self._pairs(found, depth):
            at = Place(self._file, key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                if isinstance(key, yaml.MappingNode) and key.flow_style:
                    text = "a placeholder {{ name }} of a project's template: fill it in, or pass -p NAME=VALUE"
                    raise TemplateError(at, f"found {text}")
                raise TemplateError(at, "found a mapping or list as a key, expected text")
            name = str(key.value)
            check_text(name, at)
            if name in values:
                raise TemplateError(at, f"the key '{name}' stands here twice; the first is in line {keys[name].line}")
            values[name], keys[name] = self.node(value, depth + 1), at
        return Node(values, place, keys, tag)

    def _pairs(self, found: yaml.MappingNode, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The mapping's pairs, including those merged by `<<`; its own keys take precedence."""
        own = {key.value for key, _ in found.value if isinstance(key, yaml.ScalarNode)}
        for key, value in found.value:
            if not (isinstance(key, yaml.ScalarNode) and key.tag == "tag:yaml.org,2002:merge"):
                yield key, value
                continue
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                place = self._counted(merged, depth)
                if isinstance(merged, yaml.MappingNode):
                    fresh = [pair for pair in self._pairs(merged, depth + 1) if pair[0].value not in own]
                    own |= {key.value for key, _ in fresh}
                    yield from fresh
                elif merged.value:
                    raise TemplateError(
                        place, "found what is no mapping under <<, expected a mapping, or a list of some"
                    )

    def _scalar(self, found: yaml.ScalarNode, place: Place) -> Any:
        try:
            value = yaml_scalars.value(found)
        except ValueError as error:
            raise TemplateError(place, f"cannot be read: {error}") from error
        if isinstance(value, str):
            check_text(value, place)
        return value


def check_text(text: str, place: Place) -> None:
    """Raises `TemplateError` for what cannot be sent to a server: half of a character (`"\\ud800"`), or bytes of the
    environment that are not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TemplateError(place, f"found text that is not valid Unicode ({error.reason})") from error
