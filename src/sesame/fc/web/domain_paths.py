"""Says where a path on a custom domain leads, and what it is called there.

Called by `fc.web.http_functions` for every request to a custom domain (reference/api.md §3.6).
Pure functions: never looks up a domain.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from sesame.model.domain import PathConfig, RewriteConfig, RewriteRule

_REFERENCE = re.compile(r"\$(?:(\d)|\{(\d+)\})")


def route_of(routes: Iterable[PathConfig], path: str) -> PathConfig | None:
    """The route of this very path, else the one with the longest beginning before its star, else None."""
    best: PathConfig | None = None
    for route in routes:
        if route.path == path:
            return route
        longer = best is None or len(route.path) > len(best.path)
        if longer and route.path.endswith("*") and path.startswith(route.path[:-1]):
            best = route
    return best


def rewritten(config: RewriteConfig | None, path: str) -> str:
    """The path as the function is to see it.

    POLICY: equal rules come before wildcard rules, these before regular expressions; of one kind the first that
    matches counts. `$1` or `${1}` in a replacement is what the first star, or the first group, matched.
    """
    if config is None:
        return path
    for rule in config.equal_rules:
        if rule.match == path:
            return rule.replacement
    for rule, pattern in (
        *((rule, _wildcard(rule.match)) for rule in config.wildcard_rules),
        *((rule, _regex(rule.match)) for rule in config.regex_rules),
    ):
        found = pattern.search(path)
        if found is not None:
            return _replaced(rule, found)
    return path


def _replaced(rule: RewriteRule, found: re.Match[str]) -> str:
    """References to groups that are not there, or that matched nothing, leave nothing."""

    def group(reference: re.Match[str]) -> str:
        number = int(reference[1] or reference[2])
        return (found[number] or "") if number <= found.re.groups else ""

    replaced = _REFERENCE.sub(group, rule.replacement)
    return replaced if replaced.startswith("/") else "/" + replaced


@lru_cache(maxsize=1024)
def _wildcard(match: str) -> re.Pattern[str]:
    return re.compile(r"\A" + "(.*)".join(re.escape(part) for part in match.split("*")) + r"\Z", re.DOTALL)


@lru_cache(maxsize=1024)
def _regex(match: str) -> re.Pattern[str]:
    return re.compile(match)
