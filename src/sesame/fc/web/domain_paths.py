"""Chooses the route of a path on a custom domain (reference/api.md §3.6).

Called by `fc.web.http_functions` for every request to a custom domain.
"""

from collections.abc import Iterable

from sesame.model.domain import PathConfig


def route_of(routes: Iterable[PathConfig], path: str) -> PathConfig | None:
    """The route with exactly this path; else the one with the longest matching prefix before a final `*`; else None."""
    best: PathConfig | None = None
    for route in routes:
        if route.path == path:
            return route
        longer = best is None or len(route.path) > len(best.path)
        if longer and route.path.endswith("*") and path.startswith(route.path[:-1]):
            best = route
    return best
