"""The policy evaluator: grammar, wildcards, conditions, and that deny stands over allow over nothing."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesame.identity.policy.condition_keys import normal
from sesame.identity.policy.evaluator import (
    Decision,
    MalformedPolicy,
    Question,
    parse,
    parse_resource_policy,
    strongest,
)
from sesame.identity.policy.patterns import glob

ALLOW, DENY, NOTHING = Decision.ALLOW, Decision.EXPLICIT_DENY, Decision.IMPLICIT_DENY
HALF_RESOURCES = ("acs:oss:cn-*", "acs:oss:*:photos/*", "acs:oss:*:42", "acs:oss:*:*:", "acs::*:*:x", "acs", "a*")
OBJECT = "acs:oss:oss-cn-hangzhou:42:photos/2026/a.jpg"


def policy(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)})


def allow(action: object = "*", resource: object = "*", **more: object) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: object = "*", resource: object = "*", **more: object) -> dict[str, object]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


def decide(document: str, action: str = "oss:PutObject", resource: str = OBJECT, **context: str) -> Decision:
    named = {normal(key.replace("_", ":", 1)): value for key, value in context.items()}
    return parse(document).decide(Question(action=action, resource=resource, context=named))


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("oss:PutObject", ALLOW),
        ("OSS:putobject", ALLOW),
        ("oss:Put*", ALLOW),
        ("oss:PutObjec?", ALLOW),
        ("oss:PutObject?", NOTHING),
        ("oss:*Object", ALLOW),
        ("*", ALLOW),
        (["oss:GetObject", "oss:PutObject"], ALLOW),
        ("log:*", NOTHING),
        ("oss:Get*", NOTHING),
    ],
)
def test_actions_match_by_wildcards_whatever_their_case(action: object, expected: Decision) -> None:
    assert decide(policy(allow(action))) is expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("acs:oss:*:*:photos/*", ALLOW),
        ("acs:oss:*:42:photos/2026/a.jpg", ALLOW),
        ("acs:oss:oss-cn-hangzhou:42:photos/*", ALLOW),
        ("acs:oss:*:43:photos/*", NOTHING),
        ("acs:oss:*:*:photos", NOTHING),
        ("acs:oss:*:*:Photos/*", NOTHING),
        ("acs:*:*:*:*a.jp?", ALLOW),
        ("acs:oss:*", ALLOW),
        ("acs:oss:**", ALLOW),
        ("*", ALLOW),
        ("**", ALLOW),
    ],
)
def test_resources_match_segment_by_segment(resource: str, expected: Decision) -> None:
    assert decide(policy(allow(resource=resource))) is expected


def test_objects_below_a_bucket_do_not_cover_listing_it() -> None:
    document = policy(allow("oss:*", "acs:oss:*:*:photos/*"))
    assert decide(document, "oss:ListObjects", "acs:oss:*:42:photos") is NOTHING


def test_not_action_is_everything_else() -> None:
    document = policy({"Effect": "Allow", "NotAction": ["oss:Delete*"], "Resource": "*"})
    assert decide(document, "oss:PutObject") is ALLOW
    assert decide(document, "oss:DeleteObject") is NOTHING


def test_not_resource_is_everything_else() -> None:
    document = policy({"Effect": "Deny", "Action": "*", "NotResource": "acs:oss:*:*:photos/*"}, allow())
    assert decide(document) is ALLOW
    assert decide(document, resource="acs:oss:*:42:other/x") is DENY


def test_deny_stands_over_allow_in_any_order() -> None:
    assert decide(policy(allow(), deny("oss:PutObject"))) is DENY
    assert decide(policy(deny("oss:PutObject"), allow())) is DENY
    assert decide(policy(deny("oss:GetObject"))) is NOTHING


@pytest.mark.parametrize(
    ("operator", "value", "subject", "holds"),
    [
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a", "A", False),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", ["a", "b"], "c", True),
        ("StringEqualsIgnoreCase", "a", "A", True),
        ("StringNotEqualsIgnoreCase", "a", "A", False),
        ("StringLike", "user/*", "user/42", True),
        ("StringNotLike", "user/*", "user/42", False),
        ("NumericEquals", "1.0", "1", True),
        ("NumericNotEquals", "1", "2", True),
        ("NumericLessThan", "2", "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", "2", "10", True),
        ("NumericGreaterThanEquals", "11", "10", False),
        ("NumericEquals", "1", "one", False),
        ("DateLessThan", "2026-01-02T00:00:00+08:00", "2026-01-01T15:59:59Z", True),
        ("DateGreaterThan", "2026-01-02T00:00:00+08:00", "2026-01-01T16:00:01Z", True),
        ("DateGreaterThanEquals", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", False),
        ("DateEquals", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", True),
        ("DateNotEquals", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z", False),
        ("DateLessThanEquals", "2026-01-02", "2026-01-01T00:00:00Z", True),
        ("Bool", "true", "True", True),
        ("Bool", True, "false", False),
        ("IpAddress", ["10.0.0.0/8", "::1"], "10.9.8.7", True),
        ("IpAddress", "10.0.0.0/8", "11.0.0.1", False),
        ("IpAddress", "10.0.0.0/8", "nowhere", False),
        ("NotIpAddress", "10.0.0.0/8", "11.0.0.1", True),
    ],
)
def test_condition_operators(operator: str, value: object, subject: str, holds: bool) -> None:
    document = policy(allow(Condition={operator: {"x:Probe": value}}))
    assert decide(document, x_Probe=subject) is (ALLOW if holds else NOTHING)


def test_a_missing_key_fails_positive_operators_and_passes_negative_ones() -> None:
    assert decide(policy(allow(Condition={"StringLike": {"oss:Prefix": "*"}}))) is NOTHING
    assert decide(policy(allow(Condition={"StringNotLike": {"oss:Prefix": "*"}}))) is ALLOW


def test_all_keys_and_all_operators_of_a_condition_must_hold() -> None:
    document = policy(
        allow(Condition={"StringEquals": {"oss:Prefix": "a", "oss:Delimiter": "/"}, "Bool": {"x:X": "true"}})
    )
    assert decide(document, oss_Prefix="a", oss_Delimiter="/", x_X="true") is ALLOW
    assert decide(document, oss_Prefix="a", oss_Delimiter="", x_X="true") is NOTHING
    assert decide(document, oss_Prefix="a", oss_Delimiter="/", x_X="false") is NOTHING


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not JSON"),
        ("[" * 6000, "not JSON"),
        ("[]", "not a JSON object"),
        ('{"Statement": []}', "Version"),
        (policy(), "at least one"),
        (json.dumps({"Version": "1", "Statement": [1]}), "not an object"),
        (policy({"Effect": "allow", "Action": "*", "Resource": "*"}), "Effect"),
        (policy({"Effect": "Allow", "Resource": "*"}), "exactly one of Action"),
        (policy({"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}), "exactly one of Action"),
        (policy({"Effect": "Allow", "Action": "*"}), "exactly one of Resource"),
        (policy(allow("PutObject")), "service:Operation"),
        (policy(allow([])), "list of strings"),
        (policy(allow([7])), "list of strings"),
        (policy(allow(Principal="*")), "unknown element"),
        (policy(allow(Condition={"StringIs": {"a": "b"}})), "unknown operator"),
        (policy(allow(Condition={"IpAddress": {"acs:SourceIp": "here"}})), "neither an address"),
        (policy(allow(Condition={"NumericEquals": {"a": "NaN"}})), "not a number"),
        (policy(allow(Condition={"DateEquals": {"a": "soon"}})), "ISO 8601"),
        (policy(allow(Condition={"Bool": {"a": "yes"}})), "neither true nor false"),
        (policy(allow(Condition={"StringEquals": {"a": []}})), "list of strings"),
        (policy(allow(Condition={"StringEquals": "a"})), "object of keys"),
        (policy(allow(Condition=["a"])), "object of operators"),
        (json.dumps({"Version": "1", "Statement": [allow()], "Id": "x"}), "unknown element"),
        (policy(allow("oss:" + "x" * 7000)), "characters"),
        ('{"Version": "1", "Statement": [{"Effect": "Deny", "Effect": "Allow"}]}', "'Effect' twice"),
        (
            policy(allow(Condition={"Bool": {"a": "true"}})).replace('{"Bool"', '{"Bool": {"b": "true"}, "Bool"'),
            "twice",
        ),
        *((policy(deny(resource=each)), "acs:service:region:account:name") for each in HALF_RESOURCES),
    ],
)
def test_what_cannot_be_read_is_refused_and_says_where(document: str, says: str) -> None:
    with pytest.raises(MalformedPolicy, match=re.escape(says)):
        parse(document)


def test_what_earlier_versions_stored_is_read_as_they_read_it() -> None:
    twice = '{"Version": "1", "Statement": [{"Effect": "Deny", "Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    assert parse(twice, strict=False).decide(Question("oss:PutObject", OBJECT, {})) is ALLOW
    for resource in HALF_RESOURCES:
        half = parse(policy(allow(resource=resource)), strict=False)
        assert half.decide(Question("oss:PutObject", OBJECT, {})) is NOTHING


def test_a_resource_policy_says_who_may_act() -> None:
    trust = parse_resource_policy(
        policy({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": ["fc.aliyuncs.com"]}})
    )
    question = Question(action="sts:AssumeRole", resource="x", context={}, caller=(("Service", "fc.aliyuncs.com"),))
    assert trust.decide(question) is ALLOW
    assert trust.decide(Question("sts:AssumeRole", "x", {}, caller=(("Service", "ecs.aliyuncs.com"),))) is NOTHING
    assert trust.decide(Question("sts:AssumeRole", "x", {}, caller=(("RAM", "fc.aliyuncs.com"),))) is NOTHING


def test_a_resource_policy_may_name_those_it_does_not_mean() -> None:
    shared = parse_resource_policy(policy(deny(NotPrincipal=["acs:ram::42:user/*"]), allow(Principal="*")))
    assert shared.decide(Question("oss:GetObject", OBJECT, {}, caller=(("RAM", "acs:ram::42:user/ann"),))) is ALLOW
    assert shared.decide(Question("oss:GetObject", OBJECT, {}, caller=(("RAM", "acs:ram::7:user/bob"),))) is DENY
    with pytest.raises(MalformedPolicy, match="exactly one of Principal"):
        parse_resource_policy(policy(allow()))


def test_a_hostile_pattern_takes_no_time() -> None:
    started = time.thread_time()
    assert not glob("*a" * 1000 + "b")("a" * 4000)
    assert time.thread_time() - started < 2.0


def naive(pattern: str, subject: str) -> bool:
    """Wildcards by the book: reachable positions of the subject after each character of the pattern."""
    reachable = {0}
    for char in pattern:
        if char == "*":
            reachable = set(range(min(reachable), len(subject) + 1)) if reachable else set()
        else:
            reachable = {i + 1 for i in reachable if i < len(subject) and char in ("?", subject[i])}
    return len(subject) in reachable


@given(st.text("ab*?.\n", max_size=10), st.text("ab.\n*", max_size=12))
def test_wildcards_agree_with_the_book(pattern: str, subject: str) -> None:
    assert glob(pattern)(subject) == naive(pattern, subject)


words = st.sampled_from(["oss:Get", "oss:Put", "log:Get", "oss:GetObject"])
patterns = st.one_of(words, words.map(lambda w: w[:6] + "*"), st.just("*"))
statements = st.builds(
    lambda effect, key, actions: {"Effect": effect, key: actions, "Resource": "*"},
    st.sampled_from(["Allow", "Deny"]),
    st.sampled_from(["Action", "NotAction"]),
    st.lists(patterns, min_size=1, max_size=3),
)


@given(st.lists(statements, min_size=1, max_size=5), words)
def test_decisions_follow_from_the_statements_that_match(some: list[dict[str, object]], action: str) -> None:
    effects = set()
    for statement in some:
        named = any(naive(p, action) for p in statement.get("Action", statement.get("NotAction")))  # type: ignore[attr-defined]
        if named == ("Action" in statement):
            effects.add(statement["Effect"])
    expected = DENY if "Deny" in effects else ALLOW if "Allow" in effects else NOTHING
    assert decide(policy(*some), action) is expected


@given(st.lists(statements, min_size=1, max_size=4), statements, words)
def test_adding_a_statement_never_turns_a_denial_into_anything_else(
    some: list[dict[str, object]], more: dict[str, object], action: str
) -> None:
    before, after = decide(policy(*some), action), decide(policy(*some, more), action)
    assert after is strongest([before, decide(policy(more), action)])
    assert before is not DENY or after is DENY


@given(st.lists(statements, min_size=1, max_size=4), words, st.randoms())
def test_order_does_not_matter(some: list[dict[str, object]], action: str, rng: object) -> None:
    shuffled = some.copy()
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(policy(*some), action) is decide(policy(*shuffled), action)
