"""Compiles and evaluates RAM policies: an explicit Deny overrides Allow; anything else is denied.

Called by `identity.authorization` for every request of a role, and by everything that validates a policy before storing
it. Pure: reads neither the catalog nor the clock (reference/companions.md §3).
"""

import enum
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from sesame.identity.policy import condition_keys
from sesame.identity.policy.conditions import Condition, parse_conditions
from sesame.identity.policy.patterns import glob
from sesame.model.errors import Unusable

DOCUMENT_CHARS_MAX = 6144
ARN_SEGMENTS = 5

Context = Mapping[str, str]
"""The facts of a request besides action and resource, by condition key (`acs:SourceIp`, `oss:Prefix`, …)."""


class Decision(enum.Enum):
    ALLOW = "Allow"
    EXPLICIT_DENY = "ExplicitDeny"
    IMPLICIT_DENY = "ImplicitDeny"


class MalformedPolicy(Unusable):
    """The document violates the grammar of reference/companions.md §3.1; the message says where."""


class Question(msgspec.Struct, frozen=True):
    """May `action` (`oss:PutObject`) be done to `resource` (an ARN)?

    `caller` has all kinds and names of the caller (`("Service", "fc.aliyuncs.com")`), for statements that name
    principals: a session of a role is both that role and its account.
    """

    action: str
    resource: str
    context: Context
    caller: tuple[tuple[str, str], ...] = ()


class Statement(msgspec.Struct, frozen=True):
    """One compiled statement: each field is a predicate, so that evaluation allocates nothing."""

    allows: bool
    action: Callable[[str], bool]
    resource: Callable[[str], bool]
    principal: Callable[[tuple[tuple[str, str], ...]], bool]
    conditions: tuple[Condition, ...]

    def matches(self, question: Question) -> bool:
        return (
            self.action(question.action)
            and self.resource(question.resource)
            and self.principal(question.caller)
            and all(condition.holds(question.context) for condition in self.conditions)
        )


class CompiledPolicy(msgspec.Struct, frozen=True):
    """`condition_keys` are the keys that its conditions test, in normal form."""

    statements: tuple[Statement, ...]
    condition_keys: frozenset[str]

    def decide(self, question: Question) -> Decision:
        decision = Decision.IMPLICIT_DENY
        for statement in self.statements:
            if statement.matches(question):
                if not statement.allows:
                    return Decision.EXPLICIT_DENY
                decision = Decision.ALLOW
        return decision


def strongest(decisions: Iterable[Decision]) -> Decision:
    """Combines decisions: any explicit deny wins, then any allow; otherwise the result is an implicit deny."""
    result = Decision.IMPLICIT_DENY
    for decision in decisions:
        if decision is Decision.EXPLICIT_DENY:
            return decision
        if decision is Decision.ALLOW:
            result = decision
    return result


def parse(document: str, *, strict: bool = True) -> CompiledPolicy:
    """Compiles an identity or session policy. Raises MalformedPolicy.

    `strict=False`, for stored policies, accepts what earlier versions stored: unknown condition keys, where a Deny that
    tests one applies and an Allow does not; names that are repeated, of which the last counts; and resources of which
    parts are missing, which match nothing.
    """
    return _compile(document, names_principals=False, strict=strict)


def parse_resource_policy(document: str, *, strict: bool = True) -> CompiledPolicy:
    """Compiles a policy of a resource, which names principals: a role's trust policy, or a bucket's policy."""
    return _compile(document, names_principals=True, strict=strict)


