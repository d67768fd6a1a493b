"""A command that runs beside a function in its instance, as endpoints, engine and sandboxes pass it on.

Requested at an endpoint (`InstanceExec`), routed by the engine, run by a sandbox.
"""

from typing import Protocol

import msgspec


class Command(msgspec.Struct, frozen=True):
    """The command to run. With `tty` it has its own terminal for input, output and errors.

    Without `stdin` its input is empty.
    """

    argv: tuple[str, ...]
    tty: bool = False
    stdin: bool = True


class Execution(Protocol):
    """A running command. It has the function's rights, and ends with the instance or on `close`."""

    async def read(self) -> tuple[int, bytes] | None:
        """The next piece of output, with 1 for standard output and 2 for standard error; None after the last.

        Unread output blocks the command. Cancelling a read loses no data.
        """

    async def write(self, data: bytes) -> None:
        """Returns when the command's input has taken all of `data`.

        Data is dropped after the command closes its input.
        """

    def end_input(self) -> None:
        """Closes the command's input after the data written so far. Has no effect on a terminal."""

    def resize(self, columns: int, rows: int) -> None:
        """Sets the size of the terminal; has no effect without one."""

    async def wait(self) -> int:
        """The exit code as a shell reports it: 128 plus the signal's number if a signal killed the command."""

    async def close(self) -> None:
        """Ends the command and all its descendants, and returns when they are gone. Idempotent."""
