"""The options that describe the function in a folder without a template.

Used by `sesame deploy`, `plan`, `remove`, `build` and `dev`.
"""

from collections.abc import Mapping
from typing import Any

import click

from sesame.cli import naming
from sesame.deploy import folder
from sesame.deploy.folder import Wanted
from sesame.sandbox.runtimes.lookup import Runtimes
from sesame.settings import Settings


def with_project_options(command: Any) -> Any:
    """Adds the options for a project besides its path: for a folder's function, and for a template's parameters."""
    for option in reversed(
        (
            click.option(
                "--name", metavar="SERVICE/FUNCTION", help="Function's name, for a folder without a template."
            ),
            click.option(
                "--handler", help="Handler, such as main.my_handler, for a folder without a template [default: found]."
            ),
            click.option(
                "--runtime",
                type=click.Choice(folder.RUNTIMES),
                help="Runtime [default: the newest installed]",
            ),
            click.option(
                "--http/--event",
                "http",
                default=None,
                help="Whether a folder's function handles HTTP requests or events.",
            ),
            click.option(
                "--env", "variables", multiple=True, metavar="NAME=VALUE", help="Environment of a folder's function."
            ),
            click.option(
                "-p",
                "--parameter",
                "parameters",
                multiple=True,
                metavar="NAME=VALUE",
                help="Parameter of the template.",
            ),
        )
    ):
        command = option(command)
    return command


def wanted(options: Mapping[str, Any], settings: Settings) -> Wanted:
    """Parses the options; without a runtime, runs each interpreter once. A command may lack `http` and `variables`."""
    service, function = naming.service_and_function(options["name"]) if options["name"] else (None, None)
    runtimes: tuple[str, ...] = ()
    if not options["runtime"]:
        runtimes = tuple(Runtimes.look_up(settings.interpreters, settings.resolved_runtimes_dir()).found)
    return Wanted(
        service=service,
        function=function,
        handler=options["handler"],
        runtime=options["runtime"],
        http=options.get("http"),
        environment=naming.pairs(options.get("variables", ()), "--env"),
        runtimes=runtimes,
    )
