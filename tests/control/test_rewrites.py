"""Rewrite rules of custom domains: what they match, what they cost, and which are refused when they are made."""

import re
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.refusals import refused

from sesame.control.rewrites import (
    INSTRUCTIONS_MAX,
    MATCH_CHARS,
    REPLACEMENT_CHARS,
    RULES_MAX,
    check,
    rewrite,
    rewritten,
    wildcards,
)
from sesame.model.domain import RewriteConfig, RewriteRule

RULES = RewriteConfig(
    equal_rules=(RewriteRule("/old", "/equal"),),
    wildcard_rules=(RewriteRule("/w/*/x/*", "/$2/${1}"), RewriteRule("/old*", "/wild")),
    regex_rules=(
        RewriteRule(r"^/r/(\d+)(/z)?$", "/n/$1$2$7"),
        RewriteRule("^/w", "/regex"),
        RewriteRule("^/q", "q?a=1"),
    ),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/old", "/equal"),
        ("/older", "/wild"),
        ("/w/1/x/2", "/2/1"),
        ("/w.1", "/regex"),
        ("/r/12", "/n/12"),
        ("/r/12/z", "/n/12/z"),
        ("/q", "/q?a=1"),
        ("/other", "/other"),
        ("/x/w/1/x/2", "/x/w/1/x/2"),
    ],
)
async def test_equal_before_wildcard_before_regex(path: str, expected: str) -> None:
    assert rewritten(RULES, path) == await rewrite(RULES, path) == expected
    assert rewritten(None, path) == await rewrite(None, path) == path


@pytest.mark.parametrize(
    ("match", "replacement", "path", "expected"),
    [
        (r"^/r/(.*)/z$", "/n/$1", b"/r/\xc4\xe3/z", b"/n/\xc4\xe3"),
        (r"^/中/(.)", "/n/$1", b"/\xe4\xb8\xad/\xff", b"/n/\xff"),
        (r"^/中/(.)", "/n/$1", "/中/中".encode(), "/n/中".encode()),
        (r"^/other", "/n", b"/r/\xff", b"/r/\xff"),
        (r"(x)?$", "/n$1", b"/\xff", b"/n"),
    ],
)
async def test_bytes_that_are_not_utf_8_survive_expressions(
    match: str, replacement: str, path: bytes, expected: bytes
) -> None:
    config = RewriteConfig(regex_rules=(RewriteRule(match, replacement),))
    found = await rewrite(config, path.decode("utf-8", "surrogateescape"))
    assert found.encode("utf-8", "surrogateescape") == expected


async def test_bytes_that_are_not_utf_8_survive_equal_and_wildcard_rules() -> None:
    path = b"/w/\xc4/x/\xe3".decode("utf-8", "surrogateescape")
    found = await rewrite(RULES, path)
    assert found.encode("utf-8", "surrogateescape") == b"/\xe3/\xc4"
    assert await rewrite(RewriteConfig(equal_rules=(RewriteRule("/a", "/b"),)), path) == path


@given(pattern=st.text("ab*/\n", max_size=8), text=st.text("ab/\n", max_size=10))
def test_wildcards_match_as_the_expression_that_they_stand_for(pattern: str, text: str) -> None:
    reference = re.compile(r"\A" + "(.*)".join(map(re.escape, pattern.split("*"))) + r"\Z", re.DOTALL)
    found = reference.match(text)
    assert wildcards(pattern, text) == (None if found is None else found.groups())


def calls_of(pattern: str, text: str) -> int:
    """How many built-in functions it takes; each looks at what is left of the text once."""
    calls = 0

    def count(_frame: Any, event: str, _function: Any) -> None:
        nonlocal calls
        calls += event == "c_call"

    sys.setprofile(count)
    try:
        wildcards(pattern, text)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("stars", [12, 100, 1000])
@pytest.mark.parametrize("end", ["", "b"])
def test_wildcards_take_steps_in_proportion_to_their_stars(stars: int, end: str) -> None:
    pattern = "/" + "*a" * stars + end
    assert calls_of(pattern, "/" + "a" * 5000) == calls_of(pattern, "/" + "a" * 10_000) <= 6 * stars + 20


