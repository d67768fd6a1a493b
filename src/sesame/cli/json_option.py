"""The `--json` option of every command that prints.

Imports only click, since completing a command line imports this module too.
"""

from typing import Any

import click

FLAG = "--json"


def with_json(command: Any) -> Any:
    """Adds `--json`, passed to the command as `as_json`."""
    return click.option(FLAG, "as_json", is_flag=True, help="Print one JSON document.")(command)


def with_json_lines(command: Any) -> Any:
    """Like `with_json`, for a command that prints continuously."""
    return click.option(FLAG, "as_json", is_flag=True, help="Print one JSON object per line.")(command)
