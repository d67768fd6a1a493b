"""What the commands print with: one console for results, one for everything else, and the way errors look.

Used by every command. Results go to stdout; notes, progress and errors go to stderr.
Never prints a traceback for what can be expected to go wrong.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
notes = Console(stderr=True, highlight=False, soft_wrap=True)


def error(message: str) -> None:
    notes.print("[bold red]error:[/]", end=" ")
    notes.print(message, markup=False)


def note(message: str) -> None:
    notes.print(message, markup=False)


def result(payload: bytes) -> None:
    """Writes a function's answer to stdout as it is; a terminal gets a closing newline."""
    sys.stdout.buffer.write(payload)
    if sys.stdout.isatty() and not payload.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Says what takes long: a spinner on a terminal, one line elsewhere."""
    if notes.is_terminal:
        with notes.status(what):
            yield
    else:
        note(what)
        yield
