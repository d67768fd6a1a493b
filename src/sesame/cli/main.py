"""The command `sesame`: the group that every command hangs on, and how a failed one ends.

Called by the console script and by `python -m sesame`. Knows where the commands are, never what they do.
"""

import importlib
import sys
from importlib.metadata import version

import click

from sesame.cli import output
from sesame.model.errors import SesameError

EXIT_FAILED = 1

# Where each command lives, and its line in the help: a command's module is imported when it is asked for, as
# `sesame env` need not wait for all that `sesame start` needs.
COMMANDS = {
    "start": ("sesame.cli.start", "Starts Sesame."),
    "env": ("sesame.cli.env", "Prints account, keys and endpoints as shell exports."),
    "invoke": ("sesame.cli.invoke", "Calls a local handler, or a deployed function."),
    "logs": ("sesame.cli.logs", "Prints what a function wrote, kept or as it comes."),
    "demo": ("sesame.cli.demo.command", "Deploys the manual's functions and calls them."),
    "runtimes": ("sesame.cli.runtimes", "Lists the runtimes and what runs them here."),
    "doctor": ("sesame.cli.doctor", "Checks what Sesame can do on this machine, or with --check a data directory."),
    "backup": ("sesame.cli.backup", "Copies the data directory, also while Sesame runs."),
    "restore": ("sesame.cli.backup", "Makes a data directory from a backup."),
}


class Commands(click.Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name][0]), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("sesame-fc"), prog_name="sesame")
def cli() -> None:
    """Function Compute that anyone can run.

    Start with `sesame demo`, or `sesame invoke main.my_handler` in a directory that holds main.py.
    """


def main() -> None:
    """Runs a command; what can be expected to go wrong is one line on stderr, never a traceback."""
    try:
        cli()
    except SesameError as error:
        output.error(str(error))
        sys.exit(EXIT_FAILED)
    except OSError as error:
        # What the machine refuses: no permission, no space, no file.
        output.error(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        sys.exit(EXIT_FAILED)
