"""The command `sesame`: the group of all commands.

Called by `sesame.__main__`. Knows where the commands are, but not what they do.
"""

import builtins
import importlib
import keyword
import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from sesame.cli import importing, json_option
from sesame.cli.completing import COMPLETE_VARIABLE, complete

# Each command's module and its line in the help. Modules are imported on use, so that `sesame env` does not wait for
# what `sesame start` imports.
COMMANDS = {
    "start": ("sesame.cli.start", "Starts Sesame."),
    "env": ("sesame.cli.env", "Prints account, keys and endpoints as shell exports."),
    "new": ("sesame.cli.new", "Starts a project, with a template, a test and a README."),
    "build": ("sesame.cli.build", "Installs functions' requirements beside their code."),
    "deploy": ("sesame.cli.deploy", "Deploys a folder, a template.yml, an s.yaml or a serverless.yml."),
    "dev": ("sesame.cli.dev", "Runs a project during development; saved changes take effect at once."),
    "plan": ("sesame.cli.deploy", "Shows what `sesame deploy` would change."),
    "remove": ("sesame.cli.deploy", "Removes what `sesame deploy` created."),
    "invoke": ("sesame.cli.invoke", "Calls a local handler, or a deployed function."),
    "async": ("sesame.cli.async_invocations", "Lists, shows, stops and replays asynchronous invocations."),
    "list": ("sesame.cli.listing", "Lists services, functions and how they are called."),
    "show": ("sesame.cli.listing", "Shows everything about a service or function."),
    "delete": ("sesame.cli.deletion", "Deletes a service, function or trigger."),
    "publish": ("sesame.cli.versions", "Publishes a version of a service."),
    "alias": ("sesame.cli.versions", "Lists, sets and deletes aliases."),
    "layers": ("sesame.cli.layers", "Publishes, lists and deletes layers."),
    "buckets": ("sesame.cli.buckets", "Makes buckets; puts, gets and lists objects."),
    "restart": ("sesame.cli.restart", "Restarts the running Sesame; calls wait meanwhile."),
    "upgrade": ("sesame.cli.restart", "Replaces the running Sesame by the installed version."),
    "status": ("sesame.cli.status", "Shows whether a Sesame runs, and what it has."),
    "logs": ("sesame.cli.logs", "Prints a function's log, past or live."),
    "top": ("sesame.cli.top", "Shows calls, durations and memory by function, live."),
    "record": ("sesame.cli.recordings", "Sets which calls are recorded; lists and shows recordings."),
    "replay": ("sesame.cli.recordings", "Runs a recorded call again, and shows what differs."),
    "compare": ("sesame.cli.compare", "Shows what would change under another runtime."),
    "triggers": ("sesame.cli.triggers", "Lists triggers, and fires one by hand."),
    "events": ("sesame.cli.events", "Prints sample events of every trigger source."),
    "demo": ("sesame.cli.demo.command", "Deploys the manual's functions and calls them."),
    "roles": ("sesame.cli.roles", "Lists, shows, makes and removes roles."),
    "runtimes": ("sesame.cli.runtimes", "Lists the runtimes and their interpreters; installs missing ones."),
    "completion": ("sesame.cli.completion", "Prints the script that completes commands in bash, zsh or fish."),
    "doctor": ("sesame.cli.doctor", "Checks what Sesame can do on this machine, or with --check a data directory."),
    "backup": ("sesame.cli.backup", "Copies the data directory, even while Sesame runs."),
    "cluster": ("sesame.cli.cluster", "Makes the key of a cluster; shows, upgrades, drains and stops its nodes."),
    "db": ("sesame.cli.db", "Copies the records between SQLite and PostgreSQL."),
    "restore": ("sesame.cli.backup", "Restores a data directory from a backup."),
}
# Commands run by other programs, which the help omits.
UNLISTED = {"node": "sesame.cli.node"}
# Commands that run a server.
SERVING = frozenset({"start", "dev", "node"})

JSON_ASKED = "sesame.json"


class Commands(click.Group):
    """A group that imports a command's module when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        where = UNLISTED.get(name) or COMMANDS.get(name, ("", ""))[0]
        if not where:
            return None
        # Functions cannot have the names of Python's keywords, and should not have those of built-ins.
        attribute = f"{name}_" if keyword.iskeyword(name) or hasattr(builtins, name) else name
        with importing.without_collection():
            if name in SERVING:
                importing.import_structlog()
            command = getattr(importlib.import_module(where), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes names with the table's help lines: click's own method would import every command."""
        named = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, context, incomplete)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        # Checked before parsing, so that errors in the options are reported as JSON too.
        context.meta[JSON_ASKED] = json_option.FLAG in args
        return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> Any:
        """Runs the command; wraps its errors if the command line asked for JSON."""
        try:
            return super().invoke(context)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if not context.meta[JSON_ASKED]:
                raise
            # Imported late: only errors need it.
            from sesame.cli import ending

            raise ending.InJson(error) from error

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in {*COMMANDS, *UNLISTED}:
            # Imported late: only errors need it.
            import difflib

            from sesame.cli import output

            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"Did you mean '{near[0]}'?" if near else f"Expected one of {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command '{output.harmless(args[0])}'. {hint}", context)
        return super().resolve_command(context, args)


def _show_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        from sesame.cli import version

        click.echo(f"sesame {version.describe()}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Shows the version and the commit, and exits.",
)
def cli() -> None:
    """Function Compute that anyone can run.

    Start with `sesame demo`, or `sesame invoke main.my_handler` in a directory that holds main.py.
    """


def main() -> None:
    """Runs a command and exits with its code; or completes a command line if a shell asks for that."""
    if COMPLETE_VARIABLE in os.environ:
        sys.exit(complete(cli))
    # Imported late: completing a command line, which must be fast, prints nothing.
    from sesame.cli import ending

    sys.exit(ending.run(lambda: cli.main(prog_name="sesame", standalone_mode=False)))
