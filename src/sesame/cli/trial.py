"""Whether what is installed by now can take the place of the Sesame that runs, with that one's command line.

Run in a process of its own by `cli.restarting`, beside the Sesame that goes on meanwhile. Changes nothing.
"""

import sys
from collections.abc import Sequence

import click

from sesame._endpoints import own_tls
from sesame.cli.options import settle
from sesame.cli.start import start
from sesame.data_dir import DataDir
from sesame.model.errors import SesameError
from sesame.settings import Settings
from sesame.store.sql.backends import backend_of
from sesame.store.sql.migrate import require_known
from sesame.store.sql.pairing import require_own_database

# Of what cannot hold, other than of what cannot be loaded at all.
EXIT_REFUSES = 4


def run(arguments: Sequence[str]) -> None:
    """Exits with EXIT_REFUSES, and the reason on the last line of stderr, where it cannot.

    `arguments` are those of the command `sesame` that runs: `start` or `node`, and its options.
    """
    try:
        command, *options = arguments
        if command == "node":
            _check_node(options)
        else:
            check(settle(start.make_context("sesame start", options).params))
    except (SesameError, click.ClickException) as error:
        said = error.format_message() if isinstance(error, click.ClickException) else str(error)
        sys.stderr.write(f"{' '.join(said.split())}\n")
        sys.exit(EXIT_REFUSES)


def _check_node(options: Sequence[str]) -> None:
    # Of a cluster alone.
    from sesame.cli import cluster_needs
    from sesame.cli.node import node
    from sesame.cluster.keys import KEY_FILE, read_key

    given = node.make_context("sesame node", list(options)).params
    settings = settle(given)
    cluster_needs.require(settings, given["agent_port"])
    cluster_needs.require_name(given["node"])
    cluster_needs.require_address(given["node_address"])
    read_key(given["cluster_key_file"] or settings.data_dir / KEY_FILE)
    check(settings)


def check(settings: Settings) -> None:
    """Raises `ConfigurationError` for what a start with these settings refuses, as far as one can see from beside."""
    if settings.agents != "1":
        from sesame.cli import agents  # noqa: F401 - what agents are forked from can be loaded
    own_tls(settings)
    data_dir = DataDir(settings.data_dir, settings.database, settings.objects)
    data_dir.refuse_file()
    require_own_database(data_dir.path, data_dir.database)
    backend = backend_of(data_dir.database)
    # A directory that is set by now may be new.
    if not backend.absent():
        backend.follow(lambda connection: require_known(connection, backend.shown))
