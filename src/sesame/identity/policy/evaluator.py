"""Evaluates RAM policies: deny over allow over nothing, wildcards, `NotAction`, conditions.

Called by `identity.roles` for every request that a role makes, and by whoever checks a policy before keeping it.
Never reads the catalog or the clock: a policy, a question, a decision (reference/companions.md §3).
"""

import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from sesame.identity.policy.conditions import Condition, parse_conditions
from sesame.identity.policy.patterns import glob
from sesame.model.errors import InvalidArgument

DOCUMENT_CHARS_MAX = 6144
ARN_SEGMENTS = 5
_PARSED_POLICIES_KEPT = 2048

Context = Mapping[str, str]
"""What the request brings besides action and resource, by condition key (`acs:SourceIp`, `oss:Prefix`, …)."""


class Decision(enum.Enum):
    ALLOW = "Allow"
    EXPLICIT_DENY = "ExplicitDeny"
    IMPLICIT_DENY = "ImplicitDeny"


class MalformedPolicy(InvalidArgument):
    """The document is not in the grammar of reference/companions.md §3.1; the message says where."""

    code = "InvalidParameter.PolicyGrammar"


class Question(msgspec.Struct, frozen=True):
    """May `action` (`oss:PutObject`) be done to `resource` (an ARN)?

    `caller` is a kind and a name (`("Service", "fc.aliyuncs.com")`); it matters where statements name principals.
    """

    action: str
    resource: str
    context: Context = {}
    caller: tuple[str, str] = ("", "")


class Statement(msgspec.Struct, frozen=True):
    """One statement, compiled: each field is a predicate, so that evaluating allocates nothing."""

    allows: bool
    action: Callable[[str], bool]
    resource: Callable[[str], bool]
    principal: Callable[[tuple[str, str]], bool]
    conditions: tuple[Condition, ...]

    def matches(self, question: Question) -> bool:
        return (
            self.action(question.action)
            and self.resource(question.resource)
            and self.principal(question.caller)
            and all(condition.holds(question.context) for condition in self.conditions)
        )


class CompiledPolicy(msgspec.Struct, frozen=True):
    statements: tuple[Statement, ...]

    def decide(self, question: Question) -> Decision:
        decision = Decision.IMPLICIT_DENY
        for statement in self.statements:
            if statement.matches(question):
                if not statement.allows:
                    return Decision.EXPLICIT_DENY
                decision = Decision.ALLOW
        return decision


def strongest(decisions: Iterable[Decision]) -> Decision:
    """Any explicit deny denies; else any allow allows; else nobody spoke for it."""
    result = Decision.IMPLICIT_DENY
    for decision in decisions:
        if decision is Decision.EXPLICIT_DENY:
            return decision
        if decision is Decision.ALLOW:
            result = decision
    return result


@functools.lru_cache(maxsize=_PARSED_POLICIES_KEPT)
def parse(document: str) -> CompiledPolicy:
    """An identity or session policy. Raises MalformedPolicy."""
    return _compile(document, names_principals=False)


@functools.lru_cache(maxsize=_PARSED_POLICIES_KEPT)
def parse_resource_policy(document: str) -> CompiledPolicy:
    """A policy that hangs on a resource and says who may act: a role's trust policy, a bucket's policy."""
    return _compile(document, names_principals=True)


