"""Checks, from another process and without changes, whether a start with given settings would be refused.

Used by `cli.trial` before a restart, and by `sesame node --tell` before a cluster is upgraded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sesame._listening import own_tls
from sesame.data_dir import DataDir
from sesame.settings import Settings
from sesame.store.sql.backends import backend_of
from sesame.store.sql.former import require_room
from sesame.store.sql.migrate import require_known
from sesame.store.sql.pairing import require_own_database


def check_node(settings: Settings, given: Mapping[str, Any]) -> None:
    """Like `check`, for a node whose command had the parameters `given`."""
    # Imported late: only clusters need it.
    from sesame.cli import cluster_needs
    from sesame.cluster.keys import KEY_FILE, read_key

    cluster_needs.require(settings, given["agent_port"])
    cluster_needs.require_name(given["node"])
    cluster_needs.require_address(given["node_address"])
    read_key(given["cluster_key_file"] or settings.data_dir / KEY_FILE)
    check(settings)


def check(settings: Settings) -> None:
    """Raises `ConfigurationError` if a start with these settings would be refused."""
    if settings.agents != "1":
        from sesame.cli import agents  # noqa: F401 - what agents are forked from can be loaded
    own_tls(settings)
    data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
    data_dir.refuse_file()
    require_own_database(data_dir.path, data_dir.database)
    backend = backend_of(data_dir.database)
    # A directory set since the last start may be new.
    if not backend.absent():
        backend.follow(lambda connection: require_known(connection, backend.shown))
        if isinstance(data_dir.database, Path):
            require_room(data_dir.database)
