"""Compiles the wildcards of RAM policies: `*` stands for any run of characters, also none, `?` for exactly one.

Called by `identity.policy.evaluator` and `identity.policy.conditions` once for each pattern of a policy.
Never backtracks: a caller's own session policy must not be able to burn time here.
"""

import re
from collections.abc import Callable


def glob(pattern: str, *, ignore_case: bool = False) -> Callable[[str], bool]:
    """A predicate over whole strings."""
    if pattern == "*":
        return lambda _subject: True
    if not ignore_case and "*" not in pattern and "?" not in pattern:
        return lambda subject: subject == pattern
    expression = re.compile(_expression(pattern), re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    return lambda subject: expression.fullmatch(subject) is not None


def _expression(pattern: str) -> str:
    """Each `*` but the last takes the shortest run that lets the next literal follow, and never reconsiders it.

    Taking the earliest place is always right for wildcards; the atomic groups keep the work proportional to
    pattern times subject.
    """
    first, *rest = (_literal(run) for run in re.split(r"\*+", pattern))
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{literal})" for literal in middle) + ".*" + last


def _literal(run: str) -> str:
    return "".join("." if char == "?" else re.escape(char) for char in run)
