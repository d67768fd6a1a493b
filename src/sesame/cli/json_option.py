"""The option `--json` of every command that prints.

Imports nothing but click, as completing a command line imports it too.
"""

from typing import Any

import click

FLAG = "--json"


def with_json(command: Any) -> Any:
    """Adds `--json`; the command is given `as_json`."""
    return click.option(FLAG, "as_json", is_flag=True, help="Print one JSON document.")(command)


def with_json_lines(command: Any) -> Any:
    """The same for a command that goes on printing."""
    return click.option(FLAG, "as_json", is_flag=True, help="Print one JSON object a line.")(command)
