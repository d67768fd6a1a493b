"""Where a path on a custom domain leads."""

import pytest

from sesame.fc.web.domain_paths import route_of
from sesame.model.domain import PathConfig

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