def _compile(text: str, *, names_principals: bool) -> CompiledPolicy:
    if len(text) > DOCUMENT_CHARS_MAX:
        raise MalformedPolicy(f"the policy has {len(text)} characters (allowed: {DOCUMENT_CHARS_MAX})")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as exc:
        raise MalformedPolicy(f"the policy is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise MalformedPolicy("the policy is not a JSON object with Version and Statement")
    if document.get("Version") != "1":
        raise MalformedPolicy(f'Version must be "1", found {document.get("Version")!r}')
    _refuse_unknown("the policy", document, {"Version", "Statement"})
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise MalformedPolicy("Statement must be a list of at least one statement")
    return CompiledPolicy(
        tuple(_statement(f"Statement[{i}]", s, names_principals=names_principals) for i, s in enumerate(statements))
    )


def _statement(where: str, statement: Any, *, names_principals: bool) -> Statement:
    if not isinstance(statement, dict):
        raise MalformedPolicy(f"{where} is not an object")
    known = {"Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Sid"}
    _refuse_unknown(where, statement, known | ({"Principal", "NotPrincipal"} if names_principals else set()))
    effect = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(f"{where}.Effect must be Allow or Deny, found {effect!r}")
    try:
        conditions = parse_conditions(statement.get("Condition", {}))
    except ValueError as exc:
        raise MalformedPolicy(f"{where}.Condition: {exc}") from exc
    # A trust policy speaks of the one role it hangs on and so needs no Resource.
    resource_optional = names_principals and "Resource" not in statement and "NotResource" not in statement
    return Statement(
        allows=effect == "Allow",
        action=_either(where, statement, "Action", _action_pattern),
        resource=_always if resource_optional else _either(where, statement, "Resource", _resource_pattern),
        principal=_principals(where, statement) if names_principals else _always,
        conditions=conditions,
    )


def _refuse_unknown(where: str, found: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(found.keys() - known)
    if unknown:
        raise MalformedPolicy(f"{where} has unknown element {unknown[0]!r} (allowed: {', '.join(sorted(known))})")


def _either(
    where: str, statement: Mapping[str, Any], name: str, pattern: Callable[[str], Callable[[str], bool]]
) -> Callable[[str], bool]:
    """`Action` or `NotAction`, `Resource` or `NotResource`: exactly one of the two."""
    negated = f"Not{name}"
    if (name in statement) == (negated in statement):
        raise MalformedPolicy(f"{where} needs exactly one of {name} and {negated}")
    found = name if name in statement else negated
    tests = tuple(pattern(value) for value in _strings(f"{where}.{found}", statement[found]))
    if found == name:
        return lambda subject: any(test(subject) for test in tests)
    return lambda subject: not any(test(subject) for test in tests)


def _strings(where: str, value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
        raise MalformedPolicy(f"{where} must be a string or a list of strings, none empty")
    return values


def _action_pattern(pattern: str) -> Callable[[str], bool]:
    if pattern != "*" and not re.fullmatch(r"[^:\s]+:[^:\s]+", pattern):
        raise MalformedPolicy(f"action {pattern!r} is not written as service:Operation")
    return glob(pattern, ignore_case=True)


def _resource_pattern(pattern: str) -> Callable[[str], bool]:
    """Segment-wise over the first four colons, so that `*` in one segment cannot swallow the next; the rest as a whole.

    A pattern that ends early in `*` (`*`, `acs:oss:*`) leaves open all that could follow.
    """
    parts = pattern.split(":", ARN_SEGMENTS - 1)
    if parts[-1] == "*":
        parts += ["*"] * (ARN_SEGMENTS - len(parts))
    tests = tuple(glob(part) for part in parts)

    def matches(resource: str) -> bool:
        segments = resource.split(":", ARN_SEGMENTS - 1)
        return len(segments) == len(tests) and all(test(segment) for test, segment in zip(tests, segments, strict=True))

    return matches


def _principals(where: str, statement: Mapping[str, Any]) -> Callable[[tuple[str, str]], bool]:
    """`{"Service": […]}`, `{"RAM": […]}`, `{"Federated": […]}`, or (in bucket policies) a bare list of any kind."""
    if ("Principal" in statement) == ("NotPrincipal" in statement):
        raise MalformedPolicy(f"{where} needs exactly one of Principal and NotPrincipal")
    name = "Principal" if "Principal" in statement else "NotPrincipal"
    value = statement[name]
    tests: list[tuple[str, Callable[[str], bool]]] = []
    if isinstance(value, dict):
        _refuse_unknown(f"{where}.{name}", value, {"Service", "RAM", "Federated"})
        for kind, names in value.items():
            tests += [(kind, glob(n)) for n in _strings(f"{where}.{name}.{kind}", names)]
    else:
        tests = [("", glob(n)) for n in _strings(f"{where}.{name}", value)]
    if not tests:
        raise MalformedPolicy(f"{where}.{name} names nobody")

    def named(caller: tuple[str, str]) -> bool:
        return any(kind in ("", caller[0]) and test(caller[1]) for kind, test in tests)

    return named if name == "Principal" else lambda caller: not named(caller)


def _always(_subject: object) -> bool:
    return True
