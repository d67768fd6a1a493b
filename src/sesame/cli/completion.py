"""`sesame completion`: prints the script with which a shell completes commands, options and names.

Needs no server. The names themselves come from `cli.completing` when the shell asks.
"""

import click
from click.shell_completion import get_completion_class

from sesame.cli.completing import COMPLETE_VARIABLE, PROGRAM

# How each shell loads it, for its start file.
LOADED_BY = {
    "bash": 'eval "$(sesame completion bash)"',
    "zsh": 'eval "$(sesame completion zsh)"',
    "fish": "sesame completion fish | source",
}


@click.command(epilog=f"Put into ~/.bashrc: {LOADED_BY['bash']} (zsh: ~/.zshrc; fish: {LOADED_BY['fish']}).")
@click.argument("shell", type=click.Choice(tuple(LOADED_BY)))
def completion(shell: str) -> None:
    """Prints the script that completes commands, options, and names of functions from the server, in SHELL."""
    context = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.command, {}, PROGRAM, COMPLETE_VARIABLE).source())
