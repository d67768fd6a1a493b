"""A command that runs beside a function in its instance, as endpoints, engine and sandbox hand it to one another.

Asked for at an endpoint (`InstanceExec`), routed by the engine, run by a sandbox.
"""

from typing import Protocol

import msgspec


class Command(msgspec.Struct, frozen=True):
    """What to run. With `tty` the command has a terminal of its own for input, output and errors.

    Without `stdin` it reads an empty input.
    """

    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = True


class Execution(Protocol):
    """One running command. It has the function's rights, and ends with the instance or by `close`."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece of output, with 1 for standard output and 2 for errors; None after the last.

        Output that is not read stays with the command, which then waits. A cancelled read loses nothing.
        """

    async def write(self, data: bytes) -> None:
        """Returns when the command's input has taken everything. Data is dropped once the command reads no more."""

    def end_input(self) -> None:
        """The command reads the end of its input after the rest. No effect on a terminal, which has no such end."""

    def resize(self, columns: int, rows: int) -> None:
        """Sets the size of the terminal; no effect without one."""

    async def wait(self) -> int:
        """The exit code as a shell has it: 128 and the signal's number for a command that was killed."""

    async def close(self) -> None:
        """Ends the command and every process that descends from it, and returns when they are gone; idempotent."""
