"""Rewrites the path of a request to a custom domain by the rules of its route (reference/api.md §3.6).

`control.domains` checks rules before storing them; the endpoint that serves custom domains applies them.
Takes time in proportion to the path, because patterns and paths come from callers.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import re2
import structlog

from sesame.control import checks
from sesame.model.domain import RewriteConfig, RewriteRule
from sesame.model.errors import Invalid, Missing, Unusable

RULES_MAX = 100
MATCH_CHARS = 512
REPLACEMENT_CHARS = 1024
# A regular expression takes at most this much memory, its automata included. re2 keeps the last 128 compiled ones.
EXPRESSION_BYTES = 512 * 1024
# Total of all regular expressions of a route. At worst an instruction costs 50 ns for each byte of the path.
INSTRUCTIONS_MAX = 1000
REWRITTEN_BYTES_MAX = 16 * 1024
# Instructions times bytes that may run on the event loop, at most 5 ms; larger work runs on a thread.
INLINE_STEPS = 100_000

_RULES = "route_config.routes.rewrite_config"
# `$1`, or `${1}` if a digit follows.
_REFERENCE = re.compile(r"\$(?:([0-9])|\{([0-9]+)\})")
_REFERENCE_DIGITS = 2

log = structlog.get_logger(__name__)


def check(config: RewriteConfig) -> None:
    """Raises `Rejected` for rules that cannot be applied or would cost too much."""
    rules = (*config.equal_rules, *config.wildcard_rules, *config.regex_rules)
    if len(rules) > RULES_MAX:
        raise Invalid(_RULES, f"at most {RULES_MAX} rules for a route", f"{len(rules)} rules")
    for rule in rules:
        for field, value in (("match", rule.match), ("replacement", rule.replacement)):
            if not value:
                raise Missing(f"{_RULES}.{field}")
        checks.length(f"{_RULES}.match", rule.match, MATCH_CHARS)
        checks.length(f"{_RULES}.replacement", rule.replacement, REPLACEMENT_CHARS)
    for rule in config.wildcard_rules:
        _check_references("wildcard_rules", rule, rule.match.count("*"))
    instructions = 0
    for rule in config.regex_rules:
        expression = _checked(rule.match)
        instructions += expression.programsize
        _check_references("regex_rules", rule, expression.groups)
    if instructions > INSTRUCTIONS_MAX:
        raise Invalid(
            f"{_RULES}.regex_rules",
            f"expressions that compile to at most {INSTRUCTIONS_MAX} instructions in all",
            f"{instructions} instructions",
        )


async def rewrite(config: RewriteConfig | None, path: str) -> str:
    """As `rewritten`; long work runs on a thread."""
    if config is None:
        return path
    instructions = sum(expression.programsize for rule in config.regex_rules if (expression := _compiled(rule.match)))
    if instructions * len(_bytes(path)) > INLINE_STEPS:
        return await asyncio.to_thread(rewritten, config, path)
    return rewritten(config, path)


def rewritten(config: RewriteConfig | None, path: str) -> str:
    """The path for the function, with a query if the rule's replacement has one.

    Bytes of a path that are not UTF-8 are lone surrogates in `path` and in the result (`surrogateescape`). Regular
    expressions match such a path byte by byte.

    POLICY: equal rules come before wildcard rules, and these before regular expressions; of one kind the first match
    counts. `$1` or `${1}` in a replacement is the text matched by the first star, or the first group.
    Raises `Rejected` if the result is longer than a function may get.
    """
    if config is None:
        return path
    for rule in config.equal_rules:
        if rule.match == path:
            return _absolute(rule.replacement)
    for rule in config.wildcard_rules:
        stars = wildcards(rule.match, path)
        if stars is not None:
            return _replaced(rule, (path, *stars))
    for rule in config.regex_rules:
        if matched := _searched(rule.match, path):
            return _replaced(rule, matched)
    return path


def wildcards(pattern: str, text: str) -> tuple[str, ...] | None:
    """The text matched by each `*` of the pattern, or None if the pattern does not match the whole text.

    Each star matches as much as possible, earlier stars first, as `(.*)` would. Therefore the parts between the stars
    are searched from the end of the text: each once, in the text before the later parts.
    """
    first, *middle = pattern.split("*")
    if not middle:
        return () if text == pattern else None
    last = middle.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return None
    # The text is reversed because `str.find` takes linear time and `str.rfind` does not.
    left = text[len(first) : len(text) - len(last)][::-1]
    stars = []
    for part in reversed(middle):
        at = left.find(part[::-1])
        if at < 0:
            return None
        stars.append(left[:at][::-1])
        left = left[at + len(part) :]
    stars.append(left[::-1])
    return tuple(reversed(stars))


def _searched(match: str, path: str) -> tuple[str | None, ...]:
    """The match of the expression and of each of its groups; empty if it matches nowhere in the path."""
    if path.isascii() or _is_utf8(path):
        expression = _compiled(match)
        found = None if expression is None else expression.search(path)
        return () if found is None else (found.group(), *found.groups())
    expression = _compiled(match, bytewise=True)
    found = None if expression is None else expression.search(_bytes(path))
    if found is None:
        return ()
    groups = (found.group(), *found.groups())
    return tuple(None if group is None else group.decode("utf-8", "surrogateescape") for group in groups)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _check_references(kind: str, rule: RewriteRule, groups: int) -> None:
    for reference in _REFERENCE.finditer(rule.replacement):
        number = reference[1] or reference[2]
        if len(number) > _REFERENCE_DIGITS or int(number) > groups:
            raise Invalid(
                f"{_RULES}.{kind}.replacement",
                f"references from ${{0}} to ${{{groups}}}, of at most {_REFERENCE_DIGITS} digits",
                checks.shown(reference[0]),
            )


def _replaced(rule: RewriteRule, matched: Sequence[str | None]) -> str:
    """A reference to a group that does not exist, or that matched nothing, becomes empty."""

    def group(reference: re.Match[str]) -> str:
        digits = reference[1] or reference[2]
        number = int(digits) if len(digits) <= _REFERENCE_DIGITS else len(matched)
        return (matched[number] or "") if number < len(matched) else ""

    replaced = _absolute(_REFERENCE.sub(group, rule.replacement))
    if (size := len(_bytes(replaced))) > REWRITTEN_BYTES_MAX:
        raise Unusable(
            f"the path becomes {size} bytes by the domain's rewrite rule '{checks.shown(rule.match)}', more than the "
            f"{REWRITTEN_BYTES_MAX} that are allowed"
        )
    return replaced


def _absolute(path: str) -> str:
    return path if path.startswith("/") else "/" + path


def _checked(expression: str) -> Any:
    try:
        return re2.compile(expression, _options())
    except (re2.error, UnicodeEncodeError) as error:
        raise Unusable(
            f"is no regular expression ({_reason(error)}): found '{checks.shown(expression)}', expected RE2's syntax, "
            f"which has no look-around and no back-references, within {EXPRESSION_BYTES} bytes of memory",
            field=f"{_RULES}.regex_rules.match",
        ) from error


def _compiled(expression: str, *, bytewise: bool = False) -> Any:
    """None for an expression that an earlier version accepted and this one does not: such a rule matches nothing."""
    options = _options()
    try:
        if bytewise:
            options.encoding = re2.Options.Encoding.LATIN1
            return re2.compile(expression.encode(), options)
        return re2.compile(expression, options)
    except (re2.error, UnicodeEncodeError) as error:
        log.warning("a kept rewrite rule cannot be applied", expression=expression, error=_reason(error))
        return None


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = EXPRESSION_BYTES
    options.log_errors = False
    return options


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(error)
