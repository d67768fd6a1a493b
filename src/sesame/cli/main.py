"""The command `sesame`: the group that every command hangs on, and how a failed one ends.

Called by the console script and by `python -m sesame`. Knows the commands, never what they do.
"""

import sys
from importlib.metadata import version

import click

from sesame.cli import output
from sesame.cli.demo import demo
from sesame.cli.doctor import doctor
from sesame.cli.env import env
from sesame.cli.invoke import invoke
from sesame.cli.runtimes import runtimes
from sesame.cli.start import start
from sesame.model.errors import SesameError

EXIT_FAILED = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("sesame-fc"), prog_name="sesame")
def cli() -> None:
    """Function Compute that anyone can run.

    Start with `sesame demo`, or `sesame invoke main.my_handler` in a directory that holds main.py.
    """


for command in (start, env, invoke, demo, runtimes, doctor):
    cli.add_command(command)


def main() -> None:
    """Runs a command; what can be expected to go wrong is one line on stderr, never a traceback."""
    try:
        cli()
    except SesameError as error:
        output.error(str(error))
        sys.exit(EXIT_FAILED)
