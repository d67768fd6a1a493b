"""Converts JSON values into structs; what does not fit becomes an error in the words of `model.errors`.

Called by the endpoints for bodies, and by `control` for settings that callers write as they like. Errors name the
field, what was expected and what was found: never in the words of the library that converts.
"""

import re
from typing import Any, TypeVar

import msgspec

from sesame.model.errors import Invalid, Missing, Rejected

T = TypeVar("T")

# Stands for a value that is not at hand.
UNKNOWN: Any = object()
_ACTUAL_CHARS = 64
_NAMES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
_COMPLAINT = re.compile(r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$?\.?(?P<path>[^`]*)`)?\Z", re.DOTALL)
_TYPES = re.compile(r"Expected `(?P<expected>[^`]+)`(?:, got `(?P<found>[^`]+)`)?\Z")
_LIMIT = re.compile(r"Expected `(?P<type>[^`]+)` (?P<limit>.+?)(?:, got .*)?\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.+)`\Z", re.DOTALL)
_PART = re.compile(r"\[\.\.\.\]|\[\d+\]|\.?[^.\[\]]+")
_TYPE_NAMES = {str: "str", bool: "bool", int: "int", float: "float", list: "array", dict: "object"}
# The limits of annotated types, as the library and as the API writes them.
_LIMITS = (
    (re.compile(r"(of length )?>= (?P<number>\S+)\Z"), "at least {number}"),
    (re.compile(r"(of length )?<= (?P<number>\S+)\Z"), "at most {number}"),
    (re.compile(r"> (?P<number>\S+)\Z"), "above {number}"),
    (re.compile(r"< (?P<number>\S+)\Z"), "below {number}"),
    (re.compile(r"of length (?P<number>\d+)\Z"), "exactly {number}"),
    (re.compile(r"that's a multiple of (?P<number>\S+)\Z"), "a multiple of {number}"),
    (re.compile(r"matching regex '?(?P<number>.*?)'?\Z", re.DOTALL), "text that matches {number}"),
)
_COUNTED = {"str": "characters", "array": "items", "object": "entries"}


def converted(value: Any, shape: type[T], field: str) -> T:
    """The value as `shape`. Raises `Invalid` or `Missing`, whose field begins with `field` ("" for a whole body)."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise reworded(error, value, field) from error


def reworded(error: msgspec.ValidationError, value: Any, field: str) -> Rejected:
    """The error of converting `value`, a tree of JSON values, in our own words."""
    found = _COMPLAINT.match(str(error))
    assert found is not None
    problem, path = found["what"], found["path"] or ""
    if missing := _MISSING.match(problem):
        return Missing(_joined(field, _at(path, value, "")[0], missing["field"]))
    if unknown := _UNKNOWN.match(problem):
        return Invalid(
            _joined(field, _at(path, value, "")[0]), "an object without unknown fields", _cut(unknown["field"])
        )
    types = _TYPES.match(problem)
    place, actual = _at(path, value, (types["found"] or "") if types else "")
    if found["key"]:
        place, actual = place or path, "another key"
    if types:
        expected = " or ".join(_NAMES.get(name, name) for name in types["expected"].split(" | ") if name != "null")
        return Invalid(_joined(field, place), f"keys that are {expected}" if found["key"] else expected, shown(actual))
    return Invalid(_joined(field, place), _limit(problem), shown(actual))


def described(error: msgspec.ValidationError) -> str:
    """What is wrong, for settings that were stored unchecked: what was found is not repeated.

    An error of our own keeps its text.
    """
    found = _COMPLAINT.match(str(error))
    assert found is not None
    if not any(pattern.match(found["what"]) for pattern in (_MISSING, _UNKNOWN, _TYPES, _LIMIT)):
        return str(error)
    refusal = reworded(error, UNKNOWN, "")
    if isinstance(refusal, Invalid):
        return f"{refusal.field or 'the value'}: expected {refusal.allowed}"
    return str(refusal)


def shown(value: Any) -> str:
    """A value as an error may repeat it: JSON, shortened."""
    try:
        text = msgspec.json.encode(value).decode()
    except (RecursionError, TypeError, ValueError):
        return "a value that cannot be shown"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _ACTUAL_CHARS else text[: _ACTUAL_CHARS - 1] + "…"


def _joined(*parts: str) -> str:
    """`a`, `[0].b` → `a[0].b`."""
    path = ""
    for part in parts:
        path += f".{part}" if path and part and not part.startswith("[") else part
    return path


def _limit(problem: str) -> str:
    limit = _LIMIT.match(problem)
    for pattern, words in _LIMITS:
        found = None if limit is None else pattern.match(limit["limit"])
        if limit is not None and found is not None:
            counted = _COUNTED.get(limit["type"], "") if "length" in limit["limit"] else ""
            return f"{words.format(number=found['number'])} {counted}".rstrip()
    return "a value that this field can have"


def _at(path: str, document: Any, found: str) -> tuple[str, Any]:
    """The place and value at `a.b[0].c`; in the place, map keys replace the library's `[...]`.

    `found` is the library's name of the value's type, which tells which of a map's entries is meant.
    """
    if document is UNKNOWN:
        return path, UNKNOWN
    value, place = document, ""
    for part in _PART.findall(path):
        if part == "[...]":
            key = next((key for key, inner in value.items() if _type_of(inner) == found), None)
            if key is None:
                return path, _NAMES.get(found, found or "one of its values")
            value, part = value[key], f"[{key}]"
        else:
            value = value[int(part[1:-1]) if part.startswith("[") else part.removeprefix(".")]
        place += part
    return place, value


def _type_of(value: Any) -> str:
    """The library's name for the type of a value."""
    return _TYPE_NAMES.get(type(value), "null")