@pytest.mark.parametrize(
    "config",
    [
        RewriteConfig(wildcard_rules=(RewriteRule("/" + "*a" * 250 + "b", "/x"),) * RULES_MAX),
        RewriteConfig(regex_rules=(RewriteRule("^/(a+)+$b", "/x"), RewriteRule("(a*)*b", "/x"))),
        RewriteConfig(regex_rules=(RewriteRule("(x+x+)+y", "/x"), RewriteRule("^/(a|a)*b", "/$1"))),
        RewriteConfig(regex_rules=(RewriteRule("(a|b)*" * 80 + "$", "/x"),)),
    ],
)
async def test_no_rule_that_is_accepted_takes_long(config: RewriteConfig) -> None:
    check(config)
    began = time.process_time()
    for path in ("/" + "a" * 40, "/" + "a" * 4000, "/" + "ab" * 2000, "/" + "é" * 2000):
        await rewrite(config, path)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("kind", "match", "replacement", "text"),
    [
        ("regex_rules", "/(a", "/x", "no regular expression"),
        ("regex_rules", "/(?=a)", "/x", "no look-around"),
        ("regex_rules", r"/(a)\1", "/x", "no back-references"),
        ("regex_rules", "/a{1001}", "/x", "no regular expression"),
        ("regex_rules", r"[\p{L}\p{N}]{200}", "/x", "bytes of memory"),
        ("regex_rules", "((a?){30}){30}", "/x", f"at most {INSTRUCTIONS_MAX} instructions in all"),
        ("regex_rules", "/(a)", "/$2", "references from ${0} to ${1}"),
        ("regex_rules", "/(a)", "/${02}", "references from ${0} to ${1}"),
        ("regex_rules", "/(a)", "/${001}", "of at most 2 digits"),
        ("regex_rules", "/(a)", "/${" + "9" * 900 + "}", "of at most 2 digits"),
        ("wildcard_rules", "/*", "/${" + "9" * 900 + "}", "of at most 2 digits"),
        ("wildcard_rules", "/*/*", "/$3", "references from ${0} to ${2}"),
        ("wildcard_rules", "/" * (MATCH_CHARS + 1), "/x", f"at most {MATCH_CHARS} characters"),
        ("equal_rules", "/x", "/" * (REPLACEMENT_CHARS + 1), f"at most {REPLACEMENT_CHARS} characters"),
        ("equal_rules", "", "/x", "is required but not provided"),
        ("wildcard_rules", "/x", "", "is required but not provided"),
    ],
)
def test_rules_that_cannot_be_applied_are_refused(kind: str, match: str, replacement: str, text: str) -> None:
    with refused("InvalidArgument", match=re.escape(text)) as caught:
        check(RewriteConfig(**{kind: (RewriteRule(match, replacement),)}))
    assert len(str(caught.value)) < 2000


def test_the_rules_of_a_route_are_counted() -> None:
    check(RewriteConfig(equal_rules=(RewriteRule("/x", "/y"),) * RULES_MAX))
    with refused("InvalidArgument", match=f"at most {RULES_MAX} rules"):
        check(RewriteConfig(equal_rules=(RewriteRule("/x", "/y"),) * (RULES_MAX + 1)))


@pytest.mark.parametrize("replacement", ["/$0$1${1}", "/$$1", "/${x}", "/$", "/$10", "/${01}"])
def test_replacements_that_are_accepted(replacement: str) -> None:
    check(RewriteConfig(wildcard_rules=(RewriteRule("/*", replacement),)))


@pytest.mark.parametrize(
    "config",
    [
        RewriteConfig(regex_rules=(RewriteRule("/(?=a)", "/x"), RewriteRule("^/a(.*)", "/b$1"))),
        RewriteConfig(regex_rules=(RewriteRule("^/a(.*)", "/b$1${" + "9" * 5000 + "}"),)),
        RewriteConfig(wildcard_rules=(RewriteRule("/a*", "/b$1$5${12}"),)),
    ],
)
def test_rules_that_an_earlier_version_kept_do_no_harm(config: RewriteConfig) -> None:
    assert rewritten(config, "/abc") == "/bbc"


def test_a_path_that_becomes_too_long_is_refused() -> None:
    config = RewriteConfig(wildcard_rules=(RewriteRule("/*", "/" + "$1" * 500),))
    check(config)
    assert rewritten(config, "/ab") == "/" + "ab" * 500
    with refused("InvalidArgument", match="the path becomes 500001 bytes by the domain's rewrite rule '/\\*'"):
        rewritten(config, "/" + "a" * 1000)
