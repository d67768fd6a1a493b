"""`sesame node --tell`: prints which version is now installed, and whether a node could restart with it.

Run on each machine before a cluster is upgraded (`on_ray.upgrading`). Changes nothing.
"""

import importlib.metadata
from collections.abc import Callable

import sqlalchemy as sa

from sesame._installed import ENVIRONMENT, VERSION, build_of
from sesame.cluster.joining import speaks
from sesame.cluster.sameness import Same, decoded, shown
from sesame.model.errors import SesameError
from sesame.on_ray.order import Installed
from sesame.store.sql.backends import backend_of
from sesame.store.sql.cluster_schema import LEADERSHIP, cluster_leadership
from sesame.store.sql.migrate import known_migrations, revision_of


def installed(database: str | None, check: Callable[[], None], same: Callable[[], Same]) -> Installed:
    """`check` raises `SesameError` if a start would be refused. `same` are the settings that nodes must share."""
    problem = stands_at = differs = ""
    try:
        check()
        if database is not None:
            stands_at, cluster = _of_database(database)
            differs = shown(same(), cluster, "what is installed", "the cluster that runs")
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
        differs=differs,
    )


def _of_database(database: str) -> tuple[str, Same]:
    """The newest migration, and the settings of the cluster; empty if there are none."""
    backend = backend_of(database)
    found: list[tuple[str, Same]] = []

    def look(connection: sa.Connection) -> None:
        text = None
        if sa.inspect(connection).has_table(cluster_leadership.name):
            row = sa.select(cluster_leadership.c.settings).where(cluster_leadership.c.name == LEADERSHIP)
            text = connection.execute(row).scalar_one_or_none()
        found.append((revision_of(connection) or "", decoded(text or "") or {}))

    backend.follow(look)
    return found[0]


def _ray() -> str:
    try:
        return importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return ""
