"""Checks whether the installed version can replace the running Sesame, with its command line.

Run in a separate process by `cli.restarting`, while the running Sesame continues. Changes nothing.
"""

import sys
from collections.abc import Sequence

import click

from sesame.cli.options import settle
from sesame.cli.start import start
from sesame.cli.startable import check, check_node
from sesame.model.errors import SesameError

# For settings that are refused, as opposed to code that cannot be loaded.
EXIT_REFUSES = 4


def run(arguments: Sequence[str]) -> None:
    """Exits with EXIT_REFUSES if it cannot, with the reason on the last line of stderr.

    `arguments` are those of the running `sesame` command: `start` or `node`, and its options.
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
    # Imported late: only clusters need it.
    from sesame.cli.node import node

    given = node.make_context("sesame node", list(options)).params
    check_node(settle(given), given)
