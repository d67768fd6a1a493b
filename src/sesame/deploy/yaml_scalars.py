"""Resolves plain scalars as the templates' own tools do, which read YAML 1.2: `on`, `yes` and `12:30` are text.

Used by `deploy.yaml_source` and its loader. PyYAML reads YAML 1.1. The tools have one kind of number: 1.0 is 1.
"""

import re
from typing import Any

import yaml

from sesame.model.natural import LARGEST

_TAG = "tag:yaml.org,2002:"
_BOOL, _INT, _FLOAT, _NULL = f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float", f"{_TAG}null"
# The largest whole number that the tools keep exactly.
_EXACT_MAX = 2**53
# Of LARGEST, by base.
_DIGITS_MAX = {2: 63, 8: 21, 10: 19, 16: 16}
_PATTERNS = {
    _BOOL: (r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    _NULL: (r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    _INT: (r"[-+]?(?:0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|[0-9]+)\Z", "-+0123456789"),
    _FLOAT: (
        r"(?:[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        "-+.0123456789",
    ),
    f"{_TAG}merge": (r"<<\Z", "<"),
}


def resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What a loader's `yaml_implicit_resolvers` needs: by first character, the tags in the order of trial."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, (pattern, firsts) in _PATTERNS.items():
        for first in firsts:
            found.setdefault(first, []).append((tag, re.compile(pattern)))
    return found


def value(node: yaml.ScalarNode) -> Any:
    """A str, bool, int, float or None. Raises `ValueError` if the text is none of the kind that its tag says."""
    text = str(node.value)
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text[:40]!r} is neither true nor false")
        return text.lower() == "true"
    if node.tag == _INT:
        return _integer(text)
    if node.tag == _FLOAT:
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return int(number) if number.is_integer() and abs(number) <= _EXACT_MAX else number
    return text


def _integer(text: str) -> int | str:
    """No field takes a number of more than 64 bits, and a text keeps its digits."""
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-").lower()
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 10)
    digits = (digits if base == 10 else digits[2:]).lstrip("0") or "0"
    if len(digits) > _DIGITS_MAX[base] or (number := int(digits, base)) > LARGEST:
        return text
    return sign * number
