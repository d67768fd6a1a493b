"""Whether what is installed by now can take the place of the Sesame that runs, with that one's command line.

Run in a process of its own by `cli.restarting`, beside the Sesame that goes on meanwhile. Changes nothing.
"""

import sys
from collections.abc import Sequence

import click

from sesame.cli.options import settle
from sesame.cli.start import start
from sesame.cli.startable import check, check_node
from sesame.model.errors import SesameError

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
    from sesame.cli.node import node

    given = node.make_context("sesame node", list(options)).params
    check_node(settle(given), given)
