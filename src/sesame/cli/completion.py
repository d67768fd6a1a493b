"""`sesame completion`: prints the script that makes a shell complete commands, options and names.

Needs no server. When the shell asks, `cli.completing` provides the names.
"""

import click
from click.shell_completion import get_completion_class

from sesame.cli.completing import COMPLETE_VARIABLE, PROGRAM

# The line for each shell's start file.
LOADED_BY = {
    "bash": 'eval "$(sesame completion bash)"',
    "zsh": 'eval "$(sesame completion zsh)"',
    "fish": "sesame completion fish | source",
}


@click.command(epilog=f"Put into ~/.bashrc: {LOADED_BY['bash']} (zsh: ~/.zshrc; fish: {LOADED_BY['fish']}).")
@click.argument("shell", type=click.Choice(tuple(LOADED_BY)))
def completion(shell: str) -> None:
    """Prints the script for SHELL that completes commands, options, and names of functions from the server."""
    context = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.command, {}, PROGRAM, COMPLETE_VARIABLE).source())
