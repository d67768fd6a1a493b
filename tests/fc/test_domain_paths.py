"""Where a path on a custom domain leads, and what it becomes."""

import pytest

from sesame.fc.web.domain_paths import rewritten, route_of
from sesame.model.domain import PathConfig, RewriteConfig, RewriteRule

ROUTES = tuple(PathConfig(path=path, service_name=path) for path in ("/*", "/a", "/a/*", "/a/b/*", "/c"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a", "/a"),
        ("/a/", "/a/*"),
        ("/a/x", "/a/*"),
        ("/a/b/x", "/a/b/*"),
        ("/a/b", "/a/*"),
        ("/", "/*"),
        ("/cc", "/*"),
    ],
)
def test_the_very_path_then_the_longest_beginning(path: str, expected: str) -> None:
    found = route_of(ROUTES, path)
    assert found is not None
    assert found.path == expected


def test_no_route() -> None:
    assert route_of(ROUTES[1:], "/nowhere") is None


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
def test_equal_before_wildcard_before_regex(path: str, expected: str) -> None:
    assert rewritten(RULES, path) == expected
    assert rewritten(None, path) == path
