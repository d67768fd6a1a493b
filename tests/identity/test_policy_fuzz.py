"""Any text as a policy is either refused in the API's words or decides; neither takes long.

Run by pytest, and with many more examples by `make torture`.
"""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples

from sesame.identity.policy.evaluator import Decision, MalformedPolicy, Question, parse, parse_resource_policy

# Words of the grammar, so that what is made is often nearly right.
keys = st.sampled_from(
    ["Version", "Statement", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "x"]
)
leaves = st.one_of(
    st.sampled_from(["1", "Allow", "Deny", "*", "oss:*", "fc:Get?", "acs:oss:*:*:b/*", "StringLike", "", "\ud800"]),
    st.text(max_size=20), st.integers(), st.floats(), st.booleans(), st.none(),
)  # fmt: skip
operators = st.sampled_from(
    ["StringEquals", "StringLike", "IpAddress", "DateLessThan", "NumericEquals", "Bool", "Null"]
)
conditions = st.dictionaries(
    operators, st.dictionaries(st.sampled_from(["acs:SourceIp", "acs:CurrentTime", "oss:Prefix", ""]), leaves)
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
statements = st.fixed_dictionaries(
    {"Effect": st.sampled_from(["Allow", "Deny"]), "Action": leaves | st.lists(leaves, max_size=3)},
    optional={"Resource": values, "NotResource": leaves, "Condition": conditions | values, "Principal": values},
)
documents = st.one_of(
    values, st.fixed_dictionaries({"Version": st.just("1") | leaves, "Statement": st.lists(statements, max_size=3)})
)
QUESTION = Question(action="oss:PutObject", resource="acs:oss:*:1:b/k", context={"acs:sourceip": "10.0.0.1"})


def decides_or_is_refused(text: str) -> None:
    for read in (parse, parse_resource_policy):
        with contextlib.suppress(MalformedPolicy):
            assert read(text).decide(QUESTION) in Decision


@settings(max_examples=examples(60), deadline=None)
@given(documents)
def test_a_document_decides_or_is_refused(document: Any) -> None:
    decides_or_is_refused(json.dumps(document))


@settings(max_examples=examples(60), deadline=None)
@given(documents, st.integers(0, 400), st.text(max_size=3))
def test_so_does_one_that_was_damaged(document: Any, at: int, put: str) -> None:
    text = json.dumps(document)
    decides_or_is_refused(text[: at % (len(text) + 1)] + put + text[at % (len(text) + 1) + 1 :])


def test_so_does_one_deeper_than_any_stack() -> None:
    for opening, closing in (("[", "]"), ('{"Statement":', "}")):
        decides_or_is_refused(opening * 100_000 + "1" + closing * 100_000)
