"""The `Condition` block of a RAM policy: operators over the facts of a request.

Called by `identity.policy.evaluator` when it compiles a statement, and for each request that the rest of the statement
matches. The operators are those that RAM documents (reference/companions.md §3.2); RAM has neither IfExists nor set
operators.
"""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from sesame.identity.policy import condition_keys
from sesame.identity.policy.patterns import glob

NUMBER_CHARS_MAX = 64
# `::ffff:0:0/96` is the IPv6 range that contains the IPv4 addresses.
_MAPPED_BITS = 96

Test = Callable[[str], bool]


class Condition(msgspec.Struct, frozen=True):
    """One operator on one key. Values are alternatives; a negative operator holds if none of them matches."""

    key: str
    negative: bool
    tests: tuple[Test, ...]

    def holds(self, context: Mapping[str, str]) -> bool:
        """A missing key fails a positive operator and passes a negative one (reference/companions.md §3.2)."""
        subject = context.get(self.key)
        if subject is None:
            return self.negative
        return any(test(subject) for test in self.tests) != self.negative


def parse_conditions(block: Any) -> tuple[Condition, ...]:
    """The conditions of a block, with normalized keys; the statement applies if all of them hold.

    Raises ValueError stating what cannot be parsed. Unknown keys are left to the caller.
    """
    if not isinstance(block, dict):
        raise ValueError("must be an object of operators")
    conditions = []
    for operator, keys in block.items():
        if operator not in _OPERATORS:
            raise ValueError(f"unknown operator {operator!r} (known: {', '.join(_OPERATORS)})")
        if not isinstance(keys, dict) or not keys:
            raise ValueError(f"{operator} must be an object of keys")
        negative, compile_value = _OPERATORS[operator]
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            if not values or not all(isinstance(v, str | bool | int | float) for v in values):
                raise ValueError(f"{operator}.{key} must be a string or a list of strings")
            tests = tuple(compile_value(_text(v)) for v in values)
            conditions.append(Condition(key=condition_keys.normal(key), negative=negative, tests=tests))
    return tuple(conditions)


def _text(value: str | bool | float) -> str:
    """The grammar quotes numbers and booleans; hand-written policies often omit the quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _equals(value: str) -> Test:
    return lambda subject: subject == value


def _equals_ignoring_case(value: str) -> Test:
    folded = value.casefold()
    return lambda subject: subject.casefold() == folded


def _boolean(value: str) -> Test:
    wanted = value.lower()
    if wanted not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return lambda subject: subject.lower() == wanted


def _within_network(value: str) -> Test:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as exc:
        raise ValueError(f"{value!r} is neither an address nor a network") from exc

    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        # Requests have plain IPv4 addresses: `::ffff:10.0.0.0/104` means `10.0.0.0/8`.
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            network = ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))

    def test(subject: str) -> bool:
        try:
            return ipaddress.ip_address(subject) in network
        except ValueError:
            return False

    return test


def _number(value: str) -> Decimal:
    if len(value) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number has at most {NUMBER_CHARS_MAX} characters")
    try:
        number = Decimal(value)
    except InvalidOperation as exc:
        raise ValueError(f"{value!r} is not a number") from exc
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a number")
    return number


def _moment(value: str) -> datetime:
    """Parses ISO 8601; the default zone is UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise ValueError(f"{value!r} is not an ISO 8601 time") from exc
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda subject, value: subject == value,
    "LessThan": lambda subject, value: subject < value,
    "LessThanEquals": lambda subject, value: subject <= value,
    "GreaterThan": lambda subject, value: subject > value,
    "GreaterThanEquals": lambda subject, value: subject >= value,
}


def _comparing(read: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Callable[[str], Test]:
    def compile_value(value: str) -> Test:
        bound = read(value)

        def test(subject: str) -> bool:
            try:
                return compare(read(subject), bound)
            except ValueError:
                return False

        return test

    return compile_value


_OPERATORS: dict[str, tuple[bool, Callable[[str], Test]]] = {
    "StringEquals": (False, _equals),
    "StringNotEquals": (True, _equals),
    "StringEqualsIgnoreCase": (False, _equals_ignoring_case),
    "StringNotEqualsIgnoreCase": (True, _equals_ignoring_case),
    "StringLike": (False, glob),
    "StringNotLike": (True, glob),
    "Bool": (False, _boolean),
    "IpAddress": (False, _within_network),
    "NotIpAddress": (True, _within_network),
}
for _family, _read in (("Numeric", _number), ("Date", _moment)):
    for _name, _compare in _COMPARISONS.items():
        _OPERATORS[f"{_family}{_name}"] = (False, _comparing(_read, _compare))
    _OPERATORS[f"{_family}NotEquals"] = (True, _comparing(_read, _COMPARISONS["Equals"]))
