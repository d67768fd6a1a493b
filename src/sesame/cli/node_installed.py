"""`sesame node --tell`: prints which version is now installed, and whether a node could restart with it.

Run on each machine before a cluster is upgraded (`on_ray.upgrading`). Changes nothing.
"""

import importlib.metadata
from collections.abc import Callable

import sqlalchemy as sa

from sesame._installed import ENVIRONMENT, VERSION, build_of
from sesame.cluster.joining import speaks
from sesame.model.errors import SesameError
from sesame.on_ray.order import Installed
from sesame.store.sql.backends import backend_of
from sesame.store.sql.migrate import known_migrations, revision_of


def installed(database: str | None, check: Callable[[], None]) -> Installed:
    """`check` raises `SesameError` if a start would be refused."""
    problem = stands_at = ""
    try:
        check()
        stands_at = "" if database is None else _revision(database)
    except SesameError as error:
        problem = " ".join(str(error).split())
    return Installed(
        version=VERSION,
        build=build_of(),
        environment=ENVIRONMENT,
        ray=_ray(),
        speaks=speaks(),
        knows=tuple(sorted(known_migrations())),
        database=stands_at,
        problem=problem,
    )


def _revision(database: str) -> str:
    backend = backend_of(database)
    found: list[str] = []

    def look(connection: sa.Connection) -> None:
        found.append(revision_of(connection) or "")

    backend.follow(look)
    return found[0]


def _ray() -> str:
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return ""