def trust_of_service(service: str) -> str:
    """A trust policy that lets one cloud service assume the role (reference/companions.md §2.4)."""
    statement = {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": [service]}}
    return msgspec.json.encode({"Statement": [statement], "Version": "1"}).decode()


def _compile(text: str, *, names_principals: bool, strict: bool) -> CompiledPolicy:
    if len(text) > DOCUMENT_CHARS_MAX:
        raise MalformedPolicy(f"the policy has {len(text)} characters (allowed: {DOCUMENT_CHARS_MAX})")
    try:
        document = msgspec.json.decode(text)
        if strict:
            json.loads(text, object_pairs_hook=_without_repetition)
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
    compiled = tuple(
        _statement(f"Statement[{i}]", s, names_principals=names_principals, strict=strict)
        for i, s in enumerate(statements)
    )
    return CompiledPolicy(compiled, frozenset(c.key for statement in compiled for c in statement.conditions))


def _without_repetition(pairs: list[tuple[str, Any]]) -> None:
    """Refuses an object with a repeated name, of which decoders keep one: a condition or a Deny would be lost."""
    seen = set()
    for name, _value in pairs:
        if name in seen:
            raise MalformedPolicy(
                f"the policy has {name!r} twice in one object: put the values into one list or object"
            )
        seen.add(name)


def _statement(where: str, statement: Any, *, names_principals: bool, strict: bool) -> Statement:
    if not isinstance(statement, dict):
        raise MalformedPolicy(f"{where} is not an object")
    expected = {"Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Sid"}
    _refuse_unknown(where, statement, expected | ({"Principal", "NotPrincipal"} if names_principals else set()))
    effect = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(f"{where}.Effect must be Allow or Deny, found {effect!r}")
    conditions = _conditions(where, statement, strict=strict)
    # A trust policy refers to the role it belongs to, so it needs no Resource.
    resource_optional = names_principals and "Resource" not in statement and "NotResource" not in statement
    resource_pattern = _whole_resource_pattern if strict else _resource_pattern
    return Statement(
        allows=effect == "Allow",
        action=_either(where, statement, "Action", _action_pattern),
        resource=_always if resource_optional else _either(where, statement, "Resource", resource_pattern),
        principal=_principals(where, statement) if names_principals else _always,
        conditions=conditions,
    )


def _conditions(where: str, statement: Mapping[str, Any], *, strict: bool) -> tuple[Condition, ...]:
    try:
        conditions = parse_conditions(statement.get("Condition", {}))
    except ValueError as exc:
        raise MalformedPolicy(f"{where}.Condition: {exc}") from exc
    unknown = [condition.key for condition in conditions if not condition_keys.is_known(condition.key)]
    if not unknown:
        return conditions
    if strict:
        raise MalformedPolicy(f"{where}.Condition: {condition_keys.refusal(unknown[0])}")
    never = Condition(key=unknown[0], negative=False, tests=())
    return (never,) if statement.get("Effect") == "Allow" else ()


def _refuse_unknown(where: str, found: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(found.keys() - known)
    if unknown:
        raise MalformedPolicy(f"{where} has unknown element {unknown[0]!r} (allowed: {', '.join(sorted(known))})")


def _either(
    where: str, statement: Mapping[str, Any], name: str, pattern: Callable[[str], Callable[[str], bool]]
) -> Callable[[str], bool]:
    """Compiles `Action` or `NotAction`, `Resource` or `NotResource`: exactly one of the two must be present."""
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


def _whole_resource_pattern(pattern: str) -> Callable[[str], bool]:
    """Refuses a pattern that could match no resource, because a Deny of it would never apply."""
    parts = _resource_parts(pattern)
    if len(parts) < ARN_SEGMENTS or not parts[1] or not parts[-1]:
        raise MalformedPolicy(
            f"resource {pattern!r} is not written as acs:service:region:account:name, nor does it end early with ':*'"
        )
    return _resource_pattern(pattern)


def _resource_pattern(pattern: str) -> Callable[[str], bool]:
    """Compares segment by segment up to the fourth colon, so that `*` in one cannot match into the next."""
    parts = _resource_parts(pattern)
    if not glob(parts[0])("acs"):
        raise MalformedPolicy(f"resource {pattern!r} is not written as acs:service:region:account:name, nor is it '*'")
    tests = tuple(glob(part) for part in parts)
    # Role ARNs have names in lower case (reference/companions.md §2.2), while policies often use their original
    # spelling.
    names_roles = len(parts) == ARN_SEGMENTS and glob(parts[1])("ram")
    of_role = glob(parts[-1], ignore_case=True) if names_roles else tests[-1]

    def matches(resource: str) -> bool:
        segments = resource.split(":", ARN_SEGMENTS - 1)
        if len(segments) != len(tests):
            return False
        last = of_role if segments[1] == "ram" else tests[-1]
        return last(segments[-1]) and all(test(segment) for test, segment in zip(tests[:-1], segments, strict=False))

    return matches


def _resource_parts(pattern: str) -> list[str]:
    """A pattern that ends early with `*` (`*`, `acs:oss:*`) matches anything that follows."""
    parts = pattern.split(":", ARN_SEGMENTS - 1)
    if parts[-1] and not parts[-1].strip("*"):
        parts += ["*"] * (ARN_SEGMENTS - len(parts))
    return parts


def _principals(where: str, statement: Mapping[str, Any]) -> Callable[[tuple[tuple[str, str], ...]], bool]:
    """`{"Service": […]}`, `{"RAM": […]}`, `{"Federated": […]}`, or (in bucket policies) a bare list of any kind."""
    if ("Principal" in statement) == ("NotPrincipal" in statement):
        raise MalformedPolicy(f"{where} needs exactly one of Principal and NotPrincipal")
    name = "Principal" if "Principal" in statement else "NotPrincipal"
    value = statement[name]
    tests: list[tuple[str, Callable[[str], bool]]] = []
    if isinstance(value, dict):
        _refuse_unknown(f"{where}.{name}", value, {"Service", "RAM", "Federated"})
        for kind, names in value.items():
            # Role names may be written in any case.
            tests += [(kind, glob(n, ignore_case=kind == "RAM")) for n in _strings(f"{where}.{name}.{kind}", names)]
    else:
        tests = [("", glob(n)) for n in _strings(f"{where}.{name}", value)]
    if not tests:
        raise MalformedPolicy(f"{where}.{name} is empty")

    def named(caller: tuple[tuple[str, str], ...]) -> bool:
        return any(kind in ("", known_as) and test(called) for known_as, called in caller for kind, test in tests)

    return named if name == "Principal" else lambda caller: not named(caller)


def _always(_subject: object) -> bool:
    return True
